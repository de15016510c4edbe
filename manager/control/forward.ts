/**
 * The way of a request from a manager that follows to the one that leads.
 *
 * A request goes to the leader once. When the connection breaks before the answer it is not known whether it was carried
 * out, so it is not sent again; the user is told.
 */
import type { MethodDescriptor } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { apiRequestTimeoutMs } from "../../src/common/limits/limits.ts";
import type { RpcClient } from "../../src/common/rpc/client.ts";

/** A request and where to. */
export interface ForwardedCall<Q, R> {
  readonly method: MethodDescriptor<Q, R>;
  readonly request: Q;
  readonly leaderNodeId: string;
  readonly signal: AbortSignal;
}

/** Passes a call on. @throws ClusterError as the leader threw it, or `unavailable`. */
export type Forward = <Q, R>(call: ForwardedCall<Q, R>) => Promise<R>;

/**
 * Forwards over RPC.
 *
 * @param clientOf The client for a manager; undefined when its address is not known. Kept and closed by the owner.
 */
export function forwardOver(clientOf: (nodeId: string) => RpcClient | undefined): Forward {
  return async ({ method, request, leaderNodeId, signal }) => {
    const client = clientOf(leaderNodeId);
    if (client === undefined)
      throw new ClusterError(
        "unavailable",
        `the address of the leader is not known yet; try again`,
        {
          fields: { "node.id": leaderNodeId },
        },
      );
    return await client.call(method, request, {
      signal,
      timeoutMs: apiRequestTimeoutMs,
      forwarded: true,
    });
  };
}
