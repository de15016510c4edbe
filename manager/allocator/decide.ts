/**
 * What services and tasks get from the cluster before tasks are given a node: ports, virtual and own addresses. Pure but for
 * the book, in which everything that is given is noted at once.
 *
 * A decision gives all or nothing: what cannot be had makes the object wait, with a reason for the user.
 */
import {
  Endpoint,
  EndpointSpec,
  type Network,
  NetworkAttachment,
  type NetworkAttachmentConfig,
  type Service,
  type Task,
  TaskStateNumber,
  VirtualIp,
} from "../../src/common/api/generated/api.ts";
import {
  formatAddress,
  formatPrefix,
  type IpAddress,
  parseAddress,
} from "../../src/common/spec/cidr.ts";
import { fixedAddressesOf } from "../../src/common/spec/fixed-addresses.ts";
import { nodeNetworkDrivers } from "../../src/common/spec/node-networks.ts";
import type { AllocationBook, NetworkPage } from "./book.ts";
import { isClusterWide } from "./network.ts";
import { dynamicPortFirst, dynamicPortLast } from "./ports.ts";

/** Has to wait; `on` is the id of the network or service that has to change first. */
export interface Wait {
  readonly kind: "wait";
  readonly on: string;
  readonly reason: string;
}

/** What becomes of a service. */
export type ServiceAllocation = { readonly kind: "done"; readonly endpoint: Endpoint } | Wait;

/** What becomes of a new task. */
export type TaskAllocation =
  | {
      readonly kind: "done";
      readonly networks: readonly NetworkAttachment[];
      readonly endpoint: Endpoint | undefined;
    }
  | Wait;

/** Where decisions find what they refer to. */
export interface Surroundings {
  readonly book: AllocationBook;
  network(id: string): Network | undefined;
  service(id: string): Service | undefined;
  /** Why something waits that was looked at before. */
  reasonOf(id: string): string | undefined;
}

/** What waits for a network of the mesh waits for this while there is none. */
export const meshAbsent = "ingress";
/** Drivers of networks that are the node's own affair. */
const nodeDrivers: readonly string[] = ["host", "null", "bridge", ...nodeNetworkDrivers];
const completeNumber = TaskStateNumber("complete");
const assignedNumber = TaskStateNumber("assigned");

/** Driver of a network that every node has by itself or makes for itself, else "". */
export function ownDriverOf(network: Network | undefined): string {
  const driver = network?.spec?.driver?.name ?? network?.driverState?.name ?? "";
  return nodeDrivers.includes(driver) ? driver : "";
}

/** Whether the task waits for the allocator. */
export function isNew(task: Task): boolean {
  return (task.status?.state ?? "new") === "new" && !isGivenUp(task);
}

/** Whether the task will never be given to a node: what it has of the cluster is free for others. */
export function isGivenUp(task: Task): boolean {
  return (
    TaskStateNumber(task.desiredState) > completeNumber &&
    TaskStateNumber(task.status?.state ?? "new") < assignedNumber
  );
}

/** The endpoint the service is to have. */
export function allocateService(
  service: Service,
  { book, ...rest }: Surroundings,
): ServiceAllocation {
  const surroundings = { book, ...rest };
  const spec = service.spec?.endpoint;
  const ports = book.ports.fill(service.id, spec, service.endpoint?.ports ?? []);
  if (ports === undefined) {
    const reason = `no published port is free between ${dynamicPortFirst} and ${dynamicPortLast}: publish a port of your own`;
    return { kind: "wait", on: "", reason };
  }
  const virtualIps: VirtualIp[] = [];
  for (const networkId of spec?.mode === "dnsrr" ? [] : networksOf(service, surroundings)) {
    const got = addressesIn(networkId, service.id, { wanted: [], surroundings });
    if (got.kind === "wait") {
      book.setService(service.id, service);
      return got;
    }
    for (const address of got.addresses) virtualIps.push(VirtualIp.create({ networkId, address }));
  }
  book.reservePorts(service.id, [...(spec?.ports ?? []), ...ports]);
  return { kind: "done", endpoint: Endpoint.create({ spec, ports, virtualIps }) };
}

/** Networks in which the service has addresses: the mesh's first, as in Docker. */
function networksOf(service: Service, surroundings: Surroundings): string[] {
  const ids = (service.spec?.task?.networks ?? []).map(({ target }) => target);
  const own = ids.filter((id) => {
    const network = surroundings.network(id);
    return network === undefined || isClusterWide(network);
  });
  const mesh = needsMesh(service.spec?.endpoint) ? [meshId(surroundings)] : [];
  return [...new Set([...mesh, ...own])];
}

function needsMesh(endpoint: EndpointSpec | undefined): boolean {
  return (endpoint?.ports ?? []).some(({ publishMode }) => publishMode === "ingress");
}

/** Id of the mesh's network; a name that none has while there is none. */
function meshId({ book }: Surroundings): string {
  return book.ingress()?.network.id ?? meshAbsent;
}

/** What a new task gets. */
export function allocateTask(task: Task, surroundings: Surroundings): TaskAllocation {
  const endpoint = endpointFor(task, surroundings);
  if (endpoint?.kind === "wait") return endpoint;
  const configs = task.spec?.networks ?? [];
  const mesh = needsMesh(task.endpoint?.spec) ? meshId(surroundings) : undefined;
  const networks: NetworkAttachment[] = [];
  const all: readonly Partial<NetworkAttachmentConfig>[] =
    mesh === undefined ? configs : [{ target: mesh }, ...configs];
  for (const config of all) {
    const got = attach(task, config, surroundings);
    if (got.kind === "wait") {
      surroundings.book.setTask(task.id, task);
      return got;
    }
    networks.push(got.attachment);
  }
  return { kind: "done", networks, endpoint: endpoint?.endpoint };
}

/**
 * The service's endpoint, once there is one for its spec. A task of an earlier spec, which is about to be replaced, has the
 * ports of its own.
 */
function endpointFor(
  task: Task,
  { service: find, reasonOf }: Surroundings,
): { readonly kind: "done"; readonly endpoint: Endpoint | undefined } | Wait | undefined {
  if (task.serviceId === "") return undefined;
  const service = find(task.serviceId);
  const { endpoint } = service ?? {};
  if (endpoint === undefined || !isSameSpec(endpoint.spec, service?.spec?.endpoint)) {
    const reason = reasonOf(task.serviceId) ?? "";
    return { kind: "wait", on: task.serviceId, reason };
  }
  const { spec } = task.endpoint ?? {};
  if (!isSameSpec(endpoint.spec, spec))
    return { kind: "done", endpoint: Endpoint.create({ spec, ports: spec?.ports ?? [] }) };
  const isEmpty = spec === undefined && endpoint.virtualIps.length === 0;
  return { kind: "done", endpoint: isEmpty ? undefined : endpoint };
}

/** Whether two endpoint specs say the same. */
export function isSameSpec(a: EndpointSpec | undefined, b: EndpointSpec | undefined): boolean {
  if (a === b) return true;
  const bytes = (spec: EndpointSpec | undefined) =>
    EndpointSpec.encode(spec ?? EndpointSpec.create());
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}

function attach(
  task: Task,
  config: Partial<NetworkAttachmentConfig>,
  surroundings: Surroundings,
): { readonly kind: "done"; readonly attachment: NetworkAttachment } | Wait {
  const { target: networkId = "", aliases = [], driverOptions = {} } = config;
  const network = surroundings.network(networkId);
  const ownDriver = ownDriverOf(network);
  if (ownDriver !== "") {
    const nodeNetwork = nodeNetworkDrivers.includes(ownDriver) ? network?.spec : undefined;
    const attachment = NetworkAttachment.create({
      networkId,
      ownDriver,
      aliases,
      driverOptions,
      nodeNetwork,
    });
    return { kind: "done", attachment };
  }
  const wanted = wantedBy(task, config, { network, surroundings });
  const got = addressesIn(networkId, task.id, { wanted, surroundings });
  if (got.kind === "wait") return got;
  const { addresses } = got;
  const attachment = NetworkAttachment.create({ networkId, addresses, aliases, driverOptions });
  return { kind: "done", attachment };
}

/** Addresses the task is to have in the network: by the spec, or by a label for its slot. */
function wantedBy(
  task: Task,
  config: Partial<NetworkAttachmentConfig>,
  { network, surroundings }: { network: Network | undefined; surroundings: Surroundings },
): readonly IpAddress[] {
  const named = (config.addresses ?? []).flatMap(
    (text) => parseAddress(text.split("/")[0] ?? "") ?? [],
  );
  if (task.slot === 0 || network === undefined || network.spec?.ingress === true) return named;
  const name = network.spec?.annotations?.name ?? "";
  const isOnly = (task.spec?.networks ?? []).length === 1;
  const fixed = fixedAddressesOf(surroundings.service(task.serviceId)).filter(
    (one) =>
      one.slot === task.slot &&
      (one.network === "" ? isOnly : one.network === name || one.network === network.id),
  );
  return [...named, ...fixed.map(({ address }) => address)];
}

interface Wish {
  readonly wanted: readonly IpAddress[];
  readonly surroundings: Surroundings;
}

/** One address of each family that the network has. */
function addressesIn(
  networkId: string,
  holder: string,
  { wanted, surroundings }: Wish,
): { readonly kind: "done"; readonly addresses: readonly string[] } | Wait {
  const page = surroundings.book.page(networkId);
  if (page === undefined) return noPage(networkId, surroundings);
  const addresses: string[] = [];
  const stray = wanted.find((address) => !page.subnets.some((subnet) => subnet.contains(address)));
  if (stray !== undefined)
    return waitOn(
      page,
      `address ${formatAddress(stray)} is in no subnet of network ${nameOf(page)} (${subnetsText(page)})`,
    );
  for (const family of [4, 6] as const) {
    const subnets = page.subnets.filter(({ prefix }) => prefix.family === family);
    if (subnets.length === 0) continue;
    const address = wanted.find((one) => one.family === family);
    const got =
      address === undefined
        ? anyOf(page, holder, { family, surroundings })
        : thisOne(page, holder, { address, surroundings });
    if (typeof got !== "string") return got;
    addresses.push(got);
  }
  return { kind: "done", addresses };
}

function anyOf(
  page: NetworkPage,
  holder: string,
  { family, surroundings }: { readonly family: 4 | 6; readonly surroundings: Surroundings },
): string | Wait {
  const subnets = page.subnets.filter(({ prefix }) => prefix.family === family);
  for (const subnet of subnets) {
    const has = subnet.addressOf(holder);
    if (has !== undefined) return has;
  }
  for (const subnet of subnets) {
    const address = surroundings.book.take(subnet, holder);
    if (address !== undefined) return address;
  }
  return waitOn(
    page,
    `network ${nameOf(page)} has no free address left in ${subnetsText(page)}: remove tasks or services from it, or make a network with a larger --subnet`,
  );
}

function thisOne(
  page: NetworkPage,
  holder: string,
  { address, surroundings }: { readonly address: IpAddress; readonly surroundings: Surroundings },
): string | Wait {
  const subnet = page.subnets.find((one) => one.contains(address));
  const got = subnet && surroundings.book.takeAt(subnet, holder, address);
  if (got !== undefined) return got;
  const text = formatAddress(address);
  const other = subnet?.holderOf(address);
  return waitOn(
    page,
    other === undefined
      ? `address ${text} of network ${nameOf(page)} is reserved; choose another`
      : `address ${text} of network ${nameOf(page)} is already in use by ${other}`,
  );
}

function waitOn({ network }: NetworkPage, reason: string): Wait {
  return { kind: "wait", on: network.id, reason };
}

function noPage(networkId: string, surroundings: Surroundings): Wait {
  const network = surroundings.network(networkId);
  const name = network?.spec?.annotations?.name ?? networkId;
  const reason =
    network === undefined
      ? `network ${name} not found`
      : (surroundings.reasonOf(networkId) ?? driverText(network, name));
  return { kind: "wait", on: networkId, reason };
}

function driverText(network: Network, name: string): string {
  if (isClusterWide(network)) return `network ${name} has no addresses yet`;
  return `network ${name} of driver ${network.spec?.driver?.name ?? ""} cannot be attached to: use a network of driver overlay`;
}

function nameOf({ network }: NetworkPage): string {
  return network.spec?.annotations?.name ?? network.id;
}

function subnetsText({ subnets }: NetworkPage): string {
  return subnets.map(({ prefix }) => formatPrefix(prefix)).join(", ");
}
