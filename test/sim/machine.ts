/**
 * One simulated machine: a disk, a clock, and at most one manager process with the daemon's own Raft driver.
 *
 * The process is put together as `manager/raft/worker.ts` and the main thread do it: the same decision at the start, the
 * same order of writes, committed batches handed to the state machine in order and acknowledged, checkpoints before
 * compaction, snapshots installed durably before the core hears of them.
 */

import type { ConfState, Entry, Message } from "../../manager/raft/core/types.ts";
import { metaFromMembership } from "../../manager/raft/membership.ts";
import { RaftNode } from "../../manager/raft/raft-node.ts";
import { bootstrapIndex, decideStart } from "../../manager/raft/recovery.ts";
import type { RaftStorage } from "../../manager/raft/storage.ts";
import { snapshotFromMeta } from "../../manager/raft/wire.ts";
import { type Frozen, State } from "../../manager/state/state.ts";
import { type RaftMember, RaftSnapshotMeta } from "../../src/common/api/generated/api.ts";
import { silentLog } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { configurationText } from "./check/configuration.ts";
import type { Safety } from "./check/safety.ts";
import { Violation } from "./check/violation.ts";
import { blankLog, Disk } from "./disk.ts";
import type { FaultCounts } from "./faults.ts";
import { MainSide, type SnapshotBytes, snapshotOf, stateOf } from "./main-side.ts";
import type { Network } from "./network.ts";
import type { Observer } from "./observer.ts";
import { between, type Parameters } from "./parameters.ts";
import { type EventQueue, milliseconds } from "./queue.ts";
import { SimStorage } from "./sim-storage.ts";

/** What a machine needs of the world around it. */
export interface Surroundings {
  readonly queue: EventQueue;
  readonly network: Network;
  readonly parameters: Parameters;
  readonly faults: FaultCounts;
  readonly safety: Safety;
  readonly observer: Observer;
  readonly machines: readonly Machine[];
  randomFor(part: string): Random;
  machineOf(raftId: number): Machine | undefined;
  /** The disk has lost what the member had promised to keep: prepares it for another member. */
  startOver(machine: Machine): void;
  /** The running member found out that its log is shorter than others rely on. */
  lost(machine: Machine): void;
  /** The process ended itself. */
  failed(machine: Machine, error: unknown): void;
  /** Applies an entry to the state of a member. */
  applied(raftId: number, entry: Entry, main: MainSide): void;
}

/** What a running process consists of. */
export interface Process {
  readonly node: RaftNode;
  readonly main: MainSide;
  readonly storage: SimStorage;
  /** When the main thread has done what it was given. */
  mainBusyUntil: number;
  /** Set once it has applied its own removal. */
  removed: boolean;
}

/** A machine; `number` is its address. */
export class Machine {
  readonly number: number;
  readonly disk: Disk;
  process: Process | undefined;
  /** Id of the member on this machine's disk. */
  raftId = 0;
  /** The member whose place this one is to take; 0 when it joins as an additional one. */
  replaces = 0;
  /** Whether the machine should be in the group. */
  wanted = false;
  /** Whether its disk has lost something, which shows at the next start. */
  isDoomed = false;
  /** How fast its clock runs. */
  clockRate: number;
  /** Difference of its wall clock to the true time, in milliseconds. */
  clockOffset = 0;
  /** How long its main thread takes for a batch. */
  mainSlowness = 1;
  readonly #world: Surroundings;
  readonly #random: Random;
  #paused = false;
  #held: (() => void)[] = [];
  #life = 0;

  constructor(world: Surroundings, number: number) {
    this.#world = world;
    this.number = number;
    this.#random = world.randomFor(`machine ${number}`);
    const { queue, faults, parameters } = world;
    this.clockRate = parameters.clockRates[number] ?? 1;
    const latency = parameters.diskLatencies[number] ?? milliseconds(1);
    this.disk = new Disk({ queue, random: this.#random, faults, latency });
    this.#tick();
  }

  /** Puts the beginning of a new group on the disk. */
  bootstrap(raftId: number, conf: ConfState, members: readonly RaftMember[]): void {
    const anchor = { index: bootstrapIndex, term: 1 };
    this.raftId = raftId;
    this.disk.log = {
      ...blankLog,
      raftId,
      anchor,
      hardState: { term: 1, vote: 0, commit: bootstrapIndex },
      config: RaftSnapshotMeta.create({ index: anchor.index, term: 1, confState: conf, members }),
    };
    this.disk.image = this.disk.log;
    this.disk.floor = { raftId, replaces: 0, place: anchor, term: 1, vote: 0 };
    const state = new State();
    state.index = anchor.index;
    state.term = anchor.term;
    this.disk.checkpoint = state.freeze();
  }

  /** Prepares the disk for a member that is to join; `state` is what the one before has left. */
  begin(raftId: number, replaces: number, state?: Frozen): void {
    this.disk.empty();
    this.disk.checkpoint = state;
    this.isDoomed = false;
    this.raftId = raftId;
    this.replaces = replaces;
    this.disk.log = { ...blankLog, raftId };
    this.disk.floor = { ...this.disk.floor, raftId, replaces };
  }

  /** How the member is known to others. */
  get member(): RaftMember {
    return { raftId: this.raftId, nodeId: `node${this.number}`, address: `${this.number}` };
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  /** Starts the process from what is on the disk. */
  start(): void {
    if (this.process !== undefined || this.raftId === 0) return;
    this.#start().catch((error: unknown) => this.#world.failed(this, error));
  }

  async #start(): Promise<void> {
    const life = ++this.#life;
    const { disk } = this;
    const state =
      disk.checkpoint === undefined
        ? new State()
        : await stateOf(await snapshotOf(disk.checkpoint));
    if (life !== this.#life) return;
    this.#recover(state.index);
    this.#launch(disk.checkpoint === undefined ? new State() : state);
  }

  /** Does with the disk what the start of the daemon does; may begin anew under another id. */
  #recover(appliedIndex: number): void {
    const { disk } = this;
    const storage = new SimStorage(disk, this.#world.safety, 0);
    const { tail, config, pendingSnapshot: pending, loss } = storage;
    const plan = decideStart({
      // Whoever prepared the disk has begun the log.
      isNew: false,
      loss,
      firstIndex: tail.firstIndex(),
      lastIndex: tail.lastIndex(),
      members: config.members,
      pending,
      pendingTerm: pending && tail.term(pending.index),
      replacing: disk.floor.replaces !== 0,
      appliedIndex,
      self: `node${this.number}`,
      bootstrap: false,
      forceNewCluster: false,
      joinMembers: this.#world.machines.map((machine) => machine.member),
    });
    if (plan.kind === "finish-snapshot") this.#finishSnapshot(plan.meta);
    else if (plan.kind === "replace") {
      if (!this.isDoomed) {
        throw new Violation(
          "hole in the log",
          `member ${this.raftId} has lost data: ${plan.reason}`,
        );
      }
      this.#world.startOver(this);
    } else if (plan.kind !== "go-on" && plan.kind !== "join") {
      throw new Error(`unexpected plan ${plan.kind}`);
    }
  }

  #finishSnapshot(meta: RaftSnapshotMeta): void {
    const { log } = this.disk;
    const anchor = { index: meta.index, term: meta.term };
    const hardState = {
      ...log.hardState,
      term: Math.max(log.hardState.term, meta.term),
      commit: meta.index,
    };
    this.disk.log = { ...log, anchor, entries: [], hardState, config: meta, pending: undefined };
    this.#world.safety.stored(this.raftId, { hard: hardState, snapshot: anchor, entries: [] });
  }

  #launch(state: State): void {
    const { parameters, safety } = this.#world;
    const storage = new SimStorage(this.disk, safety, parameters.tailEntries);
    const main = new MainSide(state);
    const life = this.#life;
    // The driver hands over what the checkpoint lacks while it is being made.
    const early: (() => void)[] = [];
    const process: Process = {
      main,
      storage,
      mainBusyUntil: 0,
      removed: false,
      node: new RaftNode({
        raftId: this.raftId,
        // The members the driver uses are all there; the class cannot be named, as it has private parts.
        storage: storage as unknown as RaftStorage,
        appliedIndex: state.index,
        timing: {
          tickMs: parameters.tick / 1000,
          heartbeatTicks: parameters.heartbeatTick,
          electionTicks: parameters.electionTick,
        },
        random: this.#random,
        bounds: {
          maxSizePerMsg: parameters.sizeMaxPerMessage,
          maxInflightMsgs: parameters.inflightMax,
          maxInflightBytes: Math.max(parameters.sizeMaxPerMessage, parameters.inflightBytesMax),
          maxUncommittedEntriesSize: parameters.uncommittedBytesMax,
          maxCommittedSizePerReady: parameters.committedBytesMax,
        },
        log: silentLog,
        events: {
          send: (message) => this.#send(message, life),
          flush: () => {},
          sendSnapshot: (message) => this.#sendSnapshot(message),
          committed: ({ entries, lastIndex }) => {
            if (this.process === undefined) early.push(() => this.#commit(entries, lastIndex));
            else this.#commit(entries, lastIndex);
          },
          leadership: () => {},
          membership: () => {},
          removed: () => {
            process.removed = true;
          },
          lost: () => this.#guarded(life, () => this.#world.lost(this)),
          failed: (error) => this.#world.failed(this, error),
        },
      }),
    };
    this.process = process;
    const { term, vote, commit, confState, applied } = process.node.status();
    safety.reread(this.raftId, this.disk.log);
    this.#noteOldConfiguration(confState);
    safety.started(this.raftId, {
      hard: { term, vote, commit },
      conf: confState,
      changedTo: applied,
      applied: state.index,
    });
    for (const run of early) run();
    this.#periodically(milliseconds(1_000), () => this.#quietly(storage.settle()));
    this.#periodically(parameters.checkpointPeriod, () => this.#checkpoint());
  }

  #noteOldConfiguration(conf: ConfState): void {
    const { safety, faults } = this.#world;
    if (conf.voters.length === 0) return;
    if (configurationText(conf) !== configurationText(safety.configuration)) {
      faults.struck("old configuration");
    }
  }

  /** Ends the process as a loss of power does. */
  crash(): void {
    this.#life++;
    this.#held = [];
    this.#paused = false;
    this.disk.crash();
    const { process } = this;
    this.process = undefined;
    this.#world.observer.ended(this.raftId);
    if (process === undefined) return;
    process.main.watch.close();
    process.node.stop();
  }

  /** Stops the process in the middle of what it does; what arrives meanwhile waits. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    const held = this.#held;
    this.#held = [];
    for (const run of held) run();
  }

  /** Lets several ticks pass at once. */
  jump(ticks: number): void {
    for (let count = 0; count < ticks; count++) this.process?.node.tick();
  }

  /** Runs `job` in the process as it is now, unless that has ended by then. */
  later(delay: number, job: (process: Process) => void): void {
    const life = this.#life;
    this.#world.queue.after(Math.round(delay), () =>
      this.#guarded(life, () => {
        if (this.process !== undefined) job(this.process);
      }),
    );
  }

  /** Runs `job` once what the main thread was given before is done. */
  onMain(job: (process: Process) => void): void {
    const { process } = this;
    if (process === undefined) return;
    const { queue } = this.#world;
    const slow = this.mainSlowness;
    const at = queue.now + milliseconds(between(this.#random, 0.02, 0.2) * slow);
    process.mainBusyUntil = Math.max(at, process.mainBusyUntil + 1);
    this.later(process.mainBusyUntil - queue.now, job);
  }

  #guarded(life: number, run: () => void): void {
    if (life !== this.#life) return;
    if (this.#paused) this.#held.push(() => this.#guarded(life, run));
    else run();
  }

  #tick(): void {
    const { queue, parameters } = this.#world;
    queue.after(Math.round(parameters.tick / this.clockRate), () => {
      if (!this.#paused) this.process?.node.tick();
      this.#tick();
    });
  }

  #periodically(period: number, job: () => void): void {
    this.later(period * between(this.#random, 0.7, 1.3), () => {
      job();
      this.#periodically(period, job);
    });
  }

  #quietly(work: Promise<unknown>): void {
    const life = this.#life;
    work.catch((error: unknown) => {
      if (life === this.#life) this.#world.failed(this, error);
    });
  }

  #send(message: Message, life: number): void {
    const { network, safety } = this.#world;
    if (life !== this.#life) return;
    if (message.type === "app-resp" || message.type === "vote-resp") {
      safety.released(this.raftId, message);
    }
    safety.asked(this.raftId, message);
    const target = this.#world.machineOf(message.to);
    if (target === undefined) return;
    if (!network.isOpen(this.number, target.number) && this.#random.float() < 0.05) {
      this.later(milliseconds(1), ({ node }) => node.reportUnreachable(message.to));
    }
    network.send(this.number, target.number, () => target.receive(message));
  }

  /** Takes a message off the network. */
  receive(message: Message): void {
    if (message.to !== this.raftId) return;
    this.#guarded(this.#life, () => this.process?.node.step([message]));
  }

  #commit(entries: readonly Entry[], lastIndex: number): void {
    this.onMain(({ main, node }) => {
      for (const entry of entries) {
        if (entry.index <= main.state.index) continue;
        this.#world.applied(this.raftId, entry, main);
      }
      node.applied(lastIndex);
    });
  }

  #checkpoint(): void {
    const { process } = this;
    if (process === undefined) return;
    const frozen = process.main.state.freeze();
    const write = {
      database: "checkpoint" as const,
      apply: () => {
        this.disk.checkpoint = frozen;
      },
    };
    const life = this.#life;
    const done = this.disk.write(write, this.disk.life).then(() => {
      if (life === this.#life) return process.node.compact(frozen.index);
      return undefined;
    });
    this.#quietly(done);
    if (this.#random.float() < 0.3) this.disk.image = this.disk.log;
  }

  #sendSnapshot(message: Message): void {
    this.onMain(({ main, node }) => {
      const { faults } = this.#world;
      const { index, term } = main.state;
      const membership = node.membershipAt(index);
      const target = this.#world.machineOf(message.to);
      const failed = () => this.later(0, (now) => now.node.reportSnapshot(message.to, false));
      if (membership === undefined || target === undefined) {
        failed();
        return;
      }
      faults.struck("snapshot sent");
      const meta = metaFromMembership({ ...membership, index }, term);
      const carried: Message = { ...message, snapshot: snapshotFromMeta(meta) };
      const bytes = snapshotOf(main.state.freeze());
      const time = milliseconds(between(this.#random, 1, 300));
      let answered = false;
      const answer = (ok: boolean) => {
        if (answered) return;
        answered = true;
        this.later(0, (now) => now.node.reportSnapshot(message.to, ok));
      };
      this.later(milliseconds(4_000), () => answer(false));
      const { network } = this.#world;
      network.send(
        this.number,
        target.number,
        () => {
          target.receiveSnapshot(carried, bytes, (ok) =>
            network.send(target.number, this.number, () => answer(ok)),
          );
        },
        time,
      );
    });
  }

  /** Takes a snapshot off the network. */
  receiveSnapshot(
    message: Message,
    bytes: Promise<SnapshotBytes>,
    answer: (ok: boolean) => void,
  ): void {
    if (message.to !== this.raftId) return;
    const life = this.#life;
    this.later(0, ({ node }) => {
      node
        .installSnapshot(message, () => this.#install(life, bytes))
        .then(
          () => answer(true),
          () => answer(false),
        );
    });
  }

  #install(life: number, bytes: Promise<SnapshotBytes>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.onMain(({ main }) => {
        const work = async () => {
          const snapshot = await bytes;
          if (life !== this.#life) return;
          await main.install(snapshot);
          this.#world.safety.installed(this.raftId, snapshot.index);
          this.#world.faults.struck("snapshot installed");
          await this.#keepInstalled(main.state.freeze());
          if (life === this.#life) resolve();
        };
        work().catch(reject);
      });
    });
  }

  /** Writes a received state, again and again while the sync fails, as `manager/received-state.ts` does. */
  #keepInstalled(frozen: Frozen): Promise<void> {
    return new Promise((resolve) => {
      const write = {
        database: "checkpoint" as const,
        apply: () => {
          this.disk.checkpoint = frozen;
        },
      };
      const again = () => this.later(milliseconds(1_000), () => attempt());
      const attempt = () => this.disk.write(write, this.disk.life).then(resolve, again);
      attempt();
    });
  }
}
