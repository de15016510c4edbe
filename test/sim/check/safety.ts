/**
 * Watches everything all members do and store, and ends the history at the first step that breaks a property of Raft.
 *
 * It sees more than any member can: all logs, all disks, all votes ever stored. Checks cost constant time per event;
 * they rest on `ChainTree`, in which equal logs are the same object. Members are known by their Raft id, which a machine
 * loses together with its disk.
 */
import {
  type ConfChange,
  type ConfState,
  type Entry,
  emptyConfState,
  type HardState,
  type Message,
  none,
  type ProgressStatus,
  type Role,
} from "../../../manager/raft/core/types.ts";
import { ChainLog, ChainTree, root, type Spot } from "./chain.ts";
import {
  configurationAfter,
  configurationText,
  hasQuorum,
  isIn,
  sameConfiguration,
} from "./configuration.ts";
import { Violation } from "./violation.ts";

/** What is known of one member. */
class Watched {
  readonly id: number;
  /** The log as the core has it, stored or not; as of this life of the process. */
  readonly log = new ChainLog();
  /** The log on disk. */
  readonly disk = new ChainLog();
  diskTerm = 0;
  diskVote = none;
  role: Role = "follower";
  term = 0;
  commit = 0;
  applied = 0;
  conf: ConfState = emptyConfState;
  /** Who granted a pre-vote in the present round, and since work was last taken from the core. */
  granted = new Set<number>();
  grantedLately = new Set<number>();
  /** Whether it stands for election without having asked, as the leader wants. */
  toldToLead = false;
  /** Configuration changes up to this index are in force at this member. */
  changedTo = 0;

  constructor(id: number) {
    this.id = id;
  }
}

/** All checks that are made after each event. */
export class Safety {
  readonly #tree = new ChainTree();
  readonly #members = new Map<number, Watched>();
  readonly #leaders = new Map<number, number>();
  /** By term: whom each member stored a vote for. */
  readonly #votes = new Map<number, Map<number, number>>();
  /** By index: what is committed. */
  readonly #committed: Spot[] = [root];
  /** By term of the leader that committed: the highest index it did. */
  readonly #committedIn: { readonly term: number; index: number }[] = [];
  /** By index: what applying the entry did. */
  readonly #effects: string[] = [];
  /** The configurations in force, by the index they came with. */
  readonly #configurations: { readonly index: number; readonly conf: ConfState }[] = [];
  /** Called when a configuration comes into force for the first time, with the one before. */
  onConfiguration: ((before: ConfState, after: ConfState) => void) | undefined;
  /** Changes of leadership so far. */
  leaderChanges = 0;

  /** The newest configuration any member has applied. */
  get configuration(): ConfState {
    return this.#configurations[this.#configurations.length - 1]?.conf ?? emptyConfState;
  }

  /** Highest index known to be committed. */
  get committedIndex(): number {
    return this.#committed.length - 1;
  }

  /** A group begins with this configuration behind this place; the logs of `ids` are empty there. */
  bootstrapped(conf: ConfState, place: { readonly index: number; readonly term: number }): void {
    this.#configurations.push({ index: place.index, conf });
    const spot = this.#tree.plant(place);
    for (let index = 1; index <= place.index; index++) this.#committed[index] = spot;
    const ids = [...conf.voters, ...conf.votersOutgoing, ...conf.learners];
    for (const id of ids) this.#watched(id).disk.restore(spot);
  }

  /**
   * The process of a member starts from its disk.
   *
   * @param state What its core begins with; `changedTo` is the index its configuration is valid at, `applied` what its
   *   state machine has.
   */
  started(
    id: number,
    state: {
      readonly hard: HardState;
      readonly conf: ConfState;
      readonly changedTo: number;
      readonly applied: number;
    },
  ): void {
    const member = this.#watched(id);
    member.log.copyFrom(member.disk);
    member.role = "follower";
    member.term = state.hard.term;
    member.commit = state.hard.commit;
    member.applied = state.applied;
    member.changedTo = state.changedTo;
    if (state.hard.commit > member.log.last.index) {
      throw new Violation("hole in the log", `member ${id} trusts a commit index past its log`);
    }
    this.#checkCommitted(member, state.hard.commit);
    this.checkConfiguration(id, state.conf, state.changedTo);
  }

  /** The core of a member handed out entries to be stored. */
  appended(id: number, entries: readonly Entry[]): void {
    const member = this.#watched(id);
    const first = entries[0];
    if (first === undefined) return;
    if (member.role === "leader" && first.index <= member.log.last.index) {
      throw new Violation(
        "leader append-only",
        `leader ${id} of term ${member.term} replaced entry ${first.index}`,
      );
    }
    if (first.index <= member.commit) {
      throw new Violation(
        "commit monotonic",
        `member ${id} replaced entry ${first.index}, committed to ${member.commit}`,
      );
    }
    if (member.role === "leader") this.#checkChanges(member, entries);
    member.log.append(this.#tree, entries);
  }

  /** The core of a member handed out a snapshot to be installed. */
  restored(id: number, snapshot: { readonly index: number; readonly term: number }): void {
    const member = this.#watched(id);
    const spot = this.#snapshotSpot(id, snapshot);
    member.log.restore(spot);
    member.changedTo = Math.max(member.changedTo, snapshot.index);
  }

  /** A write of a member's hard state and entries is durable. */
  stored(
    id: number,
    write: {
      readonly hard: HardState | undefined;
      readonly snapshot: { readonly index: number; readonly term: number } | undefined;
      readonly entries: readonly Entry[];
    },
  ): void {
    const member = this.#watched(id);
    if (write.hard !== undefined) this.#storeHard(member, write.hard);
    if (write.snapshot !== undefined) member.disk.restore(this.#snapshotSpot(id, write.snapshot));
    member.disk.append(this.#tree, write.entries);
  }

  /** What a member's disk really holds at a start; a fault may have taken something away. */
  reread(
    id: number,
    log: {
      readonly anchor: { readonly index: number; readonly term: number };
      readonly entries: readonly Entry[];
    },
  ): void {
    const base = this.#tree.find(log.anchor.index, log.anchor.term);
    if (base === undefined) throw new Violation("hole in the log", `member ${id} begins nowhere`);
    const { disk } = this.#watched(id);
    disk.restore(base);
    disk.append(this.#tree, log.entries);
  }

  /** The log on a member's disk was cut off up to `index`. */
  compacted(id: number, index: number): void {
    this.#watched(id).disk.compact(index);
  }

  /** The member's process learnt that its log is cut off up to `index`. */
  forgot(id: number, index: number): void {
    this.#watched(id).log.compact(index);
  }

  /** The core of a member took an answer that grants its pre-vote. */
  preVoteGranted(id: number, from: number): void {
    this.#watched(id).grantedLately.add(from);
  }

  /** The core of a member stands for election because the leader told it to, without a pre-vote. */
  toldToLead(id: number): void {
    this.#watched(id).toldToLead = true;
  }

  /** Work is taken from the core of a member; `asks` says that it asks for pre-votes anew. */
  workTaken(id: number, asks: boolean): void {
    const member = this.#watched(id);
    if (asks) member.granted = new Set();
    if (member.grantedLately.size === 0) return;
    for (const from of member.grantedLately) member.granted.add(from);
    member.grantedLately.clear();
  }

  /** The core of a member said that its role or its hard state changed; comes before what it hands out to be stored. */
  changed(
    id: number,
    change: { readonly role: Role | undefined; readonly hard: HardState | undefined },
  ): void {
    const member = this.#watched(id);
    const wasLeader = member.role === "leader";
    const { hard, role } = change;
    if (hard !== undefined && hard.term < member.term) {
      throw new Violation("term and vote monotonic", `the term of member ${id} fell`);
    }
    const newTerm = hard !== undefined && hard.term > member.term;
    if (hard !== undefined) member.term = hard.term;
    if (role === "candidate" && member.role === "pre-candidate" && !member.toldToLead) {
      if (!hasQuorum(member.conf, (voter) => member.granted.has(voter))) {
        throw new Violation(
          "quorum of an election",
          `member ${id} stands for term ${member.term} with pre-votes of ${[...member.granted]} only`,
        );
      }
    }
    member.toldToLead = false;
    if (role !== undefined) member.role = role;
    if (member.role === "leader" && (!wasLeader || newTerm)) this.#becameLeader(member);
  }

  /** The core of a member told its commit index; comes after what it hands out to be stored. */
  committed(id: number, commit: number): void {
    this.#commit(this.#watched(id), commit);
  }

  /** A message that waited for a write leaves for another member. */
  released(id: number, message: Message): void {
    const { type, term, to } = message;
    const member = this.#watched(id);
    if (message.reject) return;
    if (type === "vote-resp") {
      const stored = this.#votes.get(term)?.get(id);
      if (stored === to) return;
      if (stored === undefined && member.diskTerm > term) {
        // One write took in a later term as well; it keeps the member from voting in this one again.
        this.#noteVote(member, term, to);
        return;
      }
      throw new Violation(
        "released before durable",
        `member ${id} told ${to} of a vote in term ${term} that is not on its disk`,
      );
    }
    if (type !== "app-resp" || member.diskTerm > term || message.index === 0) return;
    if (member.diskTerm === term && member.disk.last.index >= message.index) return;
    throw new Violation(
      "released before durable",
      `member ${id} acknowledged entry ${message.index} in term ${term}; its disk ends at ${member.disk.last.index} in term ${member.diskTerm}`,
    );
  }

  /** A member asks another one for its vote; what it stands with has to outlive a crash. */
  asked(id: number, { type, term }: Message): void {
    if (type !== "vote" || this.#watched(id).diskTerm >= term) return;
    throw new Violation(
      "released before durable",
      `member ${id} asked for votes in term ${term}, which is not on its disk`,
    );
  }

  /** A leader took an answer of member `from`, or of its own disk; `progress` is what it believes now. */
  acknowledged(id: number, from: number, progress: ProgressStatus): void {
    const { match, next, inflightMsgs, inflightBytes } = progress;
    if (match >= next) throw new Violation("next beyond match", `${match} >= ${next} of ${from}`);
    if (inflightMsgs === 0 && inflightBytes !== 0) {
      throw new Violation("flow control", `${inflightBytes} bytes in flight without a message`);
    }
    const leader = this.#watched(id);
    const peer = this.#watched(from);
    if (match === 0 || peer.diskTerm > leader.term) return;
    // A member that wins before its own vote is durable takes its whole log for stored. Nothing is committed by that: only
    // entries of its own term count, and those come after.
    if (from === id && leader.log.at(match)?.term !== leader.term) return;
    const spot = leader.log.at(match);
    if (spot !== undefined ? peer.disk.holds(spot) : peer.disk.last.index >= match) return;
    throw new Violation(
      "match beyond the durable log",
      `leader ${id} of term ${leader.term} believes that ${from} stored entry ${match}; its disk ends at ${peer.disk.last.index}`,
    );
  }

  /**
   * A member applied an entry.
   *
   * @param effect What it did to the state, as text.
   */
  applied(id: number, entry: Entry, effect: string): void {
    const member = this.#watched(id);
    const { index, term } = entry;
    if (index > member.commit) {
      throw new Violation("state-machine safety", `member ${id} applied ${index} uncommitted`);
    }
    if (index !== member.applied + 1) {
      throw new Violation(
        "state-machine safety",
        `member ${id} applied ${index} after ${member.applied}`,
      );
    }
    member.applied = index;
    const spot = this.#committed[index];
    if (spot === undefined || spot.term !== term) {
      throw new Violation("state-machine safety", `member ${id} applied another entry ${index}`);
    }
    const known = this.#effects[index];
    if (known === undefined) this.#effects[index] = effect;
    else if (known !== effect) {
      throw new Violation(
        "state-machine safety",
        `entry ${index} did "${effect}" at member ${id}, "${known}" elsewhere`,
      );
    }
  }

  /** A member installed a snapshot into its state machine. */
  installed(id: number, index: number): void {
    const member = this.#watched(id);
    if (index < member.applied) {
      throw new Violation(
        "state-machine safety",
        `member ${id} went back from ${member.applied} to a snapshot at ${index}`,
      );
    }
    member.applied = index;
  }

  /** A member put a configuration change into force, or refused it (`result` undefined). */
  reconfigured(id: number, index: number, change: ConfChange, result: ConfState | undefined): void {
    const before = this.#configurationAt(index - 1);
    const expected = configurationAfter(before, change) ?? before;
    const last = this.#configurations[this.#configurations.length - 1];
    if (last !== undefined && last.index < index) {
      this.#configurations.push({ index, conf: expected });
      this.onConfiguration?.(before, expected);
    }
    const member = this.#watched(id);
    if (result !== undefined) member.conf = result;
    member.changedTo = Math.max(member.changedTo, index);
    if (!sameConfiguration(member.conf, expected)) {
      throw new Violation(
        "configuration",
        `member ${id} has ${configurationText(member.conf)} at ${index}; it should be ${configurationText(expected)}`,
      );
    }
  }

  /** Checks the configuration a member begins with, after a start or with a snapshot. */
  checkConfiguration(id: number, conf: ConfState, index: number): void {
    const expected = this.#configurationAt(index);
    this.#watched(id).conf = conf;
    if (index === 0 && conf.voters.length === 0) return;
    const isLater = this.#configurations.some(
      (c) => c.index >= index && sameConfiguration(c.conf, conf),
    );
    if (sameConfiguration(conf, expected) || isLater) return;
    throw new Violation(
      "configuration",
      `member ${id} starts with ${configurationText(conf)} at ${index}; it should be ${configurationText(expected)}`,
    );
  }

  /** Whether `id` was in any configuration that came into force. */
  wasMember(id: number): boolean {
    return this.#configurations.some(({ conf }) => isIn(conf, id));
  }

  /** Whether any log holds a change of the configuration that is not in force yet. */
  get hasChangeUnderWay(): boolean {
    const from = this.#configurations[this.#configurations.length - 1]?.index ?? 0;
    for (const { log, disk } of this.#members.values()) {
      for (const chain of [log, disk]) {
        for (let index = chain.last.index; index > from; index--) {
          if (chain.at(index)?.entry?.type === "conf-change") return true;
        }
      }
    }
    return false;
  }

  /** What applying each entry did, by index; absent below the first one. */
  get effects(): readonly (string | undefined)[] {
    return this.#effects;
  }

  #watched(id: number): Watched {
    let member = this.#members.get(id);
    if (member === undefined) {
      member = new Watched(id);
      this.#members.set(id, member);
    }
    return member;
  }

  #snapshotSpot(
    id: number,
    { index, term }: { readonly index: number; readonly term: number },
  ): Spot {
    const spot = this.#tree.find(index, term);
    if (spot !== undefined && this.#committed[index] === spot) return spot;
    throw new Violation(
      "state-machine safety",
      `member ${id} takes a snapshot at ${index} of term ${term}, which is not committed`,
    );
  }

  #storeHard(member: Watched, { term, vote }: HardState): void {
    if (term < member.diskTerm) {
      throw new Violation("term and vote monotonic", `the stored term of ${member.id} fell`);
    }
    member.diskTerm = term;
    member.diskVote = vote;
    if (vote !== none) this.#noteVote(member, term, vote);
  }

  #noteVote(member: Watched, term: number, vote: number): void {
    const votes = this.#votes.get(term) ?? new Map<number, number>();
    this.#votes.set(term, votes);
    const before = votes.get(member.id);
    if (before !== undefined && before !== vote) {
      throw new Violation(
        "term and vote monotonic",
        `member ${member.id} voted for ${before} and for ${vote} in term ${term}`,
      );
    }
    votes.set(member.id, vote);
  }

  #becameLeader(member: Watched): void {
    const { id, term } = member;
    const other = this.#leaders.get(term);
    if (other !== undefined && other !== id) {
      throw new Violation("election safety", `term ${term} has the leaders ${other} and ${id}`);
    }
    if (other === undefined) this.leaderChanges++;
    this.#leaders.set(term, id);
    const votes = this.#votes.get(term);
    if (!hasQuorum(member.conf, (voter) => votes?.get(voter) === id)) {
      throw new Violation(
        "quorum of an election",
        `member ${id} leads term ${term} without a quorum of ${configurationText(member.conf)}`,
      );
    }
    const must = this.#committed[this.#committedBefore(term)];
    if (must === undefined || member.log.holds(must)) return;
    throw new Violation(
      "leader completeness",
      `leader ${id} of term ${term} lacks entry ${must.index}, which is committed`,
    );
  }

  /** Highest index that leaders of lower terms have committed. */
  #committedBefore(term: number): number {
    let index = 0;
    for (const one of this.#committedIn) {
      if (one.term < term) index = Math.max(index, one.index);
    }
    return index;
  }

  #commit(member: Watched, commit: number): void {
    if (commit < member.commit) {
      throw new Violation(
        "commit monotonic",
        `the commit index of member ${member.id} fell from ${member.commit} to ${commit}`,
      );
    }
    if (commit === member.commit) return;
    member.commit = commit;
    if (member.role === "leader") this.#leaderCommits(member, commit);
    this.#checkCommitted(member, commit);
  }

  #leaderCommits(member: Watched, commit: number): void {
    const spot = member.log.at(commit);
    if (spot === undefined) return;
    const quorum = hasQuorum(member.conf, (id) => this.#members.get(id)?.disk.holds(spot) === true);
    if (!quorum && commit > this.committedIndex) {
      throw new Violation(
        "quorum of a commit",
        `leader ${member.id} of term ${member.term} committed entry ${commit} without a quorum of ${configurationText(member.conf)}`,
      );
    }
    if (spot.term !== member.term) {
      throw new Violation(
        "leader completeness",
        `leader ${member.id} of term ${member.term} committed entry ${commit} of term ${spot.term} by counting`,
      );
    }
    this.#extend(spot);
    const last = this.#committedIn.find((one) => one.term === member.term);
    if (last === undefined) this.#committedIn.push({ term: member.term, index: commit });
    else last.index = Math.max(last.index, commit);
  }

  /** Takes over what is newly committed, walking back to what is known. */
  #extend(spot: Spot): void {
    const from = this.#committed.length;
    let at: Spot | undefined = spot;
    while (at !== undefined && at.index >= from) {
      this.#committed[at.index] = at;
      at = at.previous;
    }
    if (spot.index < from) return;
    if (at !== this.#committed[from - 1]) {
      throw new Violation("state-machine safety", `a leader's log differs below ${from}`);
    }
  }

  #checkCommitted(member: Watched, commit: number): void {
    const spot = this.#committed[commit];
    if (spot !== undefined && member.log.holds(spot)) return;
    throw new Violation(
      "state-machine safety",
      `member ${member.id} takes entry ${commit} for committed, which ${spot === undefined ? "is not" : "is another"}`,
    );
  }

  #checkChanges(member: Watched, entries: readonly Entry[]): void {
    for (const { type, index } of entries) {
      if (type !== "conf-change") continue;
      for (let at = index - 1; at > member.changedTo; at--) {
        const before = member.log.at(at) ?? undefined;
        const entry = before?.entry ?? entries.find((one) => one.index === at);
        if (entry?.type !== "conf-change") continue;
        throw new Violation(
          "one unapplied change of voters",
          `leader ${member.id} appended a change at ${index}; that at ${at} is not applied`,
        );
      }
    }
  }

  #configurationAt(index: number): ConfState {
    let found = emptyConfState;
    for (const one of this.#configurations) if (one.index <= index) found = one.conf;
    return found;
  }
}
