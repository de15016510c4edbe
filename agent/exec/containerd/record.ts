/**
 * What containerd keeps for us with each container: everything we must know of it after a restart, as JSON beside its spec.
 * Contents of secrets and configs are never in it.
 */

import type {
  Container,
  ContainerConfig,
  ContainerState,
} from "../../../src/common/container/types.ts";
import type { Any } from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import type { PlannedMount } from "./mounts.ts";

/** Facts that change seldom: at creation, rename and update. */
export interface ContainerFacts extends Omit<Container, "state"> {
  readonly planned: readonly PlannedMount[];
  /** Whose shim it has; not there for one of its own. */
  readonly shimGroup?: string;
}

/** How a task ended, as containerd says it. */
export interface TaskExit {
  readonly pid: number;
  readonly exitCode: number;
  readonly atMs: number;
}

/** Facts that change as it lives. */
export interface ContainerLife {
  readonly state: ContainerState;
  /** A user stopped it. */
  readonly stopped: boolean;
  /** The last end, written before its task is deleted: should the daemon die in between, the end is still known. */
  readonly lastExit: TaskExit | undefined;
}

/** Key of the record's extension with the facts. */
export const factsKey = "skep.facts";
/** See above. */
export const lifeKey = "skep.life";
/** Label with the name, for people who look with `ctr`. */
export const nameLabel = "skep.name";
/** Label with the task's id. */
export const taskLabel = "skep.task";
/** Label of a container that is not made to its end yet, though its record is there. */
export const unfinishedLabel = "skep.unfinished";
/** Label of a snapshot: the container it belongs to. */
export const containerLabel = "skep.container";

const factsType = "skep/container-facts/1";
const lifeType = "skep/container-life/1";

/** Facts for the record. */
export function encodeFacts(facts: ContainerFacts): Any {
  const config = withoutContents(facts.config);
  return encode(factsType, { ...facts, config });
}

/** @throws ClusterError internal for what no version of ours wrote. */
export function decodeFacts(any: Any | undefined): ContainerFacts {
  const facts = decode(factsType, any) as ContainerFacts;
  return { ...facts, config: { ...emptyContainerConfig, ...facts.config } };
}

/** Life for the record. */
export function encodeLife(life: ContainerLife): Any {
  return encode(lifeType, life);
}

/** @throws ClusterError internal for what no version of ours wrote. */
export function decodeLife(any: Any | undefined): ContainerLife {
  return decode(lifeType, any) as ContainerLife;
}

/** The configuration without what is secret. */
export function withoutContents(config: ContainerConfig): ContainerConfig {
  const { files, secretEnv = [] } = config;
  const isEmpty =
    files.every(({ data }) => data.length === 0) && secretEnv.every(({ value }) => value === "");
  if (isEmpty) return config;
  return {
    ...config,
    files: files.map((file) => ({ ...file, data: new Uint8Array() })),
    ...(config.secretEnv && { secretEnv: secretEnv.map(({ name }) => ({ name, value: "" })) }),
  };
}

/** Bytes are written in base 64 under this key. */
const bytesKey = "$bytes";

function encode(type: string, value: object): Any {
  // The value as it is: a buffer would arrive as the object its `toJSON` makes.
  const text = JSON.stringify(value, function (this: Record<string, unknown>, key, json: unknown) {
    const item = this[key];
    return item instanceof Uint8Array ? { [bytesKey]: Buffer.from(item).toString("base64") } : json;
  });
  return { typeUrl: type, value: Buffer.from(text) };
}

function decode(type: string, any: Any | undefined): unknown {
  if (any === undefined || any.typeUrl !== type) {
    throw new ClusterError("internal", `the container's record has no ${type}`);
  }
  try {
    return JSON.parse(Buffer.from(any.value).toString("utf8"), (_, item: unknown) => {
      if (typeof item !== "object" || item === null || !(bytesKey in item)) return item;
      return new Uint8Array(Buffer.from(String(item[bytesKey]), "base64"));
    });
  } catch (error) {
    throw new ClusterError("internal", `the container's record is damaged: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** A configuration that says nothing: what records of earlier versions lack is taken from here. */
export const emptyContainerConfig: ContainerConfig = {
  name: "",
  image: "",
  platform: undefined,
  entrypoint: undefined,
  command: undefined,
  env: [],
  workingDir: "",
  user: "",
  groups: [],
  hostname: "",
  domainName: "",
  tty: false,
  openStdin: false,
  stdinOnce: false,
  attachStdin: false,
  attachStdout: false,
  attachStderr: false,
  labels: {},
  stopSignal: "",
  stopTimeoutS: undefined,
  health: undefined,
  init: undefined,
  readOnly: false,
  privileged: false,
  capabilityAdd: [],
  capabilityDrop: [],
  privileges: undefined,
  ulimits: [],
  sysctls: {},
  oomScoreAdj: 0,
  resources: undefined,
  extraLimits: undefined,
  devices: [],
  mounts: [],
  anonymousVolumes: [],
  volumesFrom: [],
  files: [],
  shmSizeBytes: 0,
  networks: [],
  joins: [],
  ports: [],
  exposedPorts: [],
  publishAll: false,
  ipcMode: "",
  pidMode: "",
  utsMode: "",
  cgroupnsMode: "",
  cgroupParent: "",
  dns: [],
  dnsSearch: [],
  dnsOptions: [],
  extraHosts: [],
  logDriver: undefined,
  restartPolicy: { name: "no", retriesMax: 0 },
  autoRemove: false,
  task: undefined,
  shown: "",
};
