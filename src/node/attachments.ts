/**
 * Asks the managers for attachments of this node's containers: the nearest manager first, then the others.
 */
import {
  type MethodDescriptor,
  NetworkAttachmentsService,
  NetworkSettlingService,
} from "../common/api/generated/api.ts";
import type { SwarmAttachments } from "../common/container/attachments.ts";
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import { apiRequestTimeoutMs } from "../common/limits/limits.ts";
import { networkSettleMsMax } from "../common/limits/network.ts";
import type { RpcClient } from "../common/rpc/client.ts";

/** What a membership gives. */
export interface AttachmentTools {
  nodeId(): string;
  /** Connections to the managers that are known, the node's own first. */
  managers(): readonly RpcClient[];
}

/** Attachments through the managers of a membership. */
export function attachmentsOf(tools: AttachmentTools): SwarmAttachments {
  return {
    attach: async (request, signal) => {
      const { taskId, network, attachment } = await ask(
        tools,
        NetworkAttachmentsService.attach,
        { ...request, nodeId: tools.nodeId() },
        signal,
      );
      if (network === undefined || attachment === undefined)
        throw new ClusterError("internal", "the manager answered without a network");
      return { taskId, network, attachment };
    },
    detach: async (containerId, networkId, signal) => {
      const request = { nodeId: tools.nodeId(), containerId, networkId };
      await ask(tools, NetworkAttachmentsService.detach, request, signal);
    },
    settled: async (signal) => {
      const request = { here: false, stateIndex: 0 };
      await ask(tools, NetworkSettlingService.settle, request, signal, networkSettleMsMax);
    },
  };
}

/** Attachments through whatever membership there is. They throw `unavailable` while there is none. */
export function attachmentsThrough(present: () => SwarmAttachments | undefined): SwarmAttachments {
  const through = (): SwarmAttachments => {
    const attachments = present();
    if (attachments !== undefined) return attachments;
    throw new ClusterError("unavailable", "this node is not connected to a swarm");
  };
  return {
    attach: async (request, signal) => through().attach(request, signal),
    detach: async (containerId, networkId, signal) =>
      through().detach(containerId, networkId, signal),
    settled: async (signal) => through().settled(signal),
  };
}

/** The first answer; a call may be repeated, so a manager that is away is no harm. */
async function ask<Q, R>(
  tools: AttachmentTools,
  method: MethodDescriptor<Q, R>,
  request: Q,
  signal: AbortSignal,
  timeoutMs = apiRequestTimeoutMs,
): Promise<R> {
  let failure: unknown = new ClusterError("unavailable", "no manager of the swarm is known");
  for (const client of tools.managers()) {
    try {
      return await client.call(method, request, { signal, timeoutMs });
    } catch (error) {
      if (signal.aborted || !hasCode(error, "unavailable")) throw error;
      failure = error;
    }
  }
  throw failure;
}
