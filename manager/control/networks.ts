/**
 * Writes of networks. Decisions over one transaction.
 */
import {
  type CreateNetworkRequest,
  Done,
  type IpamConfig,
  Network,
  NetworkSpec,
  ObjectId,
  type RemoveRequest,
  type Task,
  TaskStateNumber,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { contains, overlaps, parseAddress, parsePrefix } from "../../src/common/spec/cidr.ts";
import { nodeNetworkDrivers } from "../../src/common/spec/node-networks.ts";
import { addressesOf, clashOf, hiddenNodeIn } from "../../src/common/spec/subnet-clash.ts";
import type { Tx } from "../state/transaction.ts";
import type { Environment } from "./environment.ts";
import { checkDnsName, invalid, isNameTaken, notFound } from "./names.ts";

/** Marks the swarm's own objects for the `bridge` and `host` networks every node has. */
export const predefinedLabel = "com.docker.swarm.predefined";
/** Drivers whose networks may span the swarm. */
const drivers: readonly string[] = ["overlay", ...nodeNetworkDrivers];

/** Whether this is the network of the routing mesh. */
export function isIngress(network: Network): boolean {
  return network.spec?.ingress ?? false;
}

/** @throws ClusterError with Docker's text. */
export function createNetwork(
  tx: Tx,
  request: CreateNetworkRequest,
  environment: Environment,
): ObjectId {
  const spec = request.spec ?? NetworkSpec.create();
  checkSpec(spec);
  if (spec.ingress) {
    const present = [...tx.each("network")].find(isIngress);
    if (present !== undefined)
      throw new ClusterError(
        "already-exists",
        `ingress network (${present.id}) is already present`,
      );
  }
  const name = spec.annotations?.name ?? "";
  if (isNameTaken(tx, "network", name))
    throw new ClusterError(
      "already-exists",
      `name conflicts with an existing object: network ${name} already exists`,
    );
  checkSubnets(tx, spec);
  const id = environment.objectId;
  tx.create("network", Network.create({ id, spec }));
  return ObjectId.create({ id });
}

/** @throws ClusterError `failed-precondition` while a service or task uses it. */
export function removeNetwork(tx: Tx, request: RemoveRequest): Done {
  const { id } = request;
  const network = tx.get("network", id);
  if (network === undefined) throw notFound("network", id);
  const name = network.spec?.annotations?.name ?? "";
  if (network.spec?.annotations?.labels[predefinedLabel] === "true")
    throw inUse(`network ${id} (${name}) is a swarm predefined network and cannot be removed`);
  if (isIngress(network)) checkIngressUnused(tx);
  const [service] = tx.find("service", "network", id);
  if (service !== undefined && !isIngress(network))
    throw inUse(`network ${id} is in use by service ${service.id}`);
  // Tasks of a service that is gone are about to be told to stop: `docker stack rm` does not wait for that.
  const task = tx.find("task", "network", id).find((one) => isRunning(one) && isWanted(tx, one));
  if (task !== undefined && !isIngress(network))
    throw inUse(`network ${id} is in use by task ${task.id}`);
  if (!isIngress(network)) tx.requireNone("service", "network", id);
  tx.remove("network", id);
  return Done.create();
}

function checkIngressUnused(tx: Tx): void {
  for (const service of tx.each("service"))
    if (service.spec?.endpoint?.ports.some((port) => port.publishMode === "ingress"))
      throw inUse(`ingress network cannot be removed because service ${service.id} depends on it`);
}

function isRunning(task: Task): boolean {
  return (
    TaskStateNumber(task.desiredState) <= TaskStateNumber("complete") &&
    TaskStateNumber(task.status?.state ?? "new") <= TaskStateNumber("running")
  );
}

function isWanted(tx: Tx, { serviceId }: Task): boolean {
  return serviceId === "" || tx.get("service", serviceId) !== undefined;
}

function inUse(message: string): ClusterError {
  return new ClusterError("failed-precondition", message);
}

/** A subnet of a network that is just being made counts as well as those that networks have. */
function checkSubnets(tx: Tx, spec: NetworkSpec): void {
  const wanted = (spec.ipam?.configs ?? []).map(({ subnet }) => subnet);
  if (wanted.length === 0) return;
  const others = [...tx.each("network")].flatMap(
    (network) =>
      (network.ipam ?? network.spec?.ipam)?.configs.flatMap(({ subnet }) => {
        const prefix = parsePrefix(subnet);
        const name = network.spec?.annotations?.name ?? network.id;
        return prefix === undefined ? [] : [{ name, prefix }];
      }) ?? [],
  );
  const nodeAddresses = [...tx.each("node")].flatMap(addressesOf);
  // Of the others, containers are in the nodes' own network.
  const isOverlay = spec.driver?.name === "overlay";
  for (const subnet of wanted) {
    const clash = clashOf(subnet, others);
    const hidden = isOverlay ? hiddenNodeIn(subnet, nodeAddresses) : undefined;
    const reason = clash ?? hidden;
    if (reason !== undefined) throw invalid(`invalid pool request: ${reason}`);
  }
}

function checkSpec(spec: NetworkSpec): void {
  if (spec.attachable && spec.ingress) throw invalid("ingress network cannot be attachable");
  checkDnsName(spec.annotations);
  if (Object.hasOwn(spec.annotations?.labels ?? {}, predefinedLabel))
    throw new ClusterError(
      "permission-denied",
      `label ${predefinedLabel} is for internally created predefined networks and cannot be applied by users`,
    );
  const driver = spec.driver?.name ?? "";
  if (!drivers.includes(driver))
    throw invalid(
      `network driver ${JSON.stringify(driver)} cannot be used in a swarm; use ${drivers.join(", ")}`,
    );
  checkScope(spec, driver);
  const ipamDriver = spec.ipam?.driver?.name ?? "";
  if (!["", "default"].includes(ipamDriver))
    throw invalid(`ipam driver ${JSON.stringify(ipamDriver)} is not supported; use default`);
  const configs = spec.ipam?.configs ?? [];
  configs.forEach((config, i) => {
    checkIpam(config, configs.slice(0, i));
  });
}

/** Nodes make networks on their devices themselves, each from what it has; the cluster's addresses are one set. */
function checkScope({ configFrom, ingress }: NetworkSpec, driver: string): void {
  const isNodes = nodeNetworkDrivers.includes(driver);
  if (ingress && isNodes)
    throw new ClusterError(
      "permission-denied",
      `Ingress network can only be global scope network: use the driver overlay, not ${driver}`,
    );
  if (configFrom !== "" && !isNodes)
    throw invalid(
      `network driver ${driver} takes no settings of nodes: leave --config-from ${configFrom} out and give them to the network itself`,
    );
}

function checkIpam(config: IpamConfig, before: readonly IpamConfig[]): void {
  const subnet = parsePrefix(config.subnet);
  if (subnet === undefined) throw invalid(`ipam configuration: invalid subnet ${config.subnet}`);
  if (config.range !== "") {
    const range = parsePrefix(config.range);
    if (range === undefined) throw invalid(`ipam configuration: invalid range ${config.range}`);
    if (range.length < subnet.length || !contains(subnet, range))
      throw invalid(
        `ipam configuration: subnet ${config.subnet} does not contain range ${config.range}`,
      );
  }
  if (config.gateway !== "") {
    const gateway = parseAddress(config.gateway);
    if (gateway === undefined)
      throw invalid(`ipam configuration: invalid gateway ${config.gateway}`);
    if (!contains(subnet, gateway))
      throw invalid(
        `ipam configuration: subnet ${config.subnet} does not contain gateway ${config.gateway}`,
      );
  }
  for (const other of before) {
    const prefix = parsePrefix(other.subnet);
    if (prefix !== undefined && overlaps(prefix, subnet))
      throw invalid(`ipam configuration: subnets ${other.subnet} and ${config.subnet} overlap`);
  }
}
