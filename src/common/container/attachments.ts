/**
 * Networks of the swarm for containers that are run by hand, as the runtime of a node asks its cluster for them.
 */
import type { Network, NetworkAttachment } from "../api/generated/api.ts";

/** A container that is to join a network. */
export interface AttachmentRequest {
  /** Id or name of an attachable network. */
  readonly network: string;
  readonly containerId: string;
  /** Name of the container. */
  readonly name: string;
  readonly aliases: readonly string[];
  /** Addresses it is to have, without prefix length; at most one of each family. */
  readonly addresses: readonly string[];
}

/** What it gets. */
export interface SwarmAttachment {
  /** The task that stands for it: the id of its endpoint in the cluster's state. */
  readonly taskId: string;
  readonly network: Network;
  readonly attachment: NetworkAttachment;
}

/** What the runtime of a node asks the swarm. */
export interface SwarmAttachments {
  /**
   * Joins a network, or answers what was answered before for the same container and network.
   *
   * @throws ClusterError not-found, permission-denied `network X not manually attachable`, resource-exhausted without a free
   *   address, unavailable without a manager.
   */
  attach(request: AttachmentRequest, signal: AbortSignal): Promise<SwarmAttachment>;
  /** Leaves a network by its id, or all when it is empty; fine when the container is in none. @throws ClusterError unavailable */
  detach(containerId: string, networkId: string, signal: AbortSignal): Promise<void>;
  /** Resolves once the kernels of all nodes that are up hold what was committed before. @throws ClusterError unavailable */
  settled(signal: AbortSignal): Promise<void>;
}
