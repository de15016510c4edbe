/**
 * What a name leads to, for whoever asks: pure.
 *
 * A caller sees the names of the networks it is in and no others, in the order of its networks. What is a name of ours is
 * never asked of the world, whatever is asked about it; what is none is the world's business.
 */
import type { NetworkEndpoint, NetworkService } from "../../../src/common/api/generated/api.ts";
import {
  contains,
  formatAddress,
  parseAddress,
  parsePrefix,
} from "../../../src/common/spec/cidr.ts";
import { gateway, uplink } from "../pools.ts";
import { type NameIndex, plainAddress } from "./name-index.ts";

/** Who asks. */
export interface Asker {
  /** Ids of its networks, the first counts first. */
  readonly networks: readonly string[];
}

/** What is asked, in lower case and without the dot at the end. */
export interface Question {
  readonly name: string;
  /** A, AAAA, PTR, ANY; others have no answer. */
  readonly type: string;
}

/** The answer; `kind` says what an empty one means. */
export type Answer =
  | { readonly kind: "addresses"; readonly addresses: readonly string[] }
  | { readonly kind: "names"; readonly names: readonly string[] }
  /** It is a name of ours that has nothing of the kind now. */
  | { readonly kind: "no-data" }
  /** It would be a name of ours, and is none. */
  | { readonly kind: "no-name" }
  | { readonly kind: "not-ours" };

const tasksPrefix = "tasks.";
/** A network of this name could as well be a domain of the world. */
const maybeDomain = /^[a-z]{2,}$/;

/** @param turn Another number for each question: of several addresses each comes first in turn. */
export function answer(question: Question, asker: Asker, index: NameIndex, turn: number): Answer {
  const { name, type } = question;
  const address = addressOfReverseName(name);
  if (address !== undefined) return namesOf(address, type, asker, index);
  const found = addressesOf(name, asker, index);
  if (found === undefined) {
    const isOurs = isLikeOurs(name, asker, index);
    return { kind: isOurs ? "no-name" : "not-ours" };
  }
  const fitting = found.filter((one) => hasType(one, type));
  if (fitting.length === 0) return { kind: "no-data" };
  return { kind: "addresses", addresses: turned(fitting, turn) };
}

/** Addresses of a name; undefined when nobody has it. */
function addressesOf(name: string, asker: Asker, index: NameIndex): string[] | undefined {
  const networks = asker.networks.filter((id) => index.network(id)?.spec?.ingress !== true);
  for (const networkId of networks) {
    const found = addressesIn(networkId, name, index);
    if (found !== undefined) return found;
  }
  for (const networkId of networks) {
    const bare = withoutNetwork(name, index.networkName(networkId));
    const found = bare === undefined ? undefined : addressesIn(networkId, bare, index);
    if (found !== undefined) return found;
  }
  return undefined;
}

function addressesIn(networkId: string, name: string, index: NameIndex): string[] | undefined {
  const services = index.services(networkId, name);
  const endpoints = index.endpoints(networkId, name);
  const local = [...index.local(networkId, name)];
  if (services.length + endpoints.length + local.length > 0) {
    return distinct([
      ...services.flatMap((service) => serviceAddresses(networkId, service, index)),
      ...endpoints.flatMap((endpoint) => endpointAddresses(networkId, endpoint)),
      ...local.flatMap(({ addresses }) => addresses.map(plainAddress)),
    ]);
  }
  if (!name.startsWith(tasksPrefix)) return undefined;
  const owners = index.services(networkId, name.slice(tasksPrefix.length));
  if (owners.length === 0) return undefined;
  return distinct(owners.flatMap((service) => taskAddresses(networkId, service, index)));
}

function serviceAddresses(
  networkId: string,
  service: NetworkService,
  index: NameIndex,
): readonly string[] {
  const own = service.virtualIps.filter((ip) => ip.networkId === networkId && ip.address !== "");
  if (service.mode === "dnsrr" || own.length === 0) {
    return taskAddresses(networkId, service, index);
  }
  return own.map(({ address }) => plainAddress(address));
}

function taskAddresses(networkId: string, { id }: NetworkService, index: NameIndex): string[] {
  return index
    .tasks(id)
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .flatMap((task) => endpointAddresses(networkId, task));
}

/** Of a task only while it is ready; a container that was attached by hand has its name as long as it is there. */
function endpointAddresses(networkId: string, endpoint: NetworkEndpoint): string[] {
  if (!endpoint.ready && endpoint.serviceId !== "") return [];
  return endpoint.networks
    .filter((attachment) => attachment.networkId === networkId)
    .flatMap(({ addresses }) => addresses.map(plainAddress));
}

function withoutNetwork(name: string, network: string): string | undefined {
  if (network === "" || !name.endsWith(`.${network}`)) return undefined;
  return name.slice(0, -network.length - 1);
}

/** Whether a name that nobody has is not the world's either. */
function isLikeOurs(name: string, asker: Asker, index: NameIndex): boolean {
  return asker.networks.some((id) => {
    const network = index.networkName(id);
    return !maybeDomain.test(network) && withoutNetwork(name, network) !== undefined;
  });
}

function namesOf(address: string, type: string, asker: Asker, index: NameIndex): Answer {
  for (const id of asker.networks) {
    const names = [...index.holders(id, address)].sort();
    const network = index.networkName(id);
    if (names.length === 0) continue;
    if (type !== "PTR" && type !== "ANY") return { kind: "no-data" };
    return { kind: "names", names: names.map((name) => `${name}.${network}`) };
  }
  return { kind: isOurAddress(address, asker, index) ? "no-name" : "not-ours" };
}

/** Whether an address is in a network of the asker, or one of those that every node has for itself. */
function isOurAddress(text: string, asker: Asker, index: NameIndex): boolean {
  const address = parseAddress(text);
  const subnets = asker.networks.flatMap(
    (id) => index.network(id)?.ipam?.configs.map(({ subnet }) => subnet) ?? [],
  );
  return [...subnets, ...ownSubnets].some((subnet) => {
    const prefix = parsePrefix(subnet);
    return prefix !== undefined && address !== undefined && contains(prefix, address);
  });
}

const ownSubnets = [
  gateway.subnet,
  gateway.subnet6,
  `${uplink.host}/${uplink.length}`,
  `${uplink.host6}/${uplink.length6}`,
];

/** The address that a name below in-addr.arpa or ip6.arpa stands for. */
function addressOfReverseName(name: string): string | undefined {
  const labels = name.split(".");
  const domain = labels.splice(-2).join(".");
  const digits = labels.reverse();
  const isNumber = (label: string) => /^\d{1,3}$/.test(label) && Number(label) < 256;
  if (domain === "in-addr.arpa" && digits.length === 4 && digits.every(isNumber)) {
    return digits.map(Number).join(".");
  }
  if (domain !== "ip6.arpa" || digits.length !== 32) return undefined;
  if (!digits.every((digit) => /^[0-9a-f]$/.test(digit))) return undefined;
  return formatAddress({ family: 6, value: BigInt(`0x${digits.join("")}`) });
}

function hasType(address: string, type: string): boolean {
  return type === "ANY" || type === (address.includes(":") ? "AAAA" : "A");
}

function turned(list: readonly string[], turn: number): string[] {
  const at = turn % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

function distinct(list: readonly string[]): string[] {
  return [...new Set(list)];
}
