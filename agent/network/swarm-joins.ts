/**
 * How containers get into networks of the swarm: what a task has there comes with the state of the cluster, for one that is
 * run by hand a manager is asked.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import type { SwarmAttachments } from "../../src/common/container/attachments.ts";
import type { Container, NetworkJoin } from "../../src/common/container/types.ts";
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import { networkLookMs, networkWaitMs } from "../../src/common/limits/network.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { LocalNetworks } from "./local/local-networks.ts";
import { findNetwork, type SwarmJoin } from "./places.ts";
import type { NetworkState } from "./state.ts";

/** What it is made with. */
export interface SwarmJoinsOptions {
  readonly local: Pick<LocalNetworks, "swarmJoinsOf">;
  readonly cluster: Pick<NetworkState, "current" | "listen">;
  readonly attachments: SwarmAttachments;
  readonly clock: Clock;
  readonly log: Log;
}

/** The networks of the swarm for one node's containers. */
export class SwarmJoins {
  readonly #o: SwarmJoinsOptions;

  constructor(options: SwarmJoinsOptions) {
    this.#o = options;
  }

  /** What a container has of networks of the swarm. @throws ClusterError not-found, and what a manager refuses. */
  async of(container: Container, signal: AbortSignal): Promise<readonly SwarmJoin[]> {
    const { local, attachments } = this.#o;
    const joins = local.swarmJoinsOf(container);
    if (container.config.task !== undefined) return this.#taskJoins(joins, signal);
    const found: SwarmJoin[] = [];
    const endpointIds: string[] = [];
    for (const join of joins) {
      const { id: containerId, name } = container;
      const { network, attachment, taskId } = await attachments
        .attach({ ...join, containerId, name }, signal)
        .catch((error: unknown) => {
          throw isNoMember(error) ? notFound(join.network) : error;
        });
      found.push({ join: { ...join, addresses: attachment.addresses }, network });
      endpointIds.push(taskId);
    }
    await this.#told(endpointIds, signal);
    return found;
  }

  /**
   * What else there is in the networks comes by the session, a moment after the answer and together with the container's own
   * endpoints: until then names lead nowhere. A node that its managers do not reach starts the container all the same.
   */
  async #told(endpointIds: readonly string[], signal: AbortSignal): Promise<void> {
    const { cluster, clock } = this.#o;
    const end = clock.monotonic() + networkWaitMs;
    const isTold = () => endpointIds.every((id) => cluster.current().endpoints.has(id));
    while (!isTold() && clock.monotonic() < end)
      await this.#clusterChange(Math.min(networkLookMs, end - clock.monotonic()), signal);
  }

  /** The networks of a task come with its assignment, or a moment later. */
  async #taskJoins(
    joins: readonly NetworkJoin[],
    signal: AbortSignal,
  ): Promise<readonly SwarmJoin[]> {
    const { cluster, clock } = this.#o;
    const end = clock.monotonic() + networkWaitMs;
    for (;;) {
      const found = joins.flatMap((join) => {
        const network = findNetwork(join.network, cluster.current());
        return network === undefined ? [] : [{ join, network }];
      });
      if (found.length === joins.length) return found;
      const missing = joins.find((join) => !found.some((one) => one.join === join));
      if (clock.monotonic() >= end) throw notFound(missing?.network ?? "");
      await this.#clusterChange(Math.min(networkLookMs, end - clock.monotonic()), signal);
    }
  }

  async #clusterChange(ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const stop = this.#o.cluster.listen(() => over.abort());
    await this.#o.clock.sleep(ms, AbortSignal.any([signal, over.signal])).catch(() => {
      // It changed, or nobody waits any more: the latter is thrown below.
    });
    stop();
    signal.throwIfAborted();
  }

  /** Its places are the cluster's again; asked until a manager answers, or the container is back. */
  async leave(
    containerId: string,
    networkId: string,
    o: { readonly isBack: () => boolean; readonly signal: AbortSignal },
  ): Promise<void> {
    const { attachments, clock, log } = this.#o;
    while (!o.signal.aborted && !o.isBack()) {
      try {
        await attachments.detach(containerId, networkId, o.signal);
        return;
      } catch (error) {
        log.debug("places in networks not given back", {
          "container.id": containerId,
          err: errorText(error),
        });
      }
      await clock.sleep(networkLookMs, o.signal).catch(() => {
        // Stopped: the loop's condition ends it.
      });
    }
  }
}

function notFound(network: string): ClusterError {
  return new ClusterError("not-found", `network ${network} not found`);
}

/** In no swarm there are no networks of it. */
function isNoMember(error: unknown): boolean {
  return hasCode(error, "unavailable") && errorText(error).includes("not connected to a swarm");
}
