/**
 * The mutations that the simulator and the scenario suites must notice: known bugs of Raft implementations, each as a
 * change of one or two lines of the compiled program (control-plane paper, section 7.3).
 *
 * Production code has no switch for them: `mutants.ts` changes a copy. A unit test checks that each text is there once.
 */

/** One change of text in a file below `build`. */
export interface Edit {
  readonly file: string;
  /** Stands in the file exactly once, or once behind `after`. */
  readonly find: string;
  readonly replace: string;
  readonly after?: string;
}

/** One bug to plant. */
export interface Mutation {
  readonly id: number;
  readonly title: string;
  readonly edits: readonly Edit[];
}

const core = "manager/raft/core";

/** All mutations, numbered as in the paper. */
export const mutations: readonly Mutation[] = [
  {
    id: 1,
    title: "the leader commits entries of earlier terms by counting replicas",
    edits: [
      {
        file: `${core}/log.js`,
        find: "if (index <= this.committed || term === 0 || !this.matches(index, term))",
        replace: "if (index <= this.committed || term === 0)",
      },
    ],
  },
  {
    id: 2,
    title: "a vote is told before term and vote are durable",
    edits: [
      {
        file: `${core}/raft.js`,
        find: 'if (type === "app-resp" || type === "vote-resp" || type === "pre-vote-resp") {',
        replace:
          'if (type === "app-resp" || (type === "vote-resp" && fields.to === this.id) || type === "pre-vote-resp") {',
      },
    ],
  },
  {
    id: 3,
    title: "a failed sync counts as success",
    edits: [
      {
        file: "manager/raft/persister.js",
        find: "await this.#options.write(mergeAppends(appends, config));",
        replace: "await this.#options.write(mergeAppends(appends, config)).catch(() => {});",
      },
    ],
  },
  {
    id: 4,
    title: "a vote compares the length of the logs only",
    edits: [
      {
        file: `${core}/log.js`,
        find: "return their.term > our.term || (their.term === our.term && their.index >= our.index);",
        replace: "return their.index >= our.index;",
      },
    ],
  },
  {
    id: 5,
    title: "a follower cuts its log off at every append",
    edits: [
      {
        file: `${core}/log.js`,
        find: "const known = this.#countKnown(entries);",
        replace:
          "const known = Math.min(this.#countKnown(entries), Math.max(0, this.committed - previous.index));",
      },
    ],
  },
  {
    id: 6,
    title: "a follower takes the leader's commit index beyond the entries it was sent",
    edits: [
      {
        file: `${core}/log.js`,
        find: "this.commitTo(Math.min(leaderCommit, last));",
        replace: "this.commitTo(Math.min(leaderCommit, this.lastIndex()));",
      },
    ],
  },
  {
    id: 7,
    title: "match is taken from the hint of a refusal",
    edits: [
      {
        file: `${core}/step-leader.js`,
        find: "if (!progress.reject(m.index, hint))",
        replace: "progress.acknowledge(hint); if (!progress.reject(m.index, hint))",
      },
    ],
  },
  {
    id: 8,
    title: "committed entries are taken back on becoming follower",
    edits: [
      {
        file: `${core}/raft.js`,
        find: 'this.role = "follower";',
        replace: 'this.role = "follower"; this.log.committed = this.log.applied;',
      },
    ],
  },
  {
    id: 9,
    title: "the quorum's index is read from an unsorted list",
    edits: [
      {
        file: `${core}/quorum.js`,
        find: "insertDescending(sorted, acked(voter) ?? 0);",
        replace: "sorted.push(acked(voter) ?? 0);",
      },
    ],
  },
  {
    id: 10,
    title: "next may fall to match",
    edits: [
      {
        file: `${core}/progress.js`,
        find: "this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);",
        replace: "this.next = Math.max(Math.min(rejected, hint + 1), 1);",
      },
    ],
  },
  {
    id: 11,
    title: "a pre-candidate keeps the votes of an earlier round",
    edits: [
      {
        file: `${core}/raft.js`,
        after: "becomePreCandidate() {",
        find: "this.votes.clear();",
        replace: "",
      },
    ],
  },
  {
    id: 12,
    title: "a pre-vote is refused for as long as a leader is remembered",
    edits: [
      {
        file: `${core}/step.js`,
        find: "return checkQuorum && r.leader !== none && r.electionElapsed < electionTick;",
        replace: "return checkQuorum && r.leader !== none;",
      },
      {
        file: `${core}/raft.js`,
        after: "becomePreCandidate() {",
        find: "this.leader = none;",
        replace: "",
      },
    ],
  },
  {
    id: 13,
    title: "granting a pre-vote resets the election timer",
    edits: [
      {
        file: `${core}/election.js`,
        find: "r.send({ type, to: request.from, term: request.term });",
        replace: "r.send({ type, to: request.from, term: request.term }); r.electionElapsed = 0;",
      },
    ],
  },
  {
    id: 14,
    title: "a transfer of leadership does not go past pre-vote and lease",
    edits: [
      {
        file: `${core}/step-follower.js`,
        find: 'startElection(r, "transfer");',
        replace: 'startElection(r, "pre-election");',
      },
    ],
  },
  {
    id: 15,
    title: "an answer to an earlier heartbeat confirms later reads",
    edits: [
      {
        file: `${core}/read-index.js`,
        find: "this.#acknowledged.set(from, position);",
        replace: "this.#acknowledged.set(from, this.position());",
      },
    ],
  },
  {
    id: 16,
    title: "a new leader answers reads before it has committed in its term",
    edits: [{ file: `${core}/reads.js`, find: "if (r.committedInTerm)", replace: "if (true)" }],
  },
  {
    id: 17,
    title: "reads by lease under clocks that drift",
    edits: [
      {
        file: "manager/raft/raft-node.js",
        find: 'readOnlyOption: "safe",',
        replace: 'readOnlyOption: "lease-based",',
      },
    ],
  },
  {
    id: 18,
    title: "a change of members is accepted while another one is pending",
    edits: [
      {
        file: `${core}/proposal.js`,
        find: "if (pendingConfIndex > r.log.applied) {",
        replace: "if (false) {",
      },
    ],
  },
  {
    id: 19,
    title: "the joint phase needs only the new majority",
    edits: [
      {
        file: `${core}/replication.js`,
        find: "const index = jointIndex(conf.voters, conf.votersOutgoing, (id) => progress.get(id)?.match);",
        replace: "const index = jointIndex(conf.voters, [], (id) => progress.get(id)?.match);",
      },
    ],
  },
  {
    id: 20,
    title: "what a learner has stored counts",
    edits: [
      {
        file: `${core}/replication.js`,
        find: "const index = jointIndex(conf.voters, conf.votersOutgoing, (id) => progress.get(id)?.match);",
        replace:
          "const index = jointIndex([...progress.keys()], [], (id) => progress.get(id)?.match);",
      },
    ],
  },
  {
    id: 21,
    title: "the end of the joint phase is checked against the wrong pending index",
    edits: [
      {
        file: `${core}/proposal.js`,
        find: "if (r.log.applied < r.pendingConfIndex)",
        replace: "if (r.log.lastIndex() > r.pendingConfIndex)",
      },
    ],
  },
  {
    id: 22,
    title: "the configuration is not taken from a snapshot",
    edits: [
      {
        file: `${core}/membership.js`,
        find: "switchTo(r, membersFromConfState(confState, { lastIndex: index, limits: r.config }));",
        replace: "",
      },
    ],
  },
  {
    id: 23,
    title: "the log is kept although it differs at the index of the snapshot",
    edits: [
      {
        file: `${core}/membership.js`,
        find: "if (r.log.matches(index, term)) {",
        replace: "if (index <= r.log.lastIndex()) {",
      },
    ],
  },
  {
    id: 24,
    title: "the log is compacted beyond the durable checkpoint",
    edits: [
      {
        file: "manager/raft/raft-node.js",
        find: "const upTo = Math.min(index, this.#applies.appliedIndex, this.status().applied);",
        replace: "const upTo = Math.min(this.#applies.appliedIndex, this.status().applied);",
      },
    ],
  },
  {
    id: 25,
    title: "an acknowledgement of an overwritten entry marks the newer one stable",
    edits: [
      { file: `${core}/ready.js`, find: "term: r.term,", replace: "term: 0," },
      {
        file: `${core}/unstable.js`,
        find: "if (this.entry(index).term !== upTo.term) {",
        replace: "if (false) {",
      },
    ],
  },
  {
    id: 26,
    title: "messages of lower terms are processed",
    edits: [
      {
        file: `${core}/step.js`,
        find: "else if (m.term < r.term && m.term !== 0) {",
        replace: "else if (false) {",
      },
    ],
  },
  {
    id: 27,
    title: "removed members disrupt the group by their terms",
    edits: [
      { file: "manager/raft/raft-node.js", find: "preVote: true,", replace: "preVote: false," },
      {
        file: `${core}/step.js`,
        find: "return checkQuorum && r.leader !== none && r.electionElapsed < electionTick;",
        replace: "return false;",
      },
    ],
  },
  {
    id: 28,
    title: "bytes in flight leak when a window is reset",
    edits: [{ file: `${core}/inflights.js`, find: "this.#bytes = 0;", replace: "" }],
  },
  {
    id: 29,
    title: "a repeated proposal is applied twice",
    edits: [
      {
        file: "manager/state/apply.js",
        find: "const verdict = state.clients.verdict(clientId, sequence);",
        replace: 'const verdict = "unseen";',
      },
    ],
  },
  {
    id: 30,
    title: "applying uses randomness",
    edits: [
      {
        file: "manager/state/apply.js",
        find: "const place = { index, term, timeMs: decoded.timeMs };",
        replace:
          "const place = { index, term, timeMs: decoded.timeMs + Math.floor(Math.random() * 1000) };",
      },
    ],
  },
  {
    id: 31,
    title: "a member that lost its log goes on under its old id",
    edits: [
      {
        file: "manager/raft/recovery.js",
        after: "const loss = lossOf(facts);",
        find: "if (loss === undefined)",
        replace: "if (true)",
      },
    ],
  },
  {
    id: 32,
    title: "the commit index is stored ahead of what is committed, and trusted at the start",
    edits: [
      {
        file: "manager/raft/persister.js",
        find: "hardState = hardStateOfAppend(append) ?? hardState;",
        replace:
          "hardState = hardStateOfAppend(append) ?? hardState; if (hardState !== undefined && append.entries.length > 0) hardState = { ...hardState, commit: append.entries.at(-1).index };",
      },
    ],
  },
  {
    id: 33,
    title: "votes are asked for before term and own vote are durable",
    edits: [
      {
        file: "manager/raft/raft-node.js",
        find: "this.#holdVotes(ready.messages.filter(isVote));",
        replace: "for (const vote of ready.messages.filter(isVote)) this.#dispatch(vote);",
      },
    ],
  },
];

/** A file's text with the edit made. @throws Error when the text to change is not there, or not once. */
export function edited(text: string, edit: Edit): string {
  const from = edit.after === undefined ? 0 : text.indexOf(edit.after);
  const at = from < 0 ? -1 : text.indexOf(edit.find, from);
  if (at < 0) throw new Error(`${edit.file} has no "${edit.find}"`);
  if (edit.after === undefined && text.indexOf(edit.find, at + 1) >= 0) {
    throw new Error(`${edit.file} has "${edit.find}" more than once`);
  }
  return text.slice(0, at) + edit.replace + text.slice(at + edit.find.length);
}
