/**
 * The data path of the whole cluster as agents are told of it, by network: what every session of this manager reads from.
 *
 * It follows the store change by change. A change costs a look-up and a note in the logs of the networks it concerns;
 * sessions in these networks are woken once per commit, and read the logs from where they were.
 */
import {
  type Network,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
} from "../../src/common/api/generated/api.ts";
import { networkIndexPerSlice } from "../../src/common/limits/agent.ts";
import type { Change } from "../state/change.ts";
import type { View } from "../state/view.ts";
import { type NetworkEntry, NetworkLog } from "./network-log.ts";
import { type NetworkIds, NetworkPlaces } from "./network-places.ts";
import { type SharedMesh, type SharedPeers, SharedUpdates } from "./network-shared.ts";
import {
  endpointOf,
  hasPlace,
  isSame,
  isTold,
  networkServiceOf,
  networksOfService,
  peerOf,
} from "./network-view.ts";

/** Where the index reads from. */
export interface NetworkSource {
  view(): View;
  /** Ids of all tasks, unaffected by later changes. */
  taskIds(): Iterable<string>;
  /** Runs it a little later: what changes of nodes meanwhile is told with it. */
  soon(run: () => void): void;
}

/** Who reads from the index. */
export interface NetworkReader {
  readonly nodeId: string;
  /** Something it reads may have changed. */
  wake(): void;
}

/** What there is in one network. */
interface Page {
  readonly log: NetworkLog;
  readonly services: Set<string>;
  readonly endpoints: Set<string>;
  readonly readers: Set<NetworkReader>;
}

/** The index of one manager. */
export class NetworkIndex {
  readonly #source: NetworkSource;
  readonly #pages = new Map<string, Page>();
  readonly #peers = new Map<string, NetworkPeer>();
  readonly #networks = new Map<string, Network>();
  readonly #services = new Map<
    string,
    { readonly service: NetworkService; readonly networks: ReadonlySet<string> }
  >();
  readonly #endpoints = new Map<string, NetworkEndpoint>();
  readonly #places = new NetworkPlaces();
  readonly #readers = new Map<string, Set<NetworkReader>>();
  /** Readers to be woken when the present commit is taken in. */
  readonly #touched = new Set<NetworkReader>();
  readonly #peerLog = new NetworkLog();
  readonly #shared = new SharedUpdates(this);
  /** Networks with peers that changed a moment ago. */
  readonly #settling = new Set<string>();
  #isSettling = false;
  #meshId = "";
  #loaded: Promise<void> | undefined;

  constructor(source: NetworkSource) {
    this.#source = source;
  }

  /** Resolves once everything that was in the store is here. */
  loaded(): Promise<void> {
    this.#loaded ??= this.#load();
    return this.#loaded;
  }

  /** Everything may be different: reads it anew. Readers have to begin anew, too. */
  reload(): void {
    for (const { services, endpoints } of this.#pages.values()) {
      services.clear();
      endpoints.clear();
    }
    for (const map of [this.#peers, this.#networks, this.#services, this.#endpoints, this.#places])
      map.clear();
    this.#meshId = "";
    this.#loaded = undefined;
    this.#shared.drop();
  }

  /** What every agent is told of the mesh, encoded. */
  sharedMesh(): Promise<SharedMesh> {
    return this.#shared.mesh();
  }

  /** All nodes, encoded. */
  sharedPeers(): Promise<SharedPeers> {
    return this.#shared.peers();
  }

  /** Id of the mesh's network; empty while there is none. */
  get meshId(): string {
    return this.#meshId;
  }

  /** Takes in what was committed, and wakes those it concerns. */
  committed(changes: readonly Change[]): void {
    // What was not read in yet will be, as it is then.
    if (this.#loaded === undefined) return;
    for (const change of changes) this.#take(change);
    this.#wakeTouched();
  }

  /** Begins to read for a node. */
  add(reader: NetworkReader): void {
    entry(this.#readers, reader.nodeId, () => new Set<NetworkReader>()).add(reader);
  }

  /** Ends reading altogether. */
  remove(reader: NetworkReader, networkIds: Iterable<string>): void {
    const readers = this.#readers.get(reader.nodeId);
    readers?.delete(reader);
    if (readers?.size === 0) this.#readers.delete(reader.nodeId);
    for (const id of networkIds) this.unsubscribe(reader, id);
  }

  /** The reader is told of changes in a network from now on. */
  subscribe(reader: NetworkReader, networkId: string): void {
    this.#page(networkId).readers.add(reader);
  }

  unsubscribe(reader: NetworkReader, networkId: string): void {
    this.#pages.get(networkId)?.readers.delete(reader);
    this.#tidy(networkId);
  }

  /** Networks the node takes part in, and the mesh's, as far as they have addresses. */
  networksOf(nodeId: string): ReadonlySet<string> {
    const ids = new Set<string>();
    for (const id of this.#places.networksOf(nodeId)) if (this.#networks.has(id)) ids.add(id);
    if (this.#meshId !== "") ids.add(this.#meshId);
    return ids;
  }

  /** Changes of a network. */
  logOf(networkId: string): NetworkLog {
    return this.#page(networkId).log;
  }

  /** Changes of any peers. */
  get peerLog(): NetworkLog {
    return this.#peerLog;
  }

  network(id: string): Network | undefined {
    return this.#networks.get(id);
  }

  peer(id: string): NetworkPeer | undefined {
    return this.#peers.get(id);
  }

  /** A peer, if a node that is told of these networks needs it. */
  peerFor(nodeId: string, id: string, networks: NetworkIds): NetworkPeer | undefined {
    const isNeeded = this.#places.needs(nodeId, id, { networks, meshId: this.#meshId });
    return isNeeded ? this.#peers.get(id) : undefined;
  }

  /** Whether the node needs all others: it carries tasks with published ports. */
  needsEveryone(nodeId: string): boolean {
    return this.#places.has(nodeId, this.#meshId);
  }

  peerIds(): Iterable<string> {
    return this.#peers.keys();
  }

  /** A service, if it is in one of these networks. */
  serviceIn(id: string, networks: NetworkIds): NetworkService | undefined {
    const found = this.#services.get(id);
    if (found === undefined) return undefined;
    for (const networkId of found.networks) if (networks.has(networkId)) return found.service;
    return undefined;
  }

  /** An endpoint, if it is in one of these networks. */
  endpointIn(id: string, networks: NetworkIds): NetworkEndpoint | undefined {
    const found = this.#endpoints.get(id);
    return found?.networks.some(({ networkId }) => networks.has(networkId)) ? found : undefined;
  }

  /** Ids of the services of a network. */
  servicesOf(networkId: string): Iterable<string> {
    return this.#pages.get(networkId)?.services ?? [];
  }

  /** Ids of the nodes with endpoints in a network. */
  nodesOf(networkId: string): Iterable<string> {
    return this.#places.nodesOf(networkId);
  }

  /** Ids of the endpoints of a network. */
  endpointsOf(networkId: string): Iterable<string> {
    return this.#pages.get(networkId)?.endpoints ?? [];
  }

  async #load(): Promise<void> {
    const view = this.#source.view();
    for (const { id } of view.each("node")) this.#setNode(id);
    for (const { id } of view.each("network")) this.#setNetwork(id);
    for (const { id } of view.each("service")) this.#setService(id);
    let seen = 0;
    for (const id of this.#source.taskIds()) {
      this.#setTask(id);
      if (++seen % networkIndexPerSlice !== 0) continue;
      this.#wakeTouched();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.#wakeTouched();
  }

  #take(change: Change): void {
    switch (change.table) {
      case "node":
        this.#setNode(change.object.id);
        return;
      case "network":
        this.#setNetwork(change.object.id);
        return;
      case "service":
        this.#setService(change.object.id);
        return;
      case "task":
        if (change.object.networks.length > 0 || (change.old?.networks.length ?? 0) > 0)
          this.#setTask(change.object.id);
    }
  }

  #setNode(id: string): void {
    const node = this.#source.view().get("node", id);
    const peer = node && peerOf(node);
    if (isSame(NetworkPeer, this.#peers.get(id), peer)) return;
    put(this.#peers, id, peer);
    this.#touchNode(id);
    const noted = { kind: "peer", id } as const;
    this.#peerLog.push(noted);
    for (const networkId of this.#places.networksOf(id)) {
      this.#page(networkId).log.push(noted);
      this.#settling.add(networkId);
    }
    this.#settle();
  }

  /** Nodes often change together, and others are told of them together: for they matter to many. */
  #settle(): void {
    const needs = this.#places.nodesOf(this.#meshId)[Symbol.iterator]().next().done !== true;
    if (this.#isSettling || (this.#settling.size === 0 && !needs)) return;
    this.#isSettling = true;
    this.#source.soon(() => {
      this.#isSettling = false;
      for (const id of this.#settling)
        for (const reader of this.#pages.get(id)?.readers ?? []) this.#touched.add(reader);
      for (const nodeId of this.#places.nodesOf(this.#meshId)) this.#touchNode(nodeId);
      this.#settling.clear();
      this.#wakeTouched();
    });
  }

  #setNetwork(id: string): void {
    const network = this.#source.view().get("network", id);
    const told = network !== undefined && isTold(network) ? network : undefined;
    const before = this.#networks.get(id);
    if (before === told || (before?.meta?.version === told?.meta?.version && told !== undefined))
      return;
    put(this.#networks, id, told);
    const isMesh = told?.spec?.ingress === true;
    if (isMesh) this.#meshId = id;
    else if (this.#meshId === id) this.#meshId = "";
    this.#note([id], { kind: "network", id });
    // Nodes begin or cease to take part in it.
    for (const readers of this.#readers.values())
      for (const reader of readers) {
        const takesPart = this.#places.has(reader.nodeId, id);
        if (isMesh || before?.spec?.ingress === true || takesPart) this.#touched.add(reader);
      }
    this.#tidy(id);
  }

  #setService(id: string): void {
    const stored = this.#source.view().get("service", id);
    const service = stored && networkServiceOf(stored);
    const networks = stored === undefined ? none : networksOfService(stored);
    const before = this.#services.get(id);
    const isWhere = sameSet(before?.networks ?? none, networks);
    if (isWhere && isSame(NetworkService, before?.service, service)) return;
    put(this.#services, id, service && { service, networks });
    for (const networkId of before?.networks ?? []) this.#pages.get(networkId)?.services.delete(id);
    for (const networkId of networks) this.#page(networkId).services.add(id);
    this.#note([...(before?.networks ?? []), ...networks], { kind: "service", id });
    for (const networkId of before?.networks ?? []) this.#tidy(networkId);
  }

  #setTask(id: string): void {
    const task = this.#source.view().get("task", id);
    const endpoint = task !== undefined && hasPlace(task) ? endpointOf(task) : undefined;
    const before = this.#endpoints.get(id);
    if (isSame(NetworkEndpoint, before, endpoint)) return;
    put(this.#endpoints, id, endpoint);
    if (before !== undefined) this.#leave(before);
    if (endpoint !== undefined) this.#enter(endpoint);
    const networks = [...networksIn(before), ...networksIn(endpoint)];
    this.#note(networks, { kind: "endpoint", id });
    for (const networkId of networksIn(before)) this.#tidy(networkId);
  }

  #enter(endpoint: NetworkEndpoint): void {
    for (const networkId of networksIn(endpoint)) {
      this.#page(networkId).endpoints.add(endpoint.id);
      if (this.#places.enter(endpoint.nodeId, networkId)) this.#moved(endpoint.nodeId, networkId);
    }
  }

  #leave(endpoint: NetworkEndpoint): void {
    for (const networkId of networksIn(endpoint)) {
      this.#pages.get(networkId)?.endpoints.delete(endpoint.id);
      if (this.#places.leave(endpoint.nodeId, networkId)) this.#moved(endpoint.nodeId, networkId);
    }
  }

  /** A node begins or ceases to take part in a network; those in it are told with what it has there. */
  #moved(nodeId: string, networkId: string): void {
    this.#touchNode(nodeId);
    this.#note([networkId], { kind: "peer", id: nodeId });
  }

  #note(networkIds: readonly string[], noted: NetworkEntry): void {
    for (const id of new Set(networkIds)) {
      const page = this.#page(id);
      page.log.push(noted);
      for (const reader of page.readers) this.#touched.add(reader);
    }
  }

  #touchNode(nodeId: string): void {
    for (const reader of this.#readers.get(nodeId) ?? []) this.#touched.add(reader);
  }

  #wakeTouched(): void {
    for (const reader of this.#touched) reader.wake();
    this.#touched.clear();
  }

  #page(networkId: string): Page {
    return entry(this.#pages, networkId, () => ({
      log: new NetworkLog(),
      services: new Set<string>(),
      endpoints: new Set<string>(),
      readers: new Set<NetworkReader>(),
    }));
  }

  /** Forgets a network that has nothing and that nobody reads. */
  #tidy(networkId: string): void {
    const page = this.#pages.get(networkId);
    if (page === undefined || this.#networks.has(networkId)) return;
    const { services, endpoints, readers } = page;
    if (services.size + endpoints.size + readers.size === 0) this.#pages.delete(networkId);
  }
}

const none: ReadonlySet<string> = new Set();

function networksIn(endpoint: NetworkEndpoint | undefined): readonly string[] {
  return (endpoint?.networks ?? []).map(({ networkId }) => networkId);
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  if (a.size !== b.size) return false;
  for (const one of a) if (!b.has(one)) return false;
  return true;
}

function put<T>(map: Map<string, T>, id: string, value: T | undefined): void {
  if (value === undefined) map.delete(id);
  else map.set(id, value);
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
