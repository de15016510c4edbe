/**
 * The rules of one node: from the cluster's state and the containers here to the tables of `nft/`, in the node's own
 * network, in the namespace `swarm` and in those of containers.
 */
import type { PortBinding } from "../../src/common/container/types.ts";
import type { Log } from "../../src/common/log/log.ts";
import { asksNames } from "./asks-names.ts";
import type { ClusterState } from "./cluster-state.ts";
import { ConnectHooks, type ConnectLook } from "./connect/connect-hooks.ts";
import type { SpacePlace } from "./connect/plan.ts";
import { hostSpace, swarmSpace } from "./model.ts";
import { swarmDevices, uplinkDevice } from "./names.ts";
import { type Drift, RulesApplier } from "./nft/applier.ts";
import { ForwardKeeper } from "./nft/forward-keeper.ts";
import {
  indexState,
  meshPorts,
  meshPrefixes,
  peerAddresses,
  peerNumbers,
  publishedPorts,
  type StateIndex,
} from "./nft/from-state.ts";
import { guardTable, type HostBinding, portTable } from "./nft/host-tables.ts";
import type { KernelThread, Nftables } from "./nft/library.ts";
import { type MeshRules, meshTable, returnTable } from "./nft/mesh-table.ts";
import { PortWatch } from "./nft/port-watch.ts";
import type { SlotsByAddress } from "./nft/slots.ts";
import type { Table } from "./nft/table.ts";
import type { TaskTable } from "./nft/task-table.ts";
import { TaskTables } from "./nft/task-tables.ts";
import { hasMesh, hasMeshLink, type LocalBridge, type PlanInput, portsOf } from "./plan.ts";
import { Relays } from "./relay/relays.ts";
import { wantedRelays } from "./relay/wanted.ts";
import type { Sandbox } from "./sandbox.ts";

/** Where the name server of containers listens in the namespace `swarm`. */
export interface NameServerPlace {
  readonly address: string;
  readonly port: number;
}

/** What the rules are made from beside the plan's input. */
export interface RulesInput extends PlanInput {
  /** Ports of the host by container. */
  readonly ports: ReadonlyMap<string, readonly PortBinding[]>;
  /** Bridges among `bridges` that lead nowhere else. */
  readonly internalBridges: ReadonlySet<string>;
  /** Subnets of containers whose own addresses the outside sees. */
  readonly untranslated: readonly string[];
  readonly dns: NameServerPlace | undefined;
}

/** How the names of all tables of a daemon in the node's own network begin. */
export function ownTables(instance: string): string {
  return `skep_${instance}_`;
}

/** A table and the key of the namespace it is in; see `Plan`. */
export interface WantedTable {
  readonly space: string;
  readonly table: Table;
  /** Where service addresses lead from there, of those that programs may lead. */
  readonly slots?: SlotsByAddress;
}

/** Name of the table of the routing mesh in the namespace `swarm`. */
export const meshTableName = "skep_mesh";

/** Names of the tables; those of the node's own network carry the instance. */
const tables = {
  guard: (instance: string) => ({ family: "inet", name: `${ownTables(instance)}guard` }) as const,
  ports: (instance: string) => ({ family: "inet", name: `${ownTables(instance)}ports` }) as const,
  mesh: { family: "inet", name: meshTableName } as const,
  return: { family: "netdev", name: "skep_return" } as const,
  gateway: { family: "inet", name: "skep_gateway" } as const,
};

/** Those of a daemon, with all that they need of the machine. */
export function newNodeRules(o: {
  readonly instance: string;
  /** File of the node's own network; the daemon's when undefined. */
  readonly host: string | undefined;
  readonly log: Log;
  /** Closed with the rules. */
  readonly nftables: Nftables & Pick<KernelThread, "hooks">;
  readonly swarmFile: string;
  readonly fileOf: (id: string) => string;
  /** Whether programs lead connections to service addresses, where the kernel can. */
  readonly shortcuts: boolean;
}): NodeRules {
  const { instance, log, nftables } = o;
  return new NodeRules({
    ...o,
    applier: new RulesApplier({ nftables, log }),
    hooks: new ConnectHooks({ thread: nftables, isWanted: o.shortcuts, log }),
    forward: new ForwardKeeper({
      nftables,
      log,
      device: uplinkDevice(instance),
      ownPrefix: ownTables(instance),
      ...(o.host === undefined ? {} : { namespace: o.host }),
    }),
    portWatch: new PortWatch({ log }),
    relays: new Relays(log),
  });
}

/** Keeps the tables of one daemon. */
export class NodeRules {
  readonly #applier: RulesApplier;
  readonly #hooks: ConnectHooks;
  readonly #forward: ForwardKeeper;
  readonly #portWatch: PortWatch;
  readonly #relays: Relays;
  readonly #host: string | undefined;
  readonly #taskTables = new TaskTables();
  readonly #swarmFile: string;
  readonly #fileOf: (id: string) => string;
  #index: StateIndex | undefined;

  constructor(o: {
    readonly applier: RulesApplier;
    readonly hooks: ConnectHooks;
    readonly forward: ForwardKeeper;
    readonly portWatch: PortWatch;
    readonly relays: Relays;
    readonly host: string | undefined;
    readonly swarmFile: string;
    readonly fileOf: (id: string) => string;
  }) {
    this.#applier = o.applier;
    this.#hooks = o.hooks;
    this.#forward = o.forward;
    this.#portWatch = o.portWatch;
    this.#relays = o.relays;
    this.#host = o.host;
    this.#swarmFile = o.swarmFile;
    this.#fileOf = o.fileOf;
  }

  /** The filter of the node's own network: before the first VXLAN device. @throws ClusterError the kernel's refusal. */
  async guard(input: RulesInput): Promise<void> {
    await this.#applier.apply(this.#host, this.#guardTable(input));
  }

  /**
   * All other tables, those of containers included.
   *
   * @returns What was refused, by container; undefined for what all share.
   */
  async apply(input: RulesInput): Promise<Map<string | undefined, unknown>> {
    const refused = new Map<string | undefined, unknown>();
    const keep = (owner: string | undefined, work: Promise<void>) =>
      work.catch((error: unknown) => {
        refused.set(owner, error);
      });
    const index = this.#indexOf(input.cluster);
    const works = [keep(undefined, this.#applyPorts(input, index))];
    const ofSwarm = this.#swarmTables(input, index);
    for (const table of ofSwarm) {
      works.push(keep(undefined, this.#applier.apply(this.#swarmFile, table)));
    }
    if (!ofSwarm.some(({ name }) => name === tables.return.name)) {
      works.push(keep(undefined, this.#applier.remove(this.#swarmFile, tables.return)));
    }
    const places: SpacePlace[] = [];
    for (const sandbox of input.sandboxes) {
      if (sandbox.overlays.length === 0 && !asksNames(sandbox)) continue;
      const [table, file] = [this.#taskTable(sandbox, input, index), this.#fileOf(sandbox.id)];
      works.push(keep(sandbox.id, this.#applier.apply(file, table)));
      if (table.slots.size > 0) places.push({ file, table: tableKey(sandbox), slots: table.slots });
    }
    works.push(this.#hooks.apply(places));
    this.#taskTables.prune(index);
    await Promise.all(works);
    await this.#portWatch.look(input.cluster, false);
    return refused;
  }

  /** Compares everything with the kernel and repairs it; looks for what others of this node have put in the way. */
  async check(input: RulesInput): Promise<readonly Drift[]> {
    await this.#forward.ensure();
    await this.#portWatch.look(input.cluster, true);
    const [tables, programs] = await Promise.all([this.#applier.check(), this.#hooks.check()]);
    if (programs === undefined) return tables;
    return [...tables, { namespace: undefined, table: "programs at connect", found: programs }];
  }

  /** What the programs at `connect` know; undefined while rules lead every connection. @throws Error when it cannot be read. */
  connects(): Promise<ConnectLook | undefined> {
    return this.#hooks.look();
  }

  /** Every table there should be, of containers those of these; changes nothing. */
  wanted(input: RulesInput, containers: ReadonlySet<string>): WantedTable[] {
    const { cluster } = input;
    const index = this.#index?.state === cluster ? this.#index : indexState(cluster);
    const taskTables = new TaskTables();
    const found: WantedTable[] = [
      { space: hostSpace, table: this.#guardTable(input) },
      { space: hostSpace, table: this.#portTable(input, index).table },
    ];
    for (const table of this.#swarmTables(input, index)) found.push({ space: swarmSpace, table });
    for (const sandbox of input.sandboxes) {
      if (!containers.has(sandbox.id)) continue;
      if (sandbox.overlays.length === 0 && !asksNames(sandbox)) continue;
      const table = taskTables.tableFor(index, taskPlace(sandbox, input));
      found.push({ space: sandbox.id, table, slots: table.slots });
    }
    return found;
  }

  /** What `nft -j` says to commands; a failure is an answer. */
  read: RulesApplier["read"] = (jobs) => this.#applier.read(jobs);

  /** What of others keeps forwarded packets from containers, as sentences with the remedy; changes nothing. */
  barriers(): Promise<readonly string[]> {
    return this.#forward.look();
  }

  /** The namespace of a container is gone, or was made anew. */
  forget(id: string): void {
    this.#hooks.forget(this.#fileOf(id));
    this.#applier.forget(this.#fileOf(id));
  }

  /** The namespace `swarm` is gone, or was made anew. */
  forgetSwarm(): void {
    this.#applier.forget(this.#swarmFile);
  }

  /** Removes the tables of the node's own network. */
  async remove(instance: string): Promise<void> {
    this.forgetSwarm();
    this.#hooks.close();
    await this.#forward.remove();
    await this.#applier.remove(this.#host, tables.ports(instance));
    await this.#applier.remove(this.#host, tables.guard(instance));
  }

  /** No port leads anywhere. */
  closePorts(): Promise<void> {
    return this.#relays.close();
  }

  async close(): Promise<void> {
    await this.closePorts();
    this.#hooks.close();
    await this.#applier.close();
  }

  #indexOf(state: ClusterState): StateIndex {
    if (this.#index?.state !== state) this.#index = indexState(state);
    return this.#index;
  }

  #guardTable({ instance, cluster, secure }: RulesInput): Table {
    return guardTable({
      name: tables.guard(instance).name,
      uplink: uplinkDevice(instance),
      wireguard: secure?.device,
      ports: portsOf(cluster),
      peers: peerAddresses(cluster),
    });
  }

  async #applyPorts(input: RulesInput, index: StateIndex): Promise<void> {
    const { published, bindings, table } = this.#portTable(input, index);
    await this.#applier.apply(this.#host, table);
    // Sockets are the daemon's own network's.
    if (this.#host !== undefined || !input.ipv6) return;
    await this.#relays.set(wantedRelays(bindings, published));
  }

  #portTable(input: RulesInput, index: StateIndex) {
    const { instance, uplink } = input;
    const published = hasMesh(input.cluster) ? publishedPorts(index) : [];
    const bindings = input.sandboxes.flatMap((sandbox) =>
      bindingsOf(sandbox, input.ports.get(sandbox.id) ?? []),
    );
    const table = portTable({
      name: tables.ports(instance).name,
      uplink: uplinkDevice(instance),
      entrance: { address: uplink.swarm, address6: uplink.swarm6 },
      published,
      bindings,
      untranslated: input.untranslated,
    });
    return { published, bindings, table };
  }

  #swarmTables(input: RulesInput, index: StateIndex): Table[] {
    const rules = meshRules(input, index);
    const previous = this.#applier.applied(this.#swarmFile, tables.mesh);
    const back = returnTable(rules);
    return [meshTable(rules, previous), gatewayTable(), ...(back === undefined ? [] : [back])];
  }

  #taskTable(sandbox: Sandbox, input: RulesInput, index: StateIndex): TaskTable {
    return this.#taskTables.tableFor(index, taskPlace(sandbox, input));
  }
}

/** The same for those whose service addresses lead to the same backends. */
function tableKey({ overlays }: Sandbox): string {
  return [...new Set(overlays.map(({ networkId }) => networkId))].sort().join(" ");
}

function taskPlace(sandbox: Sandbox, input: RulesInput) {
  return {
    networkIds: sandbox.overlays.map(({ networkId }) => networkId),
    dns: asksNames(sandbox) ? input.dns : undefined,
  };
}

function meshRules(input: RulesInput, index: StateIndex): MeshRules {
  const { cluster, uplink, bridges, sandboxes, internalBridges, dns } = input;
  const isMesh = hasMeshLink(input);
  return {
    names: { mesh: tables.mesh.name, return: tables.return.name },
    devices: {
      uplink: swarmDevices.uplink,
      gateway: swarmDevices.gateway,
      mesh: isMesh ? swarmDevices.mesh : undefined,
      bridges: bridges.map(({ device }: LocalBridge) => ({
        device,
        internal: internalBridges.has(device),
      })),
    },
    entrance: { address: uplink.swarm, address6: uplink.swarm6 },
    peers: isMesh ? peerNumbers(cluster) : [],
    ports: hasMesh(cluster) ? meshPorts(index) : [],
    inner: meshPrefixes(cluster),
    outward: sandboxes.flatMap(({ gateway: place }) =>
      place?.outward === true ? [place.address, place.address6] : [],
    ),
    dns,
  };
}

/**
 * What containers in overlay networks send to the outside has the link's address in the node's network: there may be several
 * daemons, each with the same addresses for them.
 */
function gatewayTable(): Table {
  const { uplink, gateway: device } = swarmDevices;
  return {
    ...tables.gateway,
    sets: new Map(),
    chains: new Map([
      [
        "c_post",
        {
          hook: "type nat hook postrouting priority srcnat + 1; policy accept;",
          rules: [`iifname "${device}" oifname "${uplink}" masquerade`],
        },
      ],
    ]),
  };
}

/** Ports of the host that lead to a container: to its address towards the gateway, else in the first bridge network. */
export function bindingsOf(sandbox: Sandbox, ports: readonly PortBinding[]): HostBinding[] {
  const place = sandbox.gateway;
  const addresses =
    place === undefined || place.namesOnly === true
      ? (sandbox.bridges.find(({ addresses: list }) => list.length > 0)?.addresses ?? []).map(
          ({ address }) => address,
        )
      : [place.address, place.address6];
  return ports.map(({ protocol, hostAddress, hostPort, containerPort }) => ({
    protocol,
    hostAddress,
    hostPort,
    addresses,
    containerPort,
  }));
}
