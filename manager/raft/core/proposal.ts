/**
 * How proposals enter the log: on the leader at once, on a follower by way of the leader.
 */
import { isJoint } from "./conf-change.ts";
import { noBytes } from "./message.ts";
import type { EntryDraft, Raft } from "./raft.ts";
import { streamAppend } from "./replication.ts";
import { type Entry, none } from "./types.ts";

/** Why proposals were not taken. */
export type ProposalRefusal =
  | "no-leader"
  | "not-forwarded"
  | "not-a-member"
  | "transfer-under-way"
  | "too-much-uncommitted";

/** What became of proposals. */
export interface ProposalOutcome {
  /** Set when none was taken. */
  readonly refusal?: ProposalRefusal;
  /** Index of the first entry; 0 when they were sent on to the leader. */
  readonly firstIndex: number;
  /** Why the last conf-change among them was replaced by a no-op, if it was. */
  readonly changeRefused: string | undefined;
}

/** Appends the entries, or sends them on; all or none. `from` is who proposed, `none` for this member itself. */
export function propose(r: Raft, drafts: readonly EntryDraft[], from: number): ProposalOutcome {
  if (r.role === "leader") return proposeAsLeader(r, drafts);
  if (r.role !== "follower" || r.leader === none) return refused("no-leader");
  if (r.config.disableProposalForwarding) return refused("not-forwarded");
  const entries: Entry[] = drafts.map(({ type, data }) => ({ term: 0, index: 0, type, data }));
  r.send({ type: "prop", to: r.leader, from, entries });
  return { firstIndex: 0, changeRefused: undefined };
}

function proposeAsLeader(r: Raft, drafts: readonly EntryDraft[]): ProposalOutcome {
  // A leader that was removed and has not stepped down has no say any more.
  if (!r.members.progress.has(r.id)) return refused("not-a-member");
  if (r.leadTransferee !== none) return refused("transfer-under-way");

  const firstIndex = r.log.lastIndex() + 1;
  const checked = checkChanges(r, drafts, firstIndex);
  if (!r.appendEntries(checked.drafts)) {
    r.logger?.warn("a proposal was refused: too much is uncommitted");
    return refused("too-much-uncommitted");
  }
  r.pendingConfIndex = checked.pendingConfIndex;
  streamAppend(r);
  return { firstIndex, changeRefused: checked.changeRefused };
}

function refused(refusal: ProposalRefusal): ProposalOutcome {
  return { refusal, firstIndex: 0, changeRefused: undefined };
}

interface CheckedChanges {
  readonly drafts: readonly EntryDraft[];
  readonly pendingConfIndex: number;
  readonly changeRefused: string | undefined;
}

/** Replaces conf-changes that cannot take effect by no-ops, so that whoever proposed finds an entry at the index. */
function checkChanges(r: Raft, drafts: readonly EntryDraft[], firstIndex: number): CheckedChanges {
  let { pendingConfIndex } = r;
  let changeRefused: string | undefined;
  if (!drafts.some(isConfChange)) return { drafts, pendingConfIndex, changeRefused };

  const checked = drafts.map((draft, position) => {
    if (!isConfChange(draft)) return draft;
    const problem = changeProblem(r, draft, pendingConfIndex);
    if (problem !== undefined && !r.config.disableConfChangeValidation) {
      r.logger?.info(`a configuration change was refused: ${problem}`);
      changeRefused = problem;
      return noOp;
    }
    pendingConfIndex = firstIndex + position;
    return draft;
  });
  return { drafts: checked, pendingConfIndex, changeRefused };
}

/** One change at a time: the next is checked against a configuration that is in force (thesis 4.1). */
function changeProblem(r: Raft, draft: EntryDraft, pendingConfIndex: number): string | undefined {
  const leaves = draft.data.length === 0;
  const joint = isJoint(r.members);
  if (pendingConfIndex > r.log.applied) {
    return `another change may be pending at index ${pendingConfIndex}, applied is ${r.log.applied}`;
  }
  if (joint && !leaves) return "the joint phase has to end first";
  if (!joint && leaves) return "there is no joint phase to leave";
  return undefined;
}

/**
 * Ends a joint phase that ends by itself, once the entry that began it is applied here.
 *
 * Refused while leadership is being handed over; the next applied entry, or the next leader, tries again.
 */
export function leaveJointIfDue(r: Raft): void {
  if (r.role !== "leader" || !r.members.conf.autoLeave) return;
  if (r.log.applied < r.pendingConfIndex) return;
  const { refusal } = proposeAsLeader(r, [{ type: "conf-change", data: noBytes }]);
  r.logger?.info(`leaving the joint phase: ${refusal ?? "proposed"}`);
}

const noOp: EntryDraft = { type: "normal", data: noBytes };

function isConfChange(draft: EntryDraft): boolean {
  return draft.type === "conf-change";
}
