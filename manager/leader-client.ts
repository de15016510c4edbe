/**
 * Calls from this manager to the leader: one cached connection, replaced when the leader changes.
 */
import type { MethodDescriptor } from "../src/common/api/generated/api.ts";
import { LightSignal } from "../src/common/clock/light-signal.ts";
import { ClusterError, hasCode } from "../src/common/errors/cluster-error.ts";
import { maySafelyRetry, noLeader } from "../src/common/errors/no-leader.ts";
import type { TlsMaterial } from "../src/common/identity/types.ts";
import { apiRequestTimeoutMs } from "../src/common/limits/limits.ts";
import { dial, type RpcClient } from "../src/common/rpc/client.ts";
import { RelayClient } from "./relay-client.ts";

/** Who leads, as the Raft host tells. */
export interface LeaderAddress {
  readonly nodeId: string;
  readonly address: string;
}

/** Why a call was given up; made once, as errors are dear. */
const otherLeader = new ClusterError("cancelled", "another manager leads by now");

interface Connection {
  readonly to: LeaderAddress;
  readonly rpc: RpcClient;
  readonly relay: RelayClient;
}

/** The connection to whoever leads. */
export class LeaderClient {
  readonly #leader: () => LeaderAddress | undefined;
  #tls: TlsMaterial;
  #client: Connection | undefined;
  /** Calls under way, each with the means to give it up. */
  readonly #calls = new Set<{ readonly to: LeaderAddress; readonly stop: LightSignal }>();

  /** @param leader The leader now; undefined while there is none, or while it is this manager itself. */
  constructor(leader: () => LeaderAddress | undefined, tls: TlsMaterial) {
    this.#leader = leader;
    this.#tls = tls;
  }

  /**
   * Passes a call on.
   *
   * @throws ClusterError unavailable without a leader; unavailable with the field `leaderChanged` when leadership went
   *   elsewhere before the answer came, so that it may or may not have been carried out; else what the leader answered.
   */
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal?: AbortSignal): Promise<R> {
    return this.#passOn(signal, ({ rpc }, giveUp) =>
      rpc.call(method, request, {
        forwarded: true,
        timeoutMs: apiRequestTimeoutMs,
        signal: giveUp,
      }),
    );
  }

  /** Passes a method of `Control` on, over the stream that all of them share. @throws ClusterError as `call`. */
  relay<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal): Promise<R> {
    return this.#passOn(signal, ({ relay }, giveUp) => relay.call(method, request, giveUp));
  }

  async #passOn<R>(
    signal: AbortSignal | undefined,
    work: (connection: Connection, giveUp: AbortSignal) => Promise<R>,
  ): Promise<R> {
    const to = this.#leader();
    if (to === undefined) throw noLeader();
    const call = { to, stop: new LightSignal() };
    const giveUp = () => call.stop.abort(signal?.reason);
    if (signal?.aborted) giveUp();
    signal?.addEventListener("abort", giveUp, { once: true });
    this.#calls.add(call);
    try {
      return await work(this.#to(to), call.stop);
    } catch (error) {
      if (signal?.aborted === true || maySafelyRetry(error)) throw error;
      if (call.stop.aborted || isBroken(error)) {
        throw leaderChanged(error);
      }
      throw error;
    } finally {
      signal?.removeEventListener("abort", giveUp);
      this.#calls.delete(call);
    }
  }

  /** Gives up the calls to a leader that leads no more: a dead one would let them wait until their deadline. */
  leaderMayHaveChanged(): void {
    const now = this.#leader();
    for (const { to, stop } of this.#calls) {
      if (to.nodeId !== now?.nodeId) stop.abort(otherLeader);
    }
  }

  updateTls(tls: TlsMaterial): void {
    this.#tls = tls;
    this.#client?.rpc.updateTls(tls);
    // The next call opens a stream under the new certificate.
    this.#client?.relay.retire();
  }

  close(): void {
    this.#client?.relay.close();
    this.#client?.rpc.close();
    this.#client = undefined;
  }

  /** A leader at a new address, or another one, gets a connection of its own; calls on the old one were given up. */
  #to(leader: LeaderAddress): Connection {
    const now = this.#client;
    if (now !== undefined && now.to.nodeId === leader.nodeId && now.to.address === leader.address) {
      return now;
    }
    now?.relay.close();
    now?.rpc.close();
    const rpc = dial({
      address: leader.address,
      tls: this.#tls,
      expected: { role: "manager", nodeId: leader.nodeId },
    });
    const connection = { to: leader, rpc, relay: new RelayClient(rpc) };
    this.#client = connection;
    return connection;
  }
}

/** Whether the connection to the leader broke, or it leads no more, rather than that it answered with an error of its own. */
function isBroken(error: unknown): boolean {
  return hasCode(error, "unavailable") || hasCode(error, "cancelled");
}

function leaderChanged(cause: unknown): ClusterError {
  return new ClusterError(
    "unavailable",
    "leadership of the swarm changed while the request was under way: check whether it was carried out, and try again",
    { cause, fields: { leaderChanged: true } },
  );
}
