/**
 * Writes messages, entries and states of the Raft core the way the scenario files of etcd-io/raft do.
 */
import { isLocalThread } from "../../../manager/raft/core/message.ts";
import {
  type ConfState,
  type Entry,
  type EntryType,
  type HardState,
  localAppendThread,
  type Message,
  type MessageType,
  none,
  type ProgressState,
  type ProgressStatus,
  type Ready,
  type Role,
  type Snapshot,
} from "../../../manager/raft/core/types.ts";
import { changeText } from "./change-data.ts";

const messageNames: Record<MessageType, string> = {
  hup: "MsgHup",
  beat: "MsgBeat",
  prop: "MsgProp",
  app: "MsgApp",
  "app-resp": "MsgAppResp",
  vote: "MsgVote",
  "vote-resp": "MsgVoteResp",
  snap: "MsgSnap",
  heartbeat: "MsgHeartbeat",
  "heartbeat-resp": "MsgHeartbeatResp",
  unreachable: "MsgUnreachable",
  "snap-status": "MsgSnapStatus",
  "check-quorum": "MsgCheckQuorum",
  "transfer-leader": "MsgTransferLeader",
  "timeout-now": "MsgTimeoutNow",
  "read-index": "MsgReadIndex",
  "read-index-resp": "MsgReadIndexResp",
  "pre-vote": "MsgPreVote",
  "pre-vote-resp": "MsgPreVoteResp",
  "storage-append": "MsgStorageAppend",
  "storage-append-resp": "MsgStorageAppendResp",
  "storage-apply": "MsgStorageApply",
  "storage-apply-resp": "MsgStorageApplyResp",
  "forget-leader": "MsgForgetLeader",
};

const roleNames: Record<Role, string> = {
  follower: "StateFollower",
  "pre-candidate": "StatePreCandidate",
  candidate: "StateCandidate",
  leader: "StateLeader",
};

const progressNames: Record<ProgressState, string> = {
  probe: "StateProbe",
  replicate: "StateReplicate",
  snapshot: "StateSnapshot",
};

/** The message type a scenario file names, or `undefined` for an unknown name. */
export function messageTypeNamed(name: string): MessageType | undefined {
  const types = Object.keys(messageNames) as MessageType[];
  return types.find((type) => messageNames[type] === name);
}

/** Name of a role. */
export function roleName(role: Role): string {
  return roleNames[role];
}

/** One message on one or, with several entries, a snapshot or responses, more lines; no line feed at the end. */
export function describeMessage(m: Message, indent = ""): string {
  const parts = [
    `${indent}${target(m.from)}->${target(m.to)} ${messageNames[m.type]}`,
    `Term:${m.term} Log:${m.logTerm}/${m.index}`,
  ];
  if (m.reject) parts.push(`Rejected (Hint: ${m.rejectHint})`);
  if (m.commit !== 0) parts.push(`Commit:${m.commit}`);
  if (m.vote !== none) parts.push(`Vote:${m.vote}`);
  const entries = m.entries.map(describeEntry);
  if (entries.length === 1) parts.push(`Entries:[${entries[0]}]`);
  else if (entries.length > 1) {
    parts.push(`Entries:[\n${entries.map((one) => `${indent}  ${one}\n`).join("")}${indent}]`);
  }
  let text = parts.join(" ");
  if (m.snapshot !== undefined) {
    text += `\n${indent}  Snapshot: ${describeSnapshot(m.snapshot)}`;
  }
  if (m.responses.length > 0) {
    const responses = m.responses.map((one) => `${describeMessage(one, `${indent}  `)}\n`);
    text += ` Responses:[\n${responses.join("")}${indent}]`;
  }
  return text;
}

/** One entry. */
export function describeEntry(entry: Entry): string {
  const { name, text } = entryText(entry.type, entry.data);
  return `${entry.term}/${entry.index} ${name}${text === "" ? "" : ` ${text}`}`;
}

/** Entries, one a line. */
export function describeEntries(entries: readonly Entry[]): string {
  return entries.map((entry) => `${describeEntry(entry)}\n`).join("");
}

/** A whole round of work. */
export function describeReady(ready: Ready): string {
  let text = "";
  const { softState, hardState, readStates, entries, snapshot, committedEntries, messages } = ready;
  if (softState !== undefined) {
    text += `Lead:${softState.leader} State:${roleName(softState.role)}\n`;
  }
  if (hardState !== undefined) text += `HardState ${describeHardState(hardState)}\n`;
  if (readStates.length > 0) {
    const reads = readStates.map(({ index, context }) => `${index} ${plain(context)}`);
    text += `ReadStates [${reads.join(", ")}]\n`;
  }
  if (entries.length > 0) text += `Entries:\n${describeEntries(entries)}`;
  if (snapshot !== undefined) text += `Snapshot ${describeSnapshot(snapshot)}\n`;
  if (committedEntries.length > 0) {
    text += `CommittedEntries:\n${describeEntries(committedEntries)}`;
  }
  if (messages.length > 0) {
    text += `Messages:\n${messages.map((one) => `${describeMessage(one)}\n`).join("")}`;
  }
  return text === "" ? "<empty Ready>" : `Ready MustSync=${ready.mustSync}:\n${text}`;
}

/** What a leader knows about one member. */
export function describeProgress(one: ProgressStatus): string {
  const parts = [`${progressNames[one.state]} match=${one.match} next=${one.next}`];
  if (one.isLearner) parts.push("learner");
  if (one.paused) parts.push("paused");
  if (one.pendingSnapshot > 0) parts.push(`pendingSnap=${one.pendingSnapshot}`);
  if (!one.recentActive) parts.push("inactive");
  if (one.inflightMsgs > 0) {
    parts.push(`inflight=${one.inflightMsgs}${one.inflightFull ? "[full]" : ""}`);
  }
  return parts.join(" ");
}

/** Members with their progress, one a line, as after a configuration change. */
export function describeConfig(conf: ConfState): string {
  const set = (ids: readonly number[]) => `(${ids.join(" ")})`;
  let text = `voters=${set(conf.voters)}`;
  if (conf.votersOutgoing.length > 0) text += `&&${set(conf.votersOutgoing)}`;
  if (conf.learners.length > 0) text += ` learners=${set(conf.learners)}`;
  if (conf.learnersNext.length > 0) text += ` learners_next=${set(conf.learnersNext)}`;
  return conf.autoLeave ? `${text} autoleave` : text;
}

function describeHardState({ term, vote, commit }: HardState): string {
  return `Term:${term}${vote === none ? "" : ` Vote:${vote}`} Commit:${commit}`;
}

function describeSnapshot({ index, term, confState }: Snapshot): string {
  const list = (ids: readonly number[]) => `[${ids.join(" ")}]`;
  const conf = [
    `Voters:${list(confState.voters)}`,
    `VotersOutgoing:${list(confState.votersOutgoing)}`,
    `Learners:${list(confState.learners)}`,
    `LearnersNext:${list(confState.learnersNext)}`,
    `AutoLeave:${confState.autoLeave}`,
  ];
  return `Index:${index} Term:${term} ConfState:${conf.join(" ")}`;
}

function entryText(type: EntryType, data: Uint8Array): { name: string; text: string } {
  if (type === "normal") return { name: "EntryNormal", text: JSON.stringify(plain(data)) };
  const { single, steps } = changeText(data);
  return { name: single ? "EntryConfChange" : "EntryConfChangeV2", text: steps };
}

function target(id: number): string {
  if (id === none) return "None";
  if (!isLocalThread(id)) return id.toString(16);
  return id === localAppendThread ? "AppendThread" : "ApplyThread";
}

function plain(data: Uint8Array): string {
  return Buffer.from(data).toString("utf8");
}
