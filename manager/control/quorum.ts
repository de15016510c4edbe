/**
 * Whether the Raft group can spare a member. Pure.
 */
import type { GroupMember } from "./environment.ts";

/**
 * Whether the members reachable without this one are a majority of those that remain. Learners have no vote and do not
 * count; sparing one is always fine.
 *
 * @param selfId Node id of the manager that asks; it is reachable to itself.
 */
export function keepsQuorumWithout(
  members: readonly GroupMember[],
  raftId: number,
  selfId: string,
): boolean {
  const leaving = members.find((member) => member.raftId === raftId);
  if (leaving === undefined || leaving.learner) return true;
  const rest = members.filter((member) => !member.learner && member.raftId !== raftId);
  const reachable = rest.filter((member) => member.reachable || member.nodeId === selfId).length;
  return reachable >= Math.floor(rest.length / 2) + 1;
}
