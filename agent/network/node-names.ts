/**
 * The name server of one node's containers: runs while the namespace `swarm` is there, and knows who asks from which address.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import type { LocalNetwork } from "../../src/common/container/networks.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { asksNames } from "./asks-names.ts";
import { indexOf, type LocalEndpoint, type NameIndex } from "./dns/name-index.ts";
import { resolverAt } from "./dns/resolvers.ts";
import { type Caller, NameServer } from "./dns/server.ts";
import { canEnter, within } from "./namespace.ts";
import type { NameServerPlace } from "./node-rules.ts";
import { gateway } from "./pools.ts";
import type { ParentPlace, Sandbox } from "./sandbox.ts";

/** Where containers ask. */
export const containerNameServer = "127.0.0.11";
const port = 53;

/** What it is made with. */
export interface NodeNamesOptions {
  readonly source: Parameters<typeof indexOf>[0];
  readonly swarmFile: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The names of one node. */
export class NodeNames {
  readonly #o: NodeNamesOptions;
  readonly #index: NameIndex;
  #callers = new Map<string, Caller>();
  #sandboxes: readonly Sandbox[] = [];
  #running: { readonly stop: AbortController; readonly ended: Promise<void> } | undefined;

  constructor(options: NodeNamesOptions) {
    this.#o = options;
    this.#index = indexOf(options.source);
  }

  /** Where the rules of containers lead questions; undefined where namespaces cannot be entered. */
  get place(): NameServerPlace | undefined {
    return canEnter() ? { address: gateway.address, port } : undefined;
  }

  /** Takes the containers there are. */
  setContainers(sandboxes: readonly Sandbox[], networks: readonly LocalNetwork[]): void {
    const isSame =
      sandboxes.length === this.#sandboxes.length &&
      sandboxes.every((sandbox, position) => sandbox === this.#sandboxes[position]);
    if (isSame) return;
    this.#sandboxes = sandboxes;
    this.#callers = new Map(sandboxes.flatMap(callersOf));
    const names = new Map(networks.map(({ id, name }) => [id, name]));
    this.#index.setLocal(sandboxes.flatMap((sandbox) => localEndpoints(sandbox, names)));
  }

  /** Opens the sockets, once the gateway is there. */
  start(): void {
    if (this.#running !== undefined || this.place === undefined) return;
    const { swarmFile } = this.#o;
    const server = new NameServer({
      ...this.#o,
      index: this.#index,
      callerOf: (address) => this.#callers.get(address),
      within: (work) => within(swarmFile, work),
      ...this.place,
      resolversPath: "/etc/resolv.conf",
    });
    const stop = new AbortController();
    this.#running = { stop, ended: server.run(stop.signal) };
  }

  /** Closes them: the namespace is gone, or about to go. */
  async stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    running?.stop.abort();
    await running?.ended;
  }
}

function callersOf(sandbox: Sandbox): [string, Caller][] {
  if (!asksNames(sandbox)) return [];
  const { id, overlays, gateway: place } = sandbox;
  const caller: Caller = {
    containerId: id,
    networks: [
      ...overlays.map(({ networkId }) => networkId),
      ...namedPlaces(sandbox).map(({ networkId }) => networkId),
    ],
    resolvers: sandbox.resolvers.flatMap(resolverAt),
  };
  const addresses = [
    ...(place === undefined ? [] : [place.address]),
    ...sandbox.bridges.flatMap(({ addresses: own }) => own.map(({ address }) => address)),
  ];
  return addresses.map((address) => [address, caller]);
}

function localEndpoints(
  sandbox: Sandbox,
  networkNames: ReadonlyMap<string, string>,
): LocalEndpoint[] {
  const { id, name } = sandbox;
  return namedPlaces(sandbox).map(({ networkId, aliases, addresses }) => ({
    networkId,
    networkName: networkNames.get(networkId) ?? "",
    names: [name, ...aliases, id.slice(0, 12)],
    addresses: addresses.map(({ address }) => address),
  }));
}

/** A container's places in networks of the node that have names. */
function namedPlaces({
  bridges,
  parents,
}: Sandbox): Required<Pick<ParentPlace, "networkId" | "aliases" | "addresses">>[] {
  return [
    ...bridges.filter(({ named }) => named),
    ...(parents ?? []).flatMap(({ networkId, aliases = [], addresses }) =>
      networkId === undefined ? [] : [{ networkId, aliases, addresses }],
    ),
  ];
}
