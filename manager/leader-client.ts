/**
 * Calls from this manager to the leader: one cached connection, replaced when the leader changes.
 */
import type { MethodDescriptor } from "../src/common/api/generated/api.ts";
import { ClusterError } from "../src/common/errors/cluster-error.ts";
import type { TlsMaterial } from "../src/common/identity/types.ts";
import { apiRequestTimeoutMs } from "../src/common/limits/limits.ts";
import { dial, type RpcClient } from "../src/common/rpc/client.ts";

/** Who leads, as the Raft host tells. */
export interface LeaderAddress {
  readonly nodeId: string;
  readonly address: string;
}

/** Text Docker's users know for a cluster without a leader. */
export const noLeaderText =
  "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";

/** The connection to whoever leads. */
export class LeaderClient {
  readonly #leader: () => LeaderAddress | undefined;
  #tls: TlsMaterial;
  #client: { readonly to: LeaderAddress; readonly rpc: RpcClient } | undefined;

  /** @param leader The leader now; undefined while there is none, or while it is this manager itself. */
  constructor(leader: () => LeaderAddress | undefined, tls: TlsMaterial) {
    this.#leader = leader;
    this.#tls = tls;
  }

  /** Passes a call on. @throws ClusterError unavailable without a leader, else what the leader answered. */
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal?: AbortSignal): Promise<R> {
    const leader = this.#leader();
    if (leader === undefined) {
      return Promise.reject(new ClusterError("unavailable", noLeaderText));
    }
    return this.#to(leader).call(method, request, {
      forwarded: true,
      timeoutMs: apiRequestTimeoutMs,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  updateTls(tls: TlsMaterial): void {
    this.#tls = tls;
    this.#client?.rpc.updateTls(tls);
  }

  close(): void {
    this.#client?.rpc.close();
    this.#client = undefined;
  }

  #to(leader: LeaderAddress): RpcClient {
    const now = this.#client;
    if (now !== undefined && now.to.nodeId === leader.nodeId && now.to.address === leader.address) {
      return now.rpc;
    }
    now?.rpc.close();
    const rpc = dial({
      address: leader.address,
      tls: this.#tls,
      expected: { role: "manager", nodeId: leader.nodeId },
    });
    this.#client = { to: leader, rpc };
    return rpc;
  }
}
