/**
 * Makes a member's storage fit to run with, as `recovery.ts` decided.
 */
import { type RaftMember, RaftSnapshotMeta } from "../../src/common/api/generated/api.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import { newRaftId } from "../../src/common/ids/ids.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { emptyConfState, type HardState } from "./core/types.ts";
import type { WorkerStart } from "./host-messages.ts";
import type { LogTail } from "./log-tail.ts";
import { bootstrapIndex, decideStart, nothingLeft, type StartPlan } from "./recovery.ts";
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
      return forceAsIs(storage, start.member);
    case "force-anew":
      return forceAnew(storage, start, plan, tools);
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
function forceAsIs(storage: RaftStorage, member: RaftMember): Promise<void> {
  const { tail } = storage;
  const self = { ...member, raftId: storage.raftId || member.raftId };
  const index = tail.lastIndex();
  return storage.write({
    entries: [],
    // A term above every one that was seen: whoever else is left can no longer be followed.
    hardState: { term: storage.termSeen + 1, vote: self.raftId, commit: index },
    config: aloneAt(self, { index, term: tail.term(index) ?? 0 }),
  });
}

/**
 * A new log in the place of one that cannot stay, under a new id: until it is there in one piece, the old one counts.
 *
 * @throws ClusterError failed-precondition when neither log nor checkpoint has anything to go on with.
 */
async function forceAnew(
  storage: RaftStorage,
  start: WorkerStart,
  plan: Extract<StartPlan, { kind: "force-anew" }>,
  { random, log }: { readonly random: Random; readonly log: Log },
): Promise<void> {
  const source = plan.tail === "log-lost" ? await lostTail(storage, log) : storage.tail;
  const from = Math.max(plan.anchor + 1, source.firstIndex());
  const entries = source.entries(from, source.lastIndex() + 1, Number.POSITIVE_INFINITY) ?? [];
  const follows = entries[0]?.index === plan.anchor + 1 && plan.tail !== "none";
  const kept = follows ? entries : [];
  if (start.appliedIndex === 0 && kept.length === 0) throw nothingLeft(plan.reason);
  const anchorTerm = source.term(plan.anchor) ?? start.appliedTerm;
  const last = kept.at(-1) ?? { index: plan.anchor, term: anchorTerm };
  log.warn("this manager is now the only one of its cluster, with what could be read", {
    err: plan.reason,
    state: start.appliedIndex,
    "raft.index": last.index,
    unusable: entries.length - kept.length,
  });
  const self = { ...start.member, raftId: newRaftId(random) };
  const term = Math.max(storage.termSeen, start.appliedTerm, last.term) + 1;
  await storage.begin({
    raftId: self.raftId,
    replaces: 0,
    anchor: { index: plan.anchor, term: anchorTerm },
    hardState: { term, vote: self.raftId, commit: last.index },
    config: aloneAt(self, last),
    entries: kept,
  });
}

/** What can still be read of the log that was set aside. */
async function lostTail(storage: RaftStorage, log: Log): Promise<LogTail> {
  try {
    return await storage.readLost();
  } catch (error) {
    // Sealed under a key that is gone, say.
    log.warn("the log that was set aside cannot be read", { err: errorText(error) });
    return storage.tail;
  }
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
