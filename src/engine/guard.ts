/**
 * Which node state allows which call, with Docker's texts for those that are not (docker-facts 1.12). Pure.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import type { ManagerMember, SwarmStatus } from "./ports.ts";

const notManager = "This node is not a swarm manager.";
/** Text of every call on a locked node. */
export const lockedText =
  "Swarm is encrypted and needs to be unlocked before it can be used. " +
  'Please use "docker swarm unlock" to unlock it.';
const expiredText =
  "Swarm certificates have expired. To replace them, leave the swarm and join again.";
const inactiveText = `${notManager} Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`;
const preparingText = `${notManager} Manager is being prepared or has trouble connecting to the cluster.`;
const workerText =
  `${notManager} Worker nodes can't be used to view or modify cluster state. ` +
  "Please run this command on a manager node or promote the current node to a manager.";
const alreadyInText =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.';

/** Why this node cannot serve cluster calls; undefined when it can. */
export function whyNoManager(status: SwarmStatus): string | undefined {
  if (status.controlAvailable) return undefined;
  if (status.state === "locked") return lockedText;
  if (status.certificateExpired) return expiredText;
  if (status.state === "inactive") return inactiveText;
  if (status.isManager) return preparingText;
  // A join that has not been answered yet has no node to speak of.
  return status.nodeId === "" ? inactiveText : workerText;
}

/** @throws ClusterError `unavailable` with the reason when this node does not serve cluster calls. */
export function requireManager(status: SwarmStatus): void {
  const reason = whyNoManager(status);
  if (reason !== undefined) throw new ClusterError("unavailable", reason);
}

/** @throws ClusterError `unavailable` when the node is in a swarm, unless a manager is to make a new one of it. */
export function requireMayInit(status: SwarmStatus, forceNewCluster: boolean): void {
  if (status.state === "inactive") return;
  if (!forceNewCluster) throw new ClusterError("unavailable", alreadyInText);
  if (!status.isManager) throw new ClusterError("unavailable", workerText);
}

/** @throws ClusterError `unavailable` when the node is in a swarm. */
export function requireMayJoin(status: SwarmStatus): void {
  if (status.state !== "inactive") throw new ClusterError("unavailable", alreadyInText);
}

/** @throws ClusterError `unavailable` unless the node is locked; `aborted` (409) when it is a working manager. */
export function requireLocked(status: SwarmStatus): void {
  if (status.controlAvailable) throw new ClusterError("aborted", "swarm is not locked");
  if (status.state !== "locked")
    throw new ClusterError("unavailable", whyNoManager(status) ?? inactiveText);
}

/** @throws ClusterError `unavailable` when the node is in no swarm, or leaving needs `--force`. */
export function requireMayLeave(
  status: SwarmStatus,
  members: readonly ManagerMember[],
  force: boolean,
): void {
  if (status.state === "inactive")
    throw new ClusterError("unavailable", "This node is not part of a swarm");
  if (force) return;
  if (status.state === "locked")
    throw new ClusterError(
      "unavailable",
      "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.",
    );
  if (status.isManager) throw new ClusterError("unavailable", leaveText(status, members));
}

function leaveText(status: SwarmStatus, members: readonly ManagerMember[]): string {
  const start =
    "You are attempting to leave the swarm on a node that is participating as a manager. ";
  const end =
    "The only way to restore a swarm that has lost consensus is to reinitialize it with " +
    "`--force-new-cluster`. Use `--force` to suppress this message.";
  if (!status.controlAvailable)
    return `${start}Doing so may lose the consensus of your cluster. ${end}`;
  const reachable = members.filter((member) => member.reachable).length;
  const unreachable = members.length - reachable;
  if (reachable - 2 > unreachable) return start + end;
  if (reachable === 1 && unreachable === 0)
    return `${start}Removing the last manager erases all current state of the swarm. Use \`--force\` to ignore this message. `;
  return (
    `${start}Removing this node leaves ${reachable - 1} managers out of ${members.length}. ` +
    `Without a Raft quorum your swarm will be inaccessible. ${end}`
  );
}
