/**
 * Who has which name in which network: kept beside the state of the data path, and changed with it, so that a question
 * costs the same however large the cluster is.
 */
import type {
  Network,
  NetworkEndpoint,
  NetworkService,
} from "../../../src/common/api/generated/api.ts";
import { formatAddress, parseAddress } from "../../../src/common/spec/cidr.ts";
import { type ClusterState, emptyClusterState } from "../cluster-state.ts";
import { replaceAll, type StateChange } from "../state-change.ts";

/** A container of this node in a network of this node, which the managers know nothing of. */
export interface LocalEndpoint {
  readonly networkId: string;
  readonly networkName: string;
  /** Its name, then its aliases. */
  readonly names: readonly string[];
  /** Without prefix lengths. */
  readonly addresses: readonly string[];
}

/** Sets by key; a key without members is not kept. */
class Sets<T> {
  readonly #sets = new Map<string, Set<T>>();

  get(key: string): ReadonlySet<T> {
    return this.#sets.get(key) ?? nothing;
  }

  add(key: string, value: T): void {
    const set = this.#sets.get(key);
    if (set === undefined) this.#sets.set(key, new Set([value]));
    else set.add(value);
  }

  remove(key: string, value: T): void {
    const set = this.#sets.get(key);
    if (set?.delete(value) && set.size === 0) this.#sets.delete(key);
  }
}

const nothing: ReadonlySet<never> = new Set<never>();

/** Names of everything this node was told of. */
export class NameIndex {
  #state: ClusterState = emptyClusterState;
  #local: readonly LocalEndpoint[] = [];
  /** Ids of services by their name. */
  readonly #services = new Sets<string>();
  /** Ids of services by network and alias. */
  readonly #aliases = new Sets<string>();
  /** Ids of services by network, for those that said so. */
  readonly #served = new Sets<string>();
  /** Ids of endpoints by network and name. */
  readonly #endpoints = new Sets<string>();
  /** Ids of endpoints by service. */
  readonly #tasks = new Sets<string>();
  /** Names by network and address. */
  readonly #holders = new Sets<string>();
  readonly #localNames = new Sets<LocalEndpoint>();
  readonly #localNetworks = new Sets<string>();

  /** Takes a state that differs from the last one in what is named. */
  update(state: ClusterState, change: StateChange): void {
    const before = this.#state;
    this.#state = state;
    for (const id of change.services) {
      this.#countService(before.services.get(id), false);
      this.#countService(state.services.get(id), true);
    }
    for (const id of change.endpoints) {
      this.#countEndpoint(before.endpoints.get(id), false);
      this.#countEndpoint(state.endpoints.get(id), true);
    }
  }

  /** Takes all containers in networks of the node. */
  setLocal(local: readonly LocalEndpoint[]): void {
    for (const one of this.#local) this.#countLocal(one, false);
    this.#local = local;
    for (const one of local) this.#countLocal(one, true);
  }

  network(id: string): Network | undefined {
    return this.#state.networks.get(id);
  }

  /** Name of a network of either kind, in lower case; empty for one that is not known. */
  networkName(id: string): string {
    const [local = ""] = this.#localNetworks.get(id);
    return (this.#state.networks.get(id)?.spec?.annotations?.name ?? local).toLowerCase();
  }

  /** Services with this name or alias that are in a network. */
  services(networkId: string, name: string): NetworkService[] {
    const named = [...this.#services.get(name)].filter((id) => this.#isIn(id, networkId));
    const ids = new Set([...named, ...this.#aliases.get(key(networkId, name))]);
    return [...ids].flatMap((id) => this.#state.services.get(id) ?? []);
  }

  /** Tasks and attached containers with this name. */
  endpoints(networkId: string, name: string): NetworkEndpoint[] {
    return this.#existing(this.#endpoints.get(key(networkId, name)));
  }

  /** Tasks of a service. */
  tasks(serviceId: string): NetworkEndpoint[] {
    return this.#existing(this.#tasks.get(serviceId));
  }

  /** Containers of this node in a network of this node. */
  local(networkId: string, name: string): ReadonlySet<LocalEndpoint> {
    return this.#localNames.get(key(networkId, name));
  }

  /** Names of who has an address in a network. */
  holders(networkId: string, address: string): ReadonlySet<string> {
    return this.#holders.get(key(networkId, address));
  }

  #existing(ids: ReadonlySet<string>): NetworkEndpoint[] {
    return [...ids].flatMap((id) => this.#state.endpoints.get(id) ?? []);
  }

  #isIn(serviceId: string, networkId: string): boolean {
    if (this.#served.get(key(networkId, serviceId)).size > 0) return true;
    const isThere = ({ networks }: NetworkEndpoint) =>
      networks.some((attachment) => attachment.networkId === networkId);
    return this.tasks(serviceId).some(isThere);
  }

  #countService(service: NetworkService | undefined, isThere: boolean): void {
    if (service === undefined) return;
    const count = (sets: Sets<string>, at: string, value: string) =>
      isThere ? sets.add(at, value) : sets.remove(at, value);
    const name = service.name.toLowerCase();
    count(this.#services, name, service.id);
    for (const { networkId, address } of service.virtualIps) {
      count(this.#served, key(networkId, service.id), "address");
      if (address !== "") count(this.#holders, key(networkId, plainAddress(address)), name);
    }
    for (const { networkId, names } of service.aliases) {
      count(this.#served, key(networkId, service.id), "alias");
      for (const alias of names) {
        count(this.#aliases, key(networkId, alias.toLowerCase()), service.id);
      }
    }
  }

  #countEndpoint(endpoint: NetworkEndpoint | undefined, isThere: boolean): void {
    if (endpoint === undefined) return;
    const count = (sets: Sets<string>, at: string, value: string) =>
      isThere ? sets.add(at, value) : sets.remove(at, value);
    if (endpoint.serviceId !== "") count(this.#tasks, endpoint.serviceId, endpoint.id);
    const name = endpoint.name.toLowerCase();
    for (const { networkId, addresses, aliases } of endpoint.networks) {
      // Aliases of a task are those of its service.
      const names = endpoint.serviceId === "" ? [name, ...aliases] : [name];
      for (const one of names) {
        if (one !== "") count(this.#endpoints, key(networkId, one.toLowerCase()), endpoint.id);
      }
      for (const address of addresses) {
        if (name !== "") count(this.#holders, key(networkId, plainAddress(address)), name);
      }
    }
  }

  #countLocal(one: LocalEndpoint, isThere: boolean): void {
    const { networkId, networkName, names, addresses } = one;
    for (const name of names) {
      const at = key(networkId, name.toLowerCase());
      if (isThere) this.#localNames.add(at, one);
      else this.#localNames.remove(at, one);
    }
    const [name = ""] = names;
    for (const address of addresses) {
      const at = key(networkId, plainAddress(address));
      if (isThere) this.#holders.add(at, name.toLowerCase());
      else this.#holders.remove(at, name.toLowerCase());
    }
    if (isThere) this.#localNetworks.add(networkId, networkName);
    else this.#localNetworks.remove(networkId, networkName);
  }
}

/** An index of what a node knows, now and from now on. */
export function indexOf(source: {
  current(): ClusterState;
  listen(listener: (state: ClusterState, change: StateChange) => void): () => void;
}): NameIndex {
  const index = new NameIndex();
  const { state, change } = replaceAll(emptyClusterState, source.current(), "");
  index.update(state, change);
  source.listen((next, changed) => index.update(next, changed));
  return index;
}

/** An address without prefix length, in its shortest form. */
export function plainAddress(text: string): string {
  const [plain = ""] = text.split("/");
  // Those of IPv4 have one form only.
  if (!plain.includes(":")) return plain;
  const address = parseAddress(plain);
  return address === undefined ? plain : formatAddress(address);
}

function key(networkId: string, name: string): string {
  return `${networkId} ${name}`;
}
