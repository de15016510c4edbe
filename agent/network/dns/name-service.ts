/**
 * The name server of a node as its data path deals with it: who may ask, what containers of the node are called, and when
 * there is a namespace to listen in.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { Random } from "../../../src/common/random/random.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { LocalEndpoint as LocalPlace } from "../local/local-networks.ts";
import { within } from "../namespace.ts";
import { findNetwork } from "../places.ts";
import type { Sandbox } from "../plan.ts";
import { gateway } from "../pools.ts";
import type { StateChange } from "../state-change.ts";
import { indexOf, type LocalEndpoint, type NameIndex } from "./name-index.ts";
import { resolverAt } from "./resolvers.ts";
import { type Caller, NameServer } from "./server.ts";

/** What it is made with. */
export interface NameServiceOptions {
  readonly cluster: {
    current(): ClusterState;
    listen(listener: (state: ClusterState, change: StateChange) => void): () => void;
  };
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** A container with a namespace of its own. */
export interface NamedContainer {
  readonly container: Container;
  readonly sandbox: Sandbox;
}

/** All gateways of containers are in one namespace; the server listens on each, as internal networks reach no other. */
const listenAddress = "0.0.0.0";
/** Where containers reach it: nothing else listens on that port in the namespace. */
export const nameServerPlace = { address: gateway.address, port: 53 } as const;
/** Of the host, whose network questions to the world leave from. */
const resolversPath = "/etc/resolv.conf";

/** One per node. */
export class NameService {
  readonly #o: NameServiceOptions;
  readonly #index: NameIndex;
  #callers: ReadonlyMap<string, Caller> = new Map();
  #serving: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;

  constructor(options: NameServiceOptions) {
    this.#o = options;
    this.#index = indexOf(options.cluster);
  }

  /** Listens in a namespace from now on, unless it does already. @param file Keeps the namespace. */
  serve(file: string): void {
    if (this.#serving !== undefined) return;
    const stop = new AbortController();
    const server = new NameServer({
      ...this.#o,
      index: this.#index,
      callerOf: (address) => this.#callers.get(address),
      within: (work) => within(file, work),
      address: listenAddress,
      port: nameServerPlace.port,
      resolversPath,
    });
    this.#serving = { stop, done: server.run(stop.signal) };
  }

  /** Listens no more. */
  async stop(): Promise<void> {
    const serving = this.#serving;
    this.#serving = undefined;
    serving?.stop.abort();
    await serving?.done;
  }

  /** Takes all containers there are, with their places in networks of the node. */
  setContainers(containers: readonly NamedContainer[], places: readonly LocalPlace[]): void {
    const cluster = this.#o.cluster.current();
    const callers = new Map<string, Caller>();
    for (const one of containers) {
      const caller = callerOf(one, places, cluster);
      for (const address of addressesOf(one.sandbox)) callers.set(address, caller);
    }
    this.#callers = callers;
    this.#index.setLocal(localEndpoints(containers, places));
  }
}

/** Whether a container asks the name server: all but those that are in the default bridge alone, as with Docker. */
export function usesNameServer(sandbox: Sandbox, places: readonly LocalPlace[]): boolean {
  const isIn = ({ containerId, network }: LocalPlace) =>
    containerId === sandbox.id && isNamed(network) && network.driver === "bridge";
  return sandbox.gateway !== undefined || places.some(isIn);
}

function callerOf(
  { container, sandbox }: NamedContainer,
  places: readonly LocalPlace[],
  cluster: ClusterState,
): Caller {
  const local = places
    .filter(({ containerId, network }) => containerId === sandbox.id && isNamed(network))
    .map(({ network }) => network.id);
  const overlays = sandbox.overlays.map(
    ({ networkId }) => findNetwork(networkId, cluster)?.id ?? networkId,
  );
  return {
    containerId: sandbox.id,
    networks: [...overlays, ...local],
    resolvers: container.config.dns.flatMap(resolverAt),
  };
}

/** Those its questions come from. */
function addressesOf({ gateway: place, bridges }: Sandbox): string[] {
  const own = bridges.flatMap(({ addresses }) => addresses.map(({ address }) => address));
  return place === undefined ? own : [place.address, ...own];
}

function localEndpoints(
  containers: readonly NamedContainer[],
  places: readonly LocalPlace[],
): LocalEndpoint[] {
  const byId = new Map(containers.map(({ container }) => [container.id, container]));
  return places.flatMap(({ containerId, network, place }): LocalEndpoint[] => {
    const container = byId.get(containerId);
    if (container === undefined || !isNamed(network)) return [];
    const { name, id } = container;
    return [
      {
        networkId: network.id,
        networkName: network.name,
        names: [name, id.slice(0, 12), ...place.aliases],
        addresses: [place.address, place.address6].filter((address) => address !== ""),
      },
    ];
  });
}

/** As with Docker, containers have no names in the default bridge. */
function isNamed({ predefined }: LocalPlace["network"]): boolean {
  return !predefined;
}
