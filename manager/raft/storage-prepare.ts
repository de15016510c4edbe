/**
 * Makes a member's storage fit to run with, as `recovery.ts` decided.
 */
import { type RaftMember, RaftSnapshotMeta } from "../../src/common/api/generated/api.ts";
import { newRaftId } from "../../src/common/ids/ids.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { emptyConfState, type HardState } from "./core/types.ts";
import type { WorkerStart } from "./host-messages.ts";
import { bootstrapIndex, decideStart } from "./recovery.ts";
import type { RaftStorage } from "./storage.ts";

/**
 * Decides how to start and brings the storage there.
 *
 * @throws ClusterError failed-precondition when a person has to decide.
 */
export async function prepareStorage(
  storage: RaftStorage,
  start: WorkerStart,
  tools: { readonly random: Random; readonly log: Log },
): Promise<void> {
  const pending = storage.pendingSnapshot;
  const plan = decideStart({
    isNew: storage.isNew,
    loss: storage.loss,
    firstIndex: storage.tail.firstIndex(),
    lastIndex: storage.tail.lastIndex(),
    members: storage.config.members,
    pending,
    pendingTerm: pending && storage.tail.term(pending.index),
    replacing: storage.replaces !== 0,
    appliedIndex: start.appliedIndex,
    self: start.member.nodeId,
    bootstrap: start.bootstrap,
    forceNewCluster: start.forceNewCluster,
    joinMembers: start.joinMembers,
    admittedAnew: start.admitted && storage.raftId !== start.member.raftId,
  });
  switch (plan.kind) {
    case "go-on":
      return;
    case "bootstrap":
      return beginAlone(storage, start.member, { index: bootstrapIndex, term: 1 });
    case "join":
      return beginEmpty(storage, {
        raftId: start.member.raftId,
        replaces: 0,
        members: plan.members,
      });
    case "finish-snapshot":
      return storage.write({
        entries: [],
        hardState: stateAfter(storage.hardState, plan.meta),
        config: plan.meta,
        snapshot: { index: plan.meta.index, term: plan.meta.term },
      });
    case "replace": {
      tools.log.error("the raft log is not whole: this manager joins its group anew", {
        err: plan.reason,
      });
      const replaces = storage.replaces || storage.raftId || start.member.raftId;
      const raftId = newRaftId(tools.random);
      return beginEmpty(storage, { raftId, replaces, members: plan.members });
    }
    case "force":
      tools.log.warn("this manager is now the only one of its cluster");
      return force(storage, start.member, plan.anchor);
  }
}

/** The hard state with a snapshot: its term may be one this member had not heard of on disk. */
function stateAfter(
  before: HardState,
  at: { readonly index: number; readonly term: number },
): HardState {
  return at.term > before.term
    ? { term: at.term, vote: 0, commit: at.index }
    : { ...before, commit: at.index };
}

function beginEmpty(
  storage: RaftStorage,
  who: {
    readonly raftId: number;
    readonly replaces: number;
    readonly members: readonly RaftMember[];
  },
): Promise<void> {
  return storage.begin({
    raftId: who.raftId,
    replaces: who.replaces,
    anchor: { index: 0, term: 0 },
    hardState: { term: 0, vote: 0, commit: 0 },
    config: RaftSnapshotMeta.create({ members: who.members }),
  });
}

function beginAlone(
  storage: RaftStorage,
  member: RaftMember,
  anchor: { readonly index: number; readonly term: number },
): Promise<void> {
  return storage.begin({
    raftId: member.raftId,
    replaces: 0,
    anchor,
    hardState: { term: anchor.term, vote: 0, commit: anchor.index },
    config: aloneAt(member, anchor),
  });
}

/** Everything in the log counts as committed, and the configuration is this member alone. */
async function force(
  storage: RaftStorage,
  member: RaftMember,
  anchor: number | undefined,
): Promise<void> {
  const { tail, hardState } = storage;
  const self = { ...member, raftId: storage.raftId || member.raftId };
  // A term above every one that was seen: whoever else is left can no longer be followed.
  const term = hardState.term + 1;
  if (anchor === undefined) {
    const index = tail.lastIndex();
    return storage.write({
      entries: [],
      hardState: { term, vote: self.raftId, commit: index },
      config: aloneAt(self, { index, term: tail.term(index) ?? 0 }),
    });
  }
  const readable = tail.entries(
    Math.max(anchor + 1, tail.firstIndex()),
    tail.lastIndex() + 1,
    Number.POSITIVE_INFINITY,
  );
  const kept = readable?.[0]?.index === anchor + 1 ? readable : [];
  const anchorTerm = tail.term(anchor) ?? hardState.term;
  await beginAlone(storage, self, { index: anchor, term: anchorTerm });
  const last = kept.at(-1);
  if (last === undefined) return;
  await storage.write({
    entries: kept,
    hardState: { term, vote: self.raftId, commit: last.index },
    config: aloneAt(self, last),
  });
}

function aloneAt(
  member: RaftMember,
  at: { readonly index: number; readonly term: number },
): RaftSnapshotMeta {
  return RaftSnapshotMeta.create({
    index: at.index,
    term: at.term,
    confState: { ...emptyConfState, voters: [member.raftId] },
    members: [member],
  });
}
