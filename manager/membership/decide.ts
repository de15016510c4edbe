/**
 * What has to be done so that every node has the role its user wants. Pure.
 *
 * A promotion changes the role in force first: the node gets a manager's certificate, starts its manager and joins the Raft
 * group by itself. A demotion takes the node out of the Raft group first, and only then changes the role in force, so that
 * no voter is without a manager's certificate.
 */
import type { Node, NodeRole } from "../../src/common/api/generated/api.ts";

/** One step towards the wanted role of one node. */
export type MembershipStep =
  | { readonly kind: "promote"; readonly nodeId: string }
  | { readonly kind: "remove-member"; readonly nodeId: string; readonly raftId: number }
  /** The node object does not say under which id and where its manager is reached. */
  | { readonly kind: "readdress"; readonly nodeId: string; readonly member: GroupMember }
  | { readonly kind: "demote"; readonly nodeId: string };

/** A member of the Raft group as the leader sees it. */
export interface GroupMember {
  readonly raftId: number;
  readonly nodeId: string;
  /** `HOST:PORT` where it answers. */
  readonly address: string;
}

/**
 * The steps due now, at most one per node, in order of node id; members whose node object is gone are removed too.
 *
 * @param members Members of the Raft group in force, learners included.
 */
export function decideMembership(
  nodes: readonly Node[],
  members: readonly GroupMember[],
): MembershipStep[] {
  const steps: MembershipStep[] = [];
  const known = new Set<string>();
  for (const node of [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    known.add(node.id);
    const wanted = wantedRole(node);
    const member = members.find((m) => m.nodeId === node.id);
    if (wanted === "manager") {
      if (node.role !== "manager") steps.push({ kind: "promote", nodeId: node.id });
      else if (member !== undefined && !isAt(node, member)) {
        steps.push({ kind: "readdress", nodeId: node.id, member });
      }
    } else if (member !== undefined) {
      steps.push({ kind: "remove-member", nodeId: node.id, raftId: member.raftId });
    } else if (node.role === "manager") {
      steps.push({ kind: "demote", nodeId: node.id });
    }
  }
  for (const { nodeId, raftId } of members) {
    if (!known.has(nodeId)) steps.push({ kind: "remove-member", nodeId, raftId });
  }
  return steps;
}

/** Whether the node object says where this member is. */
export function isAt({ manager }: Node, member: GroupMember): boolean {
  return manager?.raftId === member.raftId && manager.address === member.address;
}

/** The role the user wants for a node; a worker where nothing is said. */
export function wantedRole(node: Node): NodeRole {
  return node.spec?.desiredRole ?? "worker";
}
