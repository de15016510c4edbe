/**
 * Writes of nodes: role, availability, labels, removal. Decisions over one transaction.
 *
 * A change of the desired role is only written down here; manager/membership carries it out.
 */
import {
  Done,
  FreedNumber,
  type Node,
  NodeSpec,
  RemovedNode,
  type RemoveRequest,
  type Task,
  TaskStateNumber,
  TaskStatus,
  Tombstone,
  type UpdateNodeRequest,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { tasksOrphanedMax } from "../../src/common/limits/limits.ts";
import type { Tx } from "../state/transaction.ts";
import { checkNodeLabels } from "./data-path-labels.ts";
import type { Environment } from "./environment.ts";
import { notFound } from "./names.ts";
import { keepsQuorumWithout } from "./quorum.ts";

/** A removed node's certificate is remembered this long beyond its end, for clocks that are behind. */
const removedNodeGraceMs = 7 * 24 * 3600 * 1000;
/** No certificate outlives the root that signed it; used where the node's own end is not known. */
const rootLifetimeMs = 20 * 365 * 24 * 3600 * 1000;

/** @throws ClusterError with Docker's text. */
export function updateNode(tx: Tx, request: UpdateNodeRequest, environment: Environment): Done {
  const node = tx.get("node", request.id);
  if (node === undefined) throw notFound("node", request.id);
  const spec = request.spec ?? NodeSpec.create();
  if (node.spec?.desiredRole === "manager" && spec.desiredRole === "worker")
    checkDemotion(tx, node, environment);
  checkNodeLabels(spec.annotations?.labels ?? {}, node.spec?.annotations?.labels ?? {});
  tx.update("node", { ...node, spec }, request.version);
  return Done.create();
}

function checkDemotion(tx: Tx, node: Node, environment: Environment): void {
  const managers = tx.find("node", "role", "manager");
  if (managers.length === 1 && managers[0]?.id === node.id)
    throw new ClusterError(
      "failed-precondition",
      "attempting to demote the last manager of the swarm",
    );
  const member = environment.members.find(({ nodeId }) => nodeId === node.id);
  if (member === undefined)
    throw new ClusterError("not-found", "can't find manager in raft memberlist");
  if (!keepsQuorumWithout(environment.members, member.raftId, environment.selfId))
    throw new ClusterError(
      "failed-precondition",
      "can't remove member from the raft: this would result in a loss of quorum",
    );
}

/**
 * Removes a node for good: its id never comes back, its number rests. Its tasks become orphans, the first of them here,
 * the rest by `orphanTasks`.
 * @throws ClusterError with Docker's text.
 */
export function removeNode(tx: Tx, request: RemoveRequest, environment: Environment): Done {
  const { id } = request;
  const node = tx.get("node", id);
  if (node === undefined) throw notFound("node", id);
  const isMember = environment.members.some(({ nodeId }) => nodeId === id);
  if (node.spec?.desiredRole === "manager" && isMember)
    throw new ClusterError(
      "failed-precondition",
      `node ${id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
    );
  if (!request.force && node.status?.state === "ready")
    throw new ClusterError("failed-precondition", `node ${id} is not down and can't be removed`);
  writeTombstones(tx, node, environment.now);
  orphanTasks(tx, id, environment);
  tx.remove("node", id);
  return Done.create();
}

/** Marks tasks of a removed node as lost, as many as fit one transaction; returns how many. */
export function orphanTasks(tx: Tx, nodeId: string, environment: Environment): number {
  const lost = tx.find("task", "node", nodeId).filter(isAlive).slice(0, tasksOrphanedMax);
  for (const task of lost) {
    const status = TaskStatus.create({
      timestampMs: environment.now,
      state: "orphaned",
      message: "Task belonged to a node that has been deleted",
    });
    tx.update("task", { ...task, status });
  }
  return lost.length;
}

function isAlive(task: Task): boolean {
  return TaskStateNumber(task.status?.state ?? "new") < TaskStateNumber("complete");
}

function writeTombstones(tx: Tx, node: Node, now: number): void {
  const validUntil = node.certificate?.notAfterMs ?? 0;
  const expiresAtMs = validUntil === 0 ? now + rootLifetimeMs : validUntil + removedNodeGraceMs;
  put(
    tx,
    Tombstone.create({
      id: `node/${node.id}`,
      node: RemovedNode.create({ nodeId: node.id, expiresAtMs }),
    }),
  );
  if (node.number === 0) return;
  put(
    tx,
    Tombstone.create({
      id: `number/${node.number}`,
      number: FreedNumber.create({ number: node.number, freedAtMs: now }),
    }),
  );
}

function put(tx: Tx, tombstone: Tombstone): void {
  if (tx.get("tombstone", tombstone.id) === undefined) tx.create("tombstone", tombstone);
  else tx.update("tombstone", tombstone);
}
