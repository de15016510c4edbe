/**
 * How managers enter and leave the Raft group: the RaftMembership calls, carried out on the leader.
 *
 * A joining manager has a manager's certificate already; here it becomes a member. A member that comes back with an empty
 * disk has a new Raft id and replaces its old self. Leaving is a demotion the node asks for itself.
 */
import {
  Node,
  type RaftJoinRequest,
  RaftJoinResponse,
  type RaftLeaveRequest,
  RaftLeaveResponse,
  type RaftMember,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Store } from "../state/store.ts";
import { wantedRole } from "./decide.ts";

/** The Raft group as these calls change it. */
export interface GroupChanges {
  members(): readonly RaftMember[];
  /** Adds a learner; of one that is a member already it notes the address. */
  addMember(member: RaftMember): Promise<void>;
  removeMember(raftId: number): Promise<void>;
}

/** Lets a manager in. @throws ClusterError not-found, failed-precondition, or as the group refuses. */
export async function joinGroup(
  store: Store,
  group: GroupChanges,
  { member }: RaftJoinRequest,
): Promise<RaftJoinResponse> {
  if (member === undefined || member.raftId === 0 || member.address === "") {
    throw new ClusterError("invalid-argument", "join: the member needs a raft id and an address");
  }
  const node = store.view().get("node", member.nodeId);
  if (node === undefined) {
    throw new ClusterError("not-found", `node ${member.nodeId} is not a member of this cluster`);
  }
  if (node.role !== "manager" || wantedRole(node) !== "manager") {
    // A manager that is being demoted is out of the group before its role changes, and must not come back meanwhile.
    throw new ClusterError("failed-precondition", `node ${member.nodeId} is not a manager`);
  }
  for (const other of group.members()) {
    if (other.nodeId === member.nodeId && other.raftId !== member.raftId) {
      await group.removeMember(other.raftId);
    }
  }
  const known = group.members().find((m) => m.raftId === member.raftId);
  if (known?.address !== member.address) await group.addMember(member);
  await store.update((tx) => {
    const now = tx.get("node", member.nodeId);
    // Removed or demoted meanwhile: the membership loop takes the member out again.
    if (now?.role !== "manager") return;
    const manager = { raftId: member.raftId, address: member.address };
    if (now.manager?.raftId === manager.raftId && now.manager.address === manager.address) return;
    tx.update("node", Node.create({ ...now, manager }));
  });
  const featureLevel = store.view().list("cluster")[0]?.featureLevel ?? 1;
  return RaftJoinResponse.create({ raftId: member.raftId, members: group.members(), featureLevel });
}

/** Lets a manager go: it becomes a worker in the store and leaves the group. @throws ClusterError when the quorum would be lost. */
export async function leaveGroup(
  store: Store,
  group: GroupChanges,
  { nodeId }: RaftLeaveRequest,
): Promise<RaftLeaveResponse> {
  for (const member of group.members()) {
    if (member.nodeId === nodeId) await group.removeMember(member.raftId);
  }
  await store.update((tx) => {
    const node = tx.get("node", nodeId);
    if (node?.spec === undefined) return;
    tx.update(
      "node",
      Node.create({
        ...node,
        spec: { ...node.spec, desiredRole: "worker" },
        role: "worker",
        manager: undefined,
        status: { address: "", ...node.status, state: "down", message: "node left" },
      }),
    );
  });
  return RaftLeaveResponse.create();
}
