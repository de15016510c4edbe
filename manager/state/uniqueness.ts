/**
 * What must be unique in the cluster, declared as claims: an object claims keys in spaces, and a key has one holder.
 *
 * Claims are checked while applying, over the state a transaction would leave behind, so that a swap within one
 * transaction is fine. A claim is given up by the change that ends it (a terminal status, say), never by time.
 *
 * - `name`: services, networks, secrets, configs, volumes and the cluster, compared without case as Docker does.
 * - `address`: an address in a network has one holder, a service (virtual IP) or a task. A task holds its addresses
 *   until its observed state is terminal: history keeps the addresses for show, and a task on a lost node keeps them
 *   until it is declared orphaned, since it may still be running.
 * - `port`: an ingress port and protocol belong to one service, from the moment its spec names the port.
 * - `network-number`, `node-number`: the numbers on the wire.
 * - `slot`: see `slotClaim`.
 */
import {
  type Network,
  type Node,
  type PortConfig,
  type Service,
  type Task,
  TaskStateNumber,
} from "../../src/common/api/generated/api.ts";
import { addressKey } from "./address.ts";
import { type AnyObject, nameKey, nameOf, type TableKey, type TableTypes } from "./tables.ts";

/** A set of keys each of which has at most one holder. */
export type Space = "name" | "address" | "port" | "network-number" | "node-number" | "slot";

/** Takes one claim: the key within a group of a space. */
export type AddClaim = (space: Space, group: string, key: string | number) => void;

/** How a table claims. */
export interface ClaimDeclaration<T> {
  /** Whether an update leaves the claims as they are: true only when that is certain. */
  readonly same: (old: T, next: T) => boolean;
  readonly claims: (object: T, add: AddClaim) => void;
}

/** Claims of every table that has some. */
export const claimDeclarations: {
  readonly [K in TableKey]?: ClaimDeclaration<TableTypes[K]>;
} = {
  node: {
    same: (old, next) => old.number === next.number,
    claims: (node: Node, add) => node.number !== 0 && add("node-number", "", node.number),
  },
  service: {
    same: (old, next) => old.spec === next.spec && old.endpoint === next.endpoint,
    claims: serviceClaims,
  },
  task: { same: sameTaskClaims, claims: taskClaims },
  network: {
    same: (old, next) => old.spec === next.spec && old.networkNumber === next.networkNumber,
    claims: (network: Network, add) => {
      claimName("network", network, add);
      if (network.networkNumber !== 0) add("network-number", "", network.networkNumber);
    },
  },
  secret: { same: sameSpec, claims: (secret, add) => claimName("secret", secret, add) },
  config: { same: sameSpec, claims: (config, add) => claimName("config", config, add) },
  cluster: { same: sameSpec, claims: (cluster, add) => claimName("cluster", cluster, add) },
  volume: { same: sameSpec, claims: (volume, add) => claimName("volume", volume, add) },
};

function claimName<K extends TableKey>(table: K, object: TableTypes[K], add: AddClaim): void {
  const name = nameOf(table, object);
  if (name !== "") add("name", table, nameKey(name));
}

function sameSpec(old: { spec: unknown }, next: { spec: unknown }): boolean {
  return old.spec === next.spec;
}

function serviceClaims(service: Service, add: AddClaim): void {
  claimName("service", service, add);
  for (const vip of service.endpoint?.virtualIps ?? []) {
    if (vip.address !== "") add("address", vip.networkId, addressKey(vip.address));
  }
  // The spec counts as well as what was allocated, so that of two racing requests for a port one is refused at once.
  claimPorts(service.spec?.endpoint?.ports ?? [], add);
  claimPorts(service.endpoint?.ports ?? [], add);
}

function claimPorts(ports: readonly PortConfig[], add: AddClaim): void {
  for (const port of ports) {
    if (port.publishMode === "ingress" && port.publishedPort !== 0) {
      add("port", port.protocol, port.publishedPort);
    }
  }
}

const runningNumber = TaskStateNumber("running");
const completeNumber = TaskStateNumber("complete");

/** Whether a task may still run: until its observed state is terminal. Only then do its addresses become free. */
export function mayRun(task: Task): boolean {
  return TaskStateNumber(task.status?.state ?? "new") <= runningNumber;
}

/** Whether a task is wanted and may still run; jobs are wanted until they are complete. */
export function isLive(task: Task): boolean {
  return mayRun(task) && TaskStateNumber(task.desiredState) <= completeNumber;
}

function sameTaskClaims(old: Task, next: Task): boolean {
  return (
    mayRun(old) === mayRun(next) &&
    isLive(old) === isLive(next) &&
    old.networks === next.networks &&
    old.serviceId === next.serviceId &&
    old.specVersion === next.specVersion &&
    old.jobIteration === next.jobIteration &&
    old.besideId === next.besideId &&
    old.slot === next.slot &&
    (next.slot !== 0 || old.nodeId === next.nodeId)
  );
}

function taskClaims(task: Task, add: AddClaim): void {
  if (!mayRun(task)) return;
  for (const attachment of task.networks) {
    for (const address of attachment.addresses) {
      add("address", attachment.networkId, addressKey(address));
    }
  }
  if (isLive(task) && task.serviceId !== "") slotClaim(task, add);
}

/**
 * At most one live task for a slot, a version of the service's spec and a job iteration.
 *
 * Not one live task for a slot as such: an update in start-first order keeps the old task until the new one runs, and
 * an update of that update may make it three; but they are of different spec versions, while a task made twice by
 * mistake has the version of its twin. One that is made to take over from a task that leaves its node says whose place
 * it is to have: one for each. Dead tasks stay in the slot as history and claim nothing. Tasks without slot
 * (global services, and slot 0 of jobs) have their node in its place; both states only move forward, so a task that
 * stopped claiming its slot never claims it again.
 */
function slotClaim(task: Task, add: AddClaim): void {
  const { serviceId, specVersion = "", jobIteration = "", besideId } = task;
  const group = `${serviceId}.${specVersion}.${jobIteration}.${besideId}`;
  add("slot", group, task.slot === 0 ? task.nodeId : task.slot);
}

/** What to say when a key already has a holder. */
export function takenText(space: Space, group: string, key: string | number): string {
  switch (space) {
    case "name":
      return `name conflicts with an existing object: ${group} ${key}`;
    case "address":
      return `address ${keyOfAddress(key)} of network ${group} is already in use`;
    case "port":
      return `port '${key}/${group}' is already in use as an ingress port`;
    case "network-number":
      return `network number ${key} is already in use`;
    case "node-number":
      return `node number ${key} is already in use`;
    case "slot":
      return `slot ${key} of service ${group.split(".", 1)[0]} already has a task of this version`;
  }
}

function keyOfAddress(key: string | number): string {
  if (typeof key === "string") return key;
  return [24, 16, 8, 0].map((shift) => (key >>> shift) & 255).join(".");
}

/** The claims of any object, through its table's declaration. */
export function forEachClaim(table: TableKey, object: AnyObject, add: AddClaim): void {
  const declaration = claimDeclarations[table] as ClaimDeclaration<AnyObject> | undefined;
  declaration?.claims(object, add);
}
