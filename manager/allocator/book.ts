/**
 * What the cluster has given out: a mirror of the store that answers at once. Pure.
 *
 * It is read in anew at the start of each leadership and follows the store from then on. What is given to an object and not
 * committed yet is in the book as well, under the object's id, so that a decision that is run again has the same outcome.
 */
import {
  IpamOptions,
  type Network,
  type NetworkAttachment,
  type PortConfig,
  type Service,
  type Task,
} from "../../src/common/api/generated/api.ts";
import { type IpAddress, parseAddress, parsePrefix } from "../../src/common/spec/cidr.ts";
import { fixedAddressesOf } from "../../src/common/spec/fixed-addresses.ts";
import type { NamedPrefix } from "../../src/common/spec/subnet-clash.ts";
import { mayRun } from "../state/uniqueness.ts";
import { Subnet } from "./ipam.ts";
import { isClusterWide, subnetsOf } from "./network.ts";
import { PublishedPorts } from "./ports.ts";
import { NetworkNumbers } from "./vni.ts";

/** A network with its addresses. */
export interface NetworkPage {
  readonly network: Network;
  readonly subnets: readonly Subnet[];
  /** The subnets as others must not overlap with them. */
  readonly named: readonly NamedPrefix[];
}

interface Address {
  readonly networkId: string;
  readonly address: string;
}

/** Everything given out. */
export class AllocationBook {
  readonly numbers = new NetworkNumbers();
  readonly ports = new PublishedPorts();
  readonly #pages = new Map<string, NetworkPage>();
  readonly #byName = new Map<string, string>();
  /** Subnets each holder has an address in. */
  readonly #held = new Map<string, Set<Subnet>>();
  /** Addresses that labels of a service keep. */
  readonly #kept = new Map<string, readonly { subnet: Subnet; address: IpAddress }[]>();
  /** Id of the network a subnet is of. */
  readonly #networkOf = new Map<Subnet, string>();
  #ingressId = "";
  /** Networks in which addresses became free since this was last asked. */
  #freed = new Map<string, number>();

  /** A network with its addresses; undefined while it has none. */
  page(networkId: string): NetworkPage | undefined {
    return this.#pages.get(networkId);
  }

  /** The network of the routing mesh. */
  ingress(): NetworkPage | undefined {
    return this.page(this.#ingressId);
  }

  /** All networks that have addresses. */
  pages(): Iterable<NetworkPage> {
    return this.#pages.values();
  }

  /** Subnets of all networks but one. */
  subnetsBut(networkId: string): NamedPrefix[] {
    return [...this.#pages.values()].flatMap(({ network, named }) =>
      network.id === networkId ? [] : named,
    );
  }

  /** Networks in which addresses became free since the last call, and how many. */
  takeFreed(): ReadonlyMap<string, number> {
    const freed = this.#freed;
    this.#freed = new Map();
    return freed;
  }

  /** The network is this now; undefined when it is gone. */
  setNetwork(id: string, network: Network | undefined): void {
    const before = this.#pages.get(id);
    if (network === undefined || !isClusterWide(network) || network.ipam === undefined) {
      this.numbers.release(id);
      if (before !== undefined) this.#dropPage(before);
      return;
    }
    if (network.networkNumber !== 0) this.numbers.note(id, network.networkNumber);
    if (before !== undefined && isSameIpam(before.network, network)) {
      this.#pages.set(id, { ...before, network });
      return;
    }
    if (before !== undefined) this.#dropPage(before);
    const subnets = network.ipam.configs.flatMap((config) => {
      const prefix = parsePrefix(config.subnet);
      return prefix === undefined ? [] : [new Subnet(config, prefix)];
    });
    this.#pages.set(id, { network, subnets, named: subnetsOf(network) });
    for (const subnet of subnets) this.#networkOf.set(subnet, id);
    if (network.spec?.ingress === true) this.#ingressId = id;
    this.#byName.set(network.spec?.annotations?.name ?? "", id);
  }

  /** The service is this now; undefined when it is gone. */
  setService(id: string, service: Service | undefined): void {
    const vips = service?.endpoint?.virtualIps ?? [];
    this.#setAddresses(id, vips);
    const { spec, endpoint } = service ?? {};
    this.ports.note(id, [...(spec?.endpoint?.ports ?? []), ...(endpoint?.ports ?? [])]);
    this.#keep(id, service);
  }

  /** The task is this now; undefined when it is gone. */
  setTask(id: string, task: Task | undefined): void {
    if (task === undefined || !mayRun(task)) this.#setAddresses(id, []);
    else this.#setAddresses(id, addressesOf(task.networks));
  }

  /** Takes note of ports that are about to be committed. */
  reservePorts(serviceId: string, ports: readonly PortConfig[]): void {
    this.ports.note(serviceId, ports);
  }

  /** An address of the subnet for a holder; undefined when there is none left. */
  take(subnet: Subnet, holder: string): string | undefined {
    const address = subnet.take(holder);
    if (address !== undefined) this.#holds(holder, subnet);
    return address;
  }

  /** This address of the subnet for a holder; undefined when another one has it. */
  takeAt(subnet: Subnet, holder: string, address: IpAddress): string | undefined {
    const text = subnet.takeAt(holder, address);
    if (text !== undefined) this.#holds(holder, subnet);
    return text;
  }

  #holds(holder: string, subnet: Subnet): void {
    const held = this.#held.get(holder);
    if (held === undefined) this.#held.set(holder, new Set([subnet]));
    else held.add(subnet);
  }

  #setAddresses(holder: string, addresses: readonly Address[]): void {
    const before = this.#held.get(holder);
    if (before === undefined && addresses.length === 0) return;
    const now = new Set<Subnet>();
    for (const { networkId, address } of addresses) {
      const parsed = parseAddress(address.split("/")[0] ?? "");
      const subnet = parsed && this.#subnetOf(networkId, parsed);
      if (parsed === undefined || subnet === undefined) continue;
      subnet.note(holder, parsed);
      now.add(subnet);
    }
    for (const subnet of before ?? []) {
      if (!now.has(subnet) && subnet.release(holder)) this.#noteFreed(subnet);
    }
    if (now.size === 0) this.#held.delete(holder);
    else this.#held.set(holder, now);
  }

  #subnetOf(networkId: string, address: IpAddress): Subnet | undefined {
    return this.#pages.get(networkId)?.subnets.find((subnet) => subnet.contains(address));
  }

  #noteFreed(subnet: Subnet): void {
    const id = this.#networkOf.get(subnet);
    if (id !== undefined) this.#freed.set(id, (this.#freed.get(id) ?? 0) + 1);
  }

  #keep(id: string, service: Service | undefined): void {
    const before = this.#kept.get(id);
    for (const { subnet, address } of before ?? []) subnet.unkeep(address);
    const kept = fixedAddressesOf(service).flatMap(({ network, address }) =>
      this.#subnetsNamed(service, network)
        .filter((subnet) => subnet.contains(address))
        .map((subnet) => ({ subnet, address })),
    );
    for (const { subnet, address } of kept) subnet.keep(address);
    if (kept.length === 0) this.#kept.delete(id);
    else this.#kept.set(id, kept);
  }

  /** Subnets of a network by id or name; of all networks of the service where none is named. */
  #subnetsNamed(service: Service | undefined, name: string): readonly Subnet[] {
    if (name !== "") return this.page(this.#byName.get(name) ?? name)?.subnets ?? [];
    return (service?.spec?.task?.networks ?? []).flatMap(
      ({ target }) => this.page(target)?.subnets ?? [],
    );
  }

  #dropPage({ network, subnets }: NetworkPage): void {
    this.#pages.delete(network.id);
    const name = network.spec?.annotations?.name ?? "";
    if (this.#byName.get(name) === network.id) this.#byName.delete(name);
    for (const subnet of subnets) {
      this.#networkOf.delete(subnet);
      for (const holder of subnet.holders()) this.#held.get(holder)?.delete(subnet);
    }
  }
}

function isSameIpam(a: Network, b: Network): boolean {
  if (a.ipam === b.ipam) return true;
  const bytes = ({ ipam }: Network) => IpamOptions.encode(ipam ?? IpamOptions.create());
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}

function addressesOf(networks: readonly NetworkAttachment[]): Address[] {
  return networks.flatMap(({ networkId, addresses }) =>
    addresses.map((address) => ({ networkId, address })),
  );
}
