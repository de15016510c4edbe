/**
 * The tables of the store: which there are, how their objects are looked up, which sub-objects are shared.
 *
 * Everything about a table is declared here as data; `state.ts` keeps the maps, `uniqueness.ts` declares what must be
 * unique. Adding an index is one line here. Order and numbers follow `TableName` in `proto/objects.proto`.
 */
import {
  Cluster,
  type Codec,
  Config,
  Network,
  Node,
  Payload,
  Secret,
  Service,
  type StoreShared,
  Task,
  type TaskSpec,
  Tombstone,
  Volume,
} from "../../src/common/api/generated/api.ts";
import { localVolumesOf } from "../../src/common/spec/local-volumes.ts";

/** What each table holds. */
export interface TableTypes {
  readonly node: Node;
  readonly service: Service;
  readonly task: Task;
  readonly network: Network;
  readonly secret: Secret;
  readonly config: Config;
  readonly cluster: Cluster;
  readonly volume: Volume;
  readonly tombstone: Tombstone;
  readonly payload: Payload;
}

/** Name of a table. */
export type TableKey = keyof TableTypes;

/** An object of any table. */
export type AnyObject = TableTypes[TableKey];

/** Names of all tables, in the order of their numbers. */
export const tableKeys: readonly TableKey[] = [
  "node",
  "service",
  "task",
  "network",
  "secret",
  "config",
  "cluster",
  "volume",
  "tombstone",
  "payload",
];

/** What an index is asked for; a pair is a group and a key within it, such as a service and a slot. */
export type IndexKey = string | number | readonly [group: string, key: string | number];

/** How an index finds its keys. */
export interface IndexDeclaration<T> {
  /** Fields the keys depend on: an update that leaves them as they are does not touch the index. */
  readonly on: readonly (keyof T & string)[];
  /** Calls `add` with every key of the object; a key may come twice. */
  readonly keys: (object: T, add: (key: IndexKey) => void) => void;
}

type Declarations = {
  readonly [K in TableKey]: Readonly<Record<string, IndexDeclaration<TableTypes[K]>>>;
};

type Named = { readonly spec: { readonly annotations: { name: string } | undefined } | undefined };

/** Names are compared without case, as Docker's swarm does. */
export function nameKey(name: string): string {
  return name.toLowerCase();
}

/** The name of a named object, empty when it has none; nodes are called by their hostname. */
export function nameOf<K extends TableKey>(table: K, object: TableTypes[K]): string {
  if (table === "node") return (object as Node).description?.hostname ?? "";
  if (table === "task" || table === "tombstone" || table === "payload") return "";
  return (object as Named).spec?.annotations?.name ?? "";
}

const byName = {
  on: ["spec"],
  keys: (object: Named, add: (key: IndexKey) => void) =>
    add(nameKey(object.spec?.annotations?.name ?? "")),
} as const;

/** The indexes of every table. */
export const indexDeclarations = {
  node: {
    name: { on: ["description"], keys: (n, add) => add(nameKey(n.description?.hostname ?? "")) },
    role: { on: ["role"], keys: (n, add) => add(n.role) },
  },
  service: {
    name: byName,
    network: { on: ["spec", "endpoint"], keys: networksOfService },
    secret: { on: ["spec"], keys: (s, add) => secretsOf(s.spec?.task, add) },
    config: { on: ["spec"], keys: (s, add) => configsOf(s.spec?.task, add) },
    /** Names of the local volumes it mounts. */
    volume: { on: ["spec"], keys: (s, add) => localVolumesOf(s.spec?.task).forEach(add) },
  },
  task: {
    service: { on: ["serviceId"], keys: (t, add) => t.serviceId !== "" && add(t.serviceId) },
    /** Key "" holds the tasks that have no node yet. */
    node: { on: ["nodeId"], keys: (t, add) => add(t.nodeId) },
    /** All tasks of a slot, the dead ones too: [service id, slot]. */
    slot: {
      on: ["serviceId", "slot"],
      keys: (t, add) => t.serviceId !== "" && add([t.serviceId, t.slot]),
    },
    "desired-state": { on: ["desiredState"], keys: (t, add) => add(t.desiredState) },
    network: {
      on: ["networks"],
      keys: (t, add) => {
        for (const attachment of t.networks) add(attachment.networkId);
      },
    },
    volume: {
      on: ["volumes"],
      keys: (t, add) => {
        for (const volume of t.volumes) add(volume.id);
      },
    },
  },
  network: {
    name: byName,
    /** Networks that take their settings from a config-only network: its name. */
    "config-from": {
      on: ["spec"],
      keys: (n, add) => {
        if (n.spec?.configFrom) add(n.spec.configFrom);
      },
    },
  },
  secret: { name: byName },
  config: { name: byName },
  cluster: { name: byName },
  volume: {
    name: byName,
    group: { on: ["spec"], keys: (v, add) => add(v.spec?.group ?? "") },
  },
  tombstone: {
    /** `node` or `number`. */
    kind: { on: ["node"], keys: (t, add) => add(t.node === undefined ? "number" : "node") },
  },
  payload: { owner: { on: ["ownerId"], keys: (p, add) => add(p.ownerId) } },
} as const satisfies Declarations;

/** Names of the indexes of a table. */
export type IndexName<K extends TableKey> = keyof (typeof indexDeclarations)[K] & string;

function networksOfService(service: Service, add: (key: IndexKey) => void): void {
  for (const network of service.spec?.networks ?? []) add(network.target);
  for (const network of service.spec?.task?.networks ?? []) add(network.target);
  for (const vip of service.endpoint?.virtualIps ?? []) add(vip.networkId);
}

function secretsOf(spec: TaskSpec | undefined, add: (key: IndexKey) => void): void {
  for (const secret of spec?.container?.secrets ?? []) add(secret.secretId);
}

function configsOf(spec: TaskSpec | undefined, add: (key: IndexKey) => void): void {
  for (const config of spec?.container?.configs ?? []) add(config.configId);
  const credentials = spec?.container?.privileges?.credentialSpec?.config;
  if (credentials) add(credentials);
}

/** A field that holds a shared sub-object. */
export interface SharedField {
  readonly field: string;
  /** Which member of StoreShared it is. */
  readonly kind: keyof StoreShared;
}

/** Fields whose values are kept once however many objects have them. */
export const sharedFields: Readonly<Partial<Record<TableKey, readonly SharedField[]>>> = {
  task: [
    { field: "spec", kind: "taskSpec" },
    { field: "endpoint", kind: "endpoint" },
    { field: "serviceAnnotations", kind: "annotations" },
    { field: "logDriver", kind: "driver" },
  ],
};

/** Encoder and decoder of each table's message. */
export const codecs: { readonly [K in TableKey]: Codec<TableTypes[K]> } = {
  node: Node,
  service: Service,
  task: Task,
  network: Network,
  secret: Secret,
  config: Config,
  cluster: Cluster,
  volume: Volume,
  tombstone: Tombstone,
  payload: Payload,
};

/** Version of an object: index of the entry that last changed it. */
export function versionOf(object: AnyObject): number {
  return object.meta?.version ?? 0;
}
