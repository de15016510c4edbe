/**
 * What the main thread is told about members and numbers: only when it changed.
 */
import type { MemberStatus, RaftStats, ToMain } from "./host-messages.ts";
import { isJoint } from "./membership.ts";
import type { RaftNode } from "./raft-node.ts";
import type { RaftStorage } from "./storage.ts";
import type { Transport } from "./transport.ts";

/** Remembers what was last told. */
export class MemberReport {
  readonly #post: (message: ToMain) => void;
  #members = "";
  #stats = "";

  constructor(post: (message: ToMain) => void) {
    this.#post = post;
  }

  /** Looks, and tells what is new. */
  update(node: RaftNode, transport: Transport, storage: RaftStorage): void {
    const status = node.status();
    const members = memberStatuses(node, transport);
    // How far each member's log reaches changes all the time; it goes along, but is no reason to tell.
    const seen = JSON.stringify([status.id, members.map((member) => ({ ...member, match: 0 }))]);
    if (seen !== this.#members) {
      this.#members = seen;
      this.#post({ type: "members", raftId: status.id, members });
    }
    const stats: RaftStats = {
      raftId: status.id,
      term: status.term,
      commitIndex: status.commit,
      appliedIndex: node.appliedIndex,
      firstIndex: storage.tail.firstIndex(),
      lastIndex: storage.tail.lastIndex(),
      logBytes: storage.tail.bytes,
    };
    const text = JSON.stringify(stats);
    if (text === this.#stats) return;
    this.#stats = text;
    this.#post({ type: "stats", stats });
  }
}

function memberStatuses(node: RaftNode, transport: Transport): MemberStatus[] {
  const { id, leader, progress, confState } = node.status();
  const reachable = node.reachable();
  // Whoever is between two configurations counts as a voter only when it votes in both.
  const votes = (raftId: number) =>
    confState.voters.includes(raftId) &&
    (!isJoint(confState) || confState.votersOutgoing.includes(raftId));
  return [...node.membership.members.values()].map((member) => ({
    ...member,
    learner: !votes(member.raftId),
    reachable:
      member.raftId === id || reachable.has(member.raftId) || transport.isConnected(member.raftId),
    match: progress.get(member.raftId)?.match ?? 0,
    isLeader: member.raftId === leader,
  }));
}
