/**
 * Runs the cases of etcd-io/raft's quorum and configuration change files against our functions.
 */

import {
  type ConfChangeRefusal,
  changeSimply,
  enterJointPhase,
  leaveJointPhase,
  type Members,
  membersFromConfState,
} from "../../../manager/raft/core/conf-change.ts";
import {
  jointIndex,
  jointVote,
  majorityIndex,
  majorityVote,
  type VoteResult,
} from "../../../manager/raft/core/quorum.ts";
import { emptyConfState } from "../../../manager/raft/core/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { argValue, type Case } from "./case-file.ts";
import { parseSteps } from "./change-data.ts";
import { describeConfig, describeProgress } from "./describe.ts";

const voteNames: Record<VoteResult, string> = {
  pending: "VotePending",
  lost: "VoteLost",
  won: "VoteWon",
};

/** Runs a case of the quorum files: the committed index or the outcome of a vote. */
export function runQuorumCase(one: Case): string {
  const values = (key: string) => one.args.find((arg) => arg.key === key)?.values ?? [];
  const ids = unique(values("cfg").map(Number));
  const joint = values("cfgj");
  const outgoing = joint[0] === "zero" ? [] : unique(joint.map(Number));
  const all = unique([...ids, ...outgoing]);
  const given = values(one.command === "vote" ? "votes" : "idx");
  if (all.length !== given.length) {
    const shown = given.map((value) => ({ _: "0", n: "1", y: "2" })[value] ?? value);
    const set = [...all].sort((a, b) => a - b).map((id) => `${id}:{}`);
    return `error: mismatched input (explicit or _) for voters map[${set.join(" ")}]: [${shown.join(" ")}]\n`;
  }
  const answers = new Map(all.map((id, at) => [id, given[at] ?? "_"]));
  if (one.command === "vote") return `${voteOutcome(ids, outgoing, joint.length > 0, answers)}\n`;
  const acked = new Map<number, number>();
  for (const [id, value] of answers) if (value !== "_") acked.set(id, Number(value));
  return committed(ids, outgoing, joint.length > 0, acked);
}

function voteOutcome(
  ids: readonly number[],
  outgoing: readonly number[],
  joint: boolean,
  answers: ReadonlyMap<number, string>,
): string {
  const votes = new Map<number, boolean>();
  for (const [id, value] of answers) if (value !== "_") votes.set(id, value === "y");
  if (!joint) return voteNames[majorityVote(ids, votes)];
  const result = jointVote(ids, outgoing, votes);
  const swapped = jointVote(outgoing, ids, votes);
  return swapped === result ? voteNames[result] : `${swapped} when the halves are exchanged`;
}

function committed(
  ids: readonly number[],
  outgoing: readonly number[],
  joint: boolean,
  acked: ReadonlyMap<number, number>,
): string {
  const at = (id: number) => acked.get(id);
  const index = joint ? jointIndex(ids, outgoing, at) : majorityIndex(ids, at);
  const others = joint
    ? [jointIndex(outgoing, ids, at)]
    : [jointIndex(ids, [], at), jointIndex(ids, ids, at), ...lowered(ids, acked, index)];
  const notes = others.filter((other) => other !== index).map((other) => `not ${other}?\n`);
  const shown = Number.isFinite(index) ? String(index) : "∞";
  return `${bars(unique([...ids, ...outgoing]), acked)}${notes.join("")}${shown}\n`;
}

/** The result must not change when voters that are behind it fall back further. */
function lowered(
  ids: readonly number[],
  acked: ReadonlyMap<number, number>,
  index: number,
): number[] {
  return ids
    .filter((id) => (acked.get(id) ?? 0) < index)
    .map((behind) => majorityIndex(ids, (id) => (id === behind ? 0 : acked.get(id))));
}

/** A bar per voter, longer for those further ahead. */
function bars(ids: readonly number[], acked: ReadonlyMap<number, number>): string {
  if (ids.length === 0) return "<empty majority quorum>";
  const width = ids.length;
  const at = (id: number) => acked.get(id) ?? 0;
  const lines = [...ids]
    .sort((a, b) => a - b)
    .map((id) => {
      const length = ids.filter((other) => at(other) < at(id)).length;
      const bar = acked.has(id) ? `${"x".repeat(length)}>` : "?";
      const number = String(at(id)).padStart(5);
      return `${bar.padEnd(width + 1)} ${number}    (id=${id.toString(16)})\n`;
    });
  return `${" ".repeat(width)}    idx\n${lines.join("")}`;
}

const refusalTexts: Record<ConfChangeRefusal, string> = {
  "already-joint": "config is already joint",
  "no-voters-yet": "can't make a zero-voter config joint",
  "not-joint": "can't leave a non-joint config",
  "simple-while-joint": "can't apply simple config change in joint config",
  "no-voters-left": "removed all voters",
  "several-voters": "more than one voter changed without entering joint config",
};

/** Runs the cases of one configuration change file one after the other. */
export class ConfChangeRun {
  #members: Members;
  #lastIndex = 0;

  constructor() {
    this.#members = membersFromConfState(emptyConfState, this.#fresh());
  }

  run(one: Case): string {
    try {
      this.#members = this.#changed(one);
      const { conf, progress } = this.#members;
      const lines = [...progress].map(
        ([id, about]) => `${id}: ${describeProgress(about.status())}\n`,
      );
      return `${describeConfig(conf)}\n${lines.join("")}`;
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      return `${refusalTexts[error.fields["reason"] as ConfChangeRefusal]}\n`;
    } finally {
      this.#lastIndex++;
    }
  }

  #changed(one: Case): Members {
    const steps = parseSteps(one.input);
    switch (one.command) {
      case "simple":
        return changeSimply(this.#members, steps, this.#fresh());
      case "enter-joint": {
        const autoLeave = argValue(one, "autoleave") === "true";
        return enterJointPhase(this.#members, steps, autoLeave, this.#fresh());
      }
      case "leave-joint":
        return leaveJointPhase(this.#members);
      default:
        throw new Error(`line ${one.line}: unknown command ${one.command}`);
    }
  }

  #fresh() {
    const limits = { maxInflightMsgs: 10, maxInflightBytes: Number.POSITIVE_INFINITY };
    return { lastIndex: this.#lastIndex, limits };
  }
}

function unique(ids: readonly number[]): number[] {
  return [...new Set(ids)];
}
