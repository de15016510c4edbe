/**
 * Runs the commands of scenario files against a group of members and gives the output as the files write it.
 *
 * The commands are those of etcd-io/raft's interaction tests, and a few of our own: `read-index`, `propose-batch`,
 * `report-snapshot`, and more settings in `add-nodes`. Log lines are not part of the output.
 */

import { isVoter } from "../../../manager/raft/core/conf-change.ts";
import { message } from "../../../manager/raft/core/message.ts";
import type {
  Message,
  MessageType,
  Snapshot,
  StepResult,
} from "../../../manager/raft/core/types.ts";
import { emptyConfState } from "../../../manager/raft/core/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { argValue, bareNumbers, type Case } from "./case-file.ts";
import { encodeChange } from "./change-data.ts";
import {
  describeEntries,
  describeMessage,
  describeProgress,
  describeReady,
  messageTypeNamed,
  roleName,
} from "./describe.ts";
import { Group, type Member, type MemberOptions } from "./group.ts";

type Handler = (run: Interaction, one: Case) => string;

/** One run of one file. */
export class Interaction {
  readonly group = new Group();
  /** Whether only errors are shown, as after `log-level none`. */
  quiet = false;

  /** Runs one command. @throws Error when the file asks for what does not exist. */
  run(one: Case): string {
    const handler = handlers[one.command];
    if (handler === undefined) throw new Error(`line ${one.line}: unknown command ${one.command}`);
    let output: string;
    const quietBefore = this.quiet;
    try {
      output = handler(this, one);
      if (this.quiet || (quietBefore && one.command !== "log-level")) output = "";
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      output = proposalDropped;
    }
    if (output === "") return "ok\n";
    return output.endsWith("\n") ? output : `${output}\n`;
  }

  /** The member the first argument names. */
  member(one: Case): Member {
    return this.group.member(Number(one.args[0]?.key));
  }
}

const proposalDropped = "raft proposal dropped";

const stepErrors: Record<StepResult, string> = {
  ok: "",
  dropped: `${proposalDropped}\n`,
  "unknown-peer": "raft: cannot step as peer not found\n",
  "local-message": "raft: cannot step raft local message\n",
};

const handlers: Record<string, Handler> = {
  "add-nodes": addNodes,
  campaign: silent((run, one) => run.member(one).node.campaign()),
  compact: (run, one) => {
    run.member(one).log.compact(Number(one.args[1]?.key));
    return raftLog(run, one);
  },
  "deliver-msgs": deliverMessages,
  "forget-leader": silent((run, one) => run.member(one).node.forgetLeader()),
  "log-level": silent((run, one) => {
    run.quiet = one.args[0]?.key === "none";
  }),
  "process-append-thread": forEachMember("processing append thread", processAppend),
  "process-apply-thread": forEachMember("processing apply thread", processApply),
  "process-ready": forEachMember("handling Ready", (run, member) =>
    describeReady(run.group.processReady(member)),
  ),
  propose: silent((run, one) => run.member(one).node.propose(bytes(one.args[1]?.key ?? ""))),
  "propose-batch": silent((run, one) =>
    run.member(one).node.proposeBatch(one.args.slice(1).map(({ key }) => bytes(key))),
  ),
  "propose-conf-change": silent(proposeChange),
  "raft-log": raftLog,
  "raft-state": raftState,
  "read-index": silent((run, one) => run.member(one).node.readIndex(bytes(one.args[1]?.key ?? ""))),
  "report-snapshot": silent((run, one) => {
    const [, about = 0] = bareNumbers(one);
    run.member(one).node.reportSnapshot(about, argValue(one, "ok") !== "false");
  }),
  "report-unreachable": silent((run, one) => {
    const [, about = 0] = bareNumbers(one);
    run.member(one).node.reportUnreachable(about);
  }),
  "send-snapshot": sendSnapshot,
  "set-randomized-election-timeout": silent((run, one) => {
    const member = run.member(one);
    member.timeoutExtra = Number(argValue(one, "timeout")) - member.config.electionTick;
  }),
  stabilize: (run, one) => {
    const output = stabilize(run, bareNumbers(one));
    return argValue(one, "log-level") === "none" ? "" : output;
  },
  status: (run, one) => {
    const { progress } = run.member(one).node.status();
    return [...progress].map(([id, about]) => `${id}: ${describeProgress(about)}\n`).join("");
  },
  "tick-election": silent((run, one) => tick(run.member(one), "electionTick")),
  "tick-heartbeat": silent((run, one) => tick(run.member(one), "heartbeatTick")),
  "transfer-leadership": silent((run, one) => {
    const from = run.group.member(Number(argValue(one, "from")));
    from.node.transferLeader(Number(argValue(one, "to")));
  }),
};

function silent(act: (run: Interaction, one: Case) => unknown): Handler {
  return (run, one) => {
    act(run, one);
    return "";
  };
}

function forEachMember(title: string, act: (run: Interaction, member: Member) => string): Handler {
  return (run, one) => {
    const ids = bareNumbers(one);
    const [only] = ids;
    if (ids.length === 1 && only !== undefined) return act(run, run.group.member(only));
    return ids
      .map((id) => `> ${id} ${title}\n${indented(act(run, run.group.member(id)))}`)
      .join("");
  };
}

function addNodes(run: Interaction, one: Case): string {
  const numbers = (key: string) =>
    (one.args.find((arg) => arg.key === key)?.values ?? []).map(Number);
  const index = Number(argValue(one, "index") ?? 0);
  const confState = {
    ...emptyConfState,
    voters: numbers("voters"),
    learners: numbers("learners"),
  };
  const start: Snapshot = { index, term: 1, confState, data: argValue(one, "content") ?? "" };
  const options = optionsOf(one);
  for (let left = Number(one.args[0]?.key); left > 0; left--) {
    run.group.add(options, index > 0 ? start : undefined);
  }
  return "";
}

function optionsOf(one: Case): MemberOptions {
  const count = (key: string) => Number(argValue(one, key) ?? Number.POSITIVE_INFINITY);
  const flag = (key: string) => argValue(one, key) === "true";
  return {
    maxInflightMsgs: count("inflight"),
    maxInflightBytes: count("inflight-bytes"),
    maxSizePerMsg: count("max-size-per-msg"),
    maxCommittedSizePerReady: count("max-committed-size-per-ready"),
    maxUncommittedEntriesSize: count("max-uncommitted"),
    asyncStorageWrites: flag("async-storage-writes"),
    preVote: flag("prevote"),
    checkQuorum: flag("checkquorum"),
    disableConfChangeValidation: flag("disable-conf-change-validation"),
    disableProposalForwarding: flag("disable-proposal-forwarding"),
    stepDownOnRemoval: flag("step-down-on-removal"),
    readOnlyOption: argValue(one, "read-only") === "lease-based" ? "lease-based" : "safe",
  };
}

function deliverMessages(run: Interaction, one: Case): string {
  const named = argValue(one, "type");
  const type = named === undefined ? undefined : messageTypeNamed(named);
  const dropped = one.args.find(({ key }) => key === "drop")?.values.map(Number) ?? [];
  const output =
    bareNumbers(one)
      .map((id) => deliverTo(run, id, type))
      .join("") + dropped.map((id) => dropTo(run, id, type)).join("");
  return output === "" ? "no messages\n" : output;
}

function deliverTo(run: Interaction, id: number, type: MessageType | undefined): string {
  return run.group
    .take(id, type, false)
    .map((one) => `${describeMessage(one)}\n${stepErrors[run.group.member(id).node.step(one)]}`)
    .join("");
}

function dropTo(run: Interaction, id: number, type: MessageType | undefined): string {
  const taken = run.group.take(id, type, true);
  return taken.map((one) => `dropped: ${describeMessage(one)}\n`).join("");
}

function processAppend(run: Interaction, member: Member): string {
  return describeWork(run.group.processAppend(member), "no append work to perform");
}

function processApply(run: Interaction, member: Member): string {
  return describeWork(run.group.processApply(member), "no apply work to perform");
}

function describeWork(work: Message | undefined, otherwise: string): string {
  if (work === undefined) return otherwise;
  const request = describeMessage({ ...work, responses: [] });
  const responses = work.responses.map((one) => `${describeMessage(one)}\n`);
  return `Processing:\n${request}\nResponses:\n${responses.join("")}`;
}

function proposeChange(run: Interaction, one: Case): void {
  const named = argValue(one, "transition") ?? "auto";
  const transition =
    named === "auto" ? "auto" : named === "explicit" ? "joint-explicit" : "joint-implicit";
  const data = encodeChange(one.input.trim(), transition, argValue(one, "v1") === "true");
  run.member(one).node.proposeConfChange(data);
}

function raftLog(run: Interaction, one: Case): string {
  const { log } = run.member(one);
  const first = log.firstIndex();
  const last = log.lastIndex();
  if (last < first) return `log is empty: first index=${first}, last index=${last}`;
  return describeEntries(log.entries(first, last + 1, Number.POSITIVE_INFINITY) ?? []);
}

function raftState(run: Interaction): string {
  return run.group.members
    .map(({ node }) => {
      const { id, role, term, leader, confState } = node.status();
      const voter = isVoter(confState, id) ? "(Voter)" : "(Non-Voter)";
      return `${id}: ${roleName(role)} ${voter} Term:${term} Lead:${leader}\n`;
    })
    .join("");
}

function sendSnapshot(run: Interaction, one: Case): string {
  const [from = 0, to = 0] = bareNumbers(one);
  const { node, log } = run.group.member(from);
  const { term } = node.status();
  const sent = message({ type: "snap", from, to, term, snapshot: log.snapshot() });
  run.group.messages.push(sent);
  return describeMessage(sent);
}

/** Handles work and delivers messages among `ids`, or all members, until nothing is left to do. */
function stabilize(run: Interaction, ids: readonly number[]): string {
  const { group } = run;
  const members = ids.length === 0 ? group.members : ids.map((id) => group.member(id));
  let output = "";
  for (;;) {
    const before = output.length;
    for (const member of members) {
      if (!member.node.hasReady()) continue;
      const described = describeReady(group.processReady(member));
      output += `> ${member.id} handling Ready\n${indented(described)}`;
    }
    for (const { id } of members) {
      const delivered = deliverTo(run, id, undefined);
      if (delivered !== "") output += `> ${id} receiving messages\n${indented(delivered)}`;
    }
    for (const member of members) {
      if (member.appendWork.length > 0) output += `> ${member.id} processing append thread\n`;
      while (member.appendWork.length > 0) output += indented(processAppend(run, member));
    }
    for (const member of members) {
      if (member.applyWork.length > 0) output += `> ${member.id} processing apply thread\n`;
      while (member.applyWork.length > 0) output += indented(processApply(run, member));
    }
    if (output.length === before) return output;
  }
}

function tick({ node, config }: Member, span: "electionTick" | "heartbeatTick"): void {
  for (let left = config[span]; left > 0; left--) node.tick();
}

function indented(text: string): string {
  return text.replace(/^(?=.)/gm, "  ").replace(/([^\n])$/, "$1\n");
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
