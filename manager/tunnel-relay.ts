/**
 * Passes a wish for a tunnel on to the other managers: one of them may hold the session of the node.
 */
import { TunnelRelayService, type TunnelRequest } from "../src/common/api/generated/api.ts";
import { ClusterError, errorText } from "../src/common/errors/cluster-error.ts";
import { tunnelOpenMs } from "../src/common/limits/tunnel.ts";
import type { ManagerAddress, RpcClients } from "../src/common/rpc/clients.ts";

/** What is to be passed on, to whom. */
export interface RelayedTunnel {
  readonly managers: readonly ManagerAddress[];
  readonly nodeId: string;
  readonly tunnel: TunnelRequest;
  readonly signal: AbortSignal;
}

/**
 * Asks all of them at once; resolves with true as soon as one has asked the node, with false when none has its session.
 *
 * @throws ClusterError `unavailable` when none of those that answered has it, and some did not answer.
 */
export async function relayTunnel(clients: RpcClients, relayed: RelayedTunnel): Promise<boolean> {
  const { managers, nodeId, tunnel, signal } = relayed;
  const failed: string[] = [];
  const answers = managers.map(async (manager) => {
    try {
      const options = { timeoutMs: tunnelOpenMs, signal };
      const request = { nodeId, tunnel };
      const { asked } = await clients.to(manager).call(TunnelRelayService.ask, request, options);
      return asked;
    } catch (error) {
      clients.drop(manager);
      failed.push(`${manager.address}: ${errorText(error)}`);
      return false;
    }
  });
  const isAsked = await firstTrue(answers);
  if (isAsked || failed.length === 0) return isAsked;
  throw new ClusterError(
    "unavailable",
    `node ${nodeId} is not available: it has no session with a manager that answers (${failed.join("; ")})`,
    { fields: { "node.id": nodeId } },
  );
}

async function firstTrue(answers: readonly Promise<boolean>[]): Promise<boolean> {
  return new Promise((resolve) => {
    for (const answer of answers) void answer.then((value) => value && resolve(true));
    void Promise.all(answers).then((values) => resolve(values.includes(true)));
  });
}
