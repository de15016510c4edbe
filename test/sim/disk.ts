/**
 * The disk of a simulated machine: what is durable, how long writes take, and what a crash leaves of them.
 *
 * Two databases, as on a real manager: the Raft log and the checkpoint of the state; beside them the floor file. Writes
 * to one database happen one after the other, each all or nothing. A crash loses what has not been written, except that
 * the write under way may have reached the disk without anybody having been told.
 */
import type { Entry, HardState } from "../../manager/raft/core/types.ts";
import type { Frozen } from "../../manager/state/state.ts";
import { RaftSnapshotMeta } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { FaultCounts } from "./faults.ts";
import { between } from "./parameters.ts";
import { type EventQueue, milliseconds } from "./queue.ts";

/** Place of an entry. */
export interface Place {
  readonly index: number;
  readonly term: number;
}

/** What the log database holds. */
export interface LogImage {
  readonly raftId: number;
  readonly anchor: Place;
  readonly entries: readonly Entry[];
  readonly hardState: HardState;
  readonly config: RaftSnapshotMeta;
  readonly pending: RaftSnapshotMeta | undefined;
  /** Set when a value no longer fits its checksum. */
  readonly damaged: boolean;
}

/** What the floor file says. */
export interface FloorImage {
  readonly raftId: number;
  readonly replaces: number;
  readonly place: Place;
  readonly term: number;
  readonly vote: number;
}

/** The log of a machine that was never used. */
export const blankLog: LogImage = {
  raftId: 0,
  anchor: { index: 0, term: 0 },
  entries: [],
  hardState: { term: 0, vote: 0, commit: 0 },
  config: RaftSnapshotMeta.create({}),
  pending: undefined,
  damaged: false,
};

const blankFloor: FloorImage = {
  raftId: 0,
  replaces: 0,
  place: { index: 0, term: 0 },
  term: 0,
  vote: 0,
};

/** What is written as one piece. */
export interface DiskWrite {
  /** Whether it puts entries into the log, the kind of write that may tear. */
  readonly database: "log" | "floor" | "checkpoint";
  readonly apply: () => void;
}

interface Pending {
  readonly write: DiskWrite;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** One disk; outlives the processes that use it. */
export class Disk {
  log: LogImage = blankLog;
  floor: FloorImage = blankFloor;
  checkpoint: Frozen | undefined;
  /** How many times slower than usual. */
  slowness = 1;
  /** Whether writes wait for space. */
  full = false;
  /** Whether the next sync fails. */
  failsNext = false;
  /** An earlier state of the log database, to which a fault may take it back. */
  image: LogImage = blankLog;
  /** Write that is on its way. */
  #pending: Pending[] = [];
  #busy = false;
  #life = 0;
  readonly #latency: number;
  readonly #queue: EventQueue;
  readonly #random: Random;
  readonly #faults: FaultCounts;

  constructor(parts: {
    queue: EventQueue;
    random: Random;
    faults: FaultCounts;
    latency: number;
  }) {
    this.#queue = parts.queue;
    this.#random = parts.random;
    this.#faults = parts.faults;
    this.#latency = parts.latency;
  }

  /** Which process the disk takes writes of; counts crashes. */
  get life(): number {
    return this.#life;
  }

  /**
   * Writes one piece; resolves once it is durable, rejects when the sync failed.
   *
   * @param life The life the writing process began in; what a dead one still had in mind is not heard of any more.
   */
  write(write: DiskWrite, life: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (life !== this.#life) return;
      this.#pending.push({ write, resolve, reject });
      this.#start();
    });
  }

  /** Whether a write is on its way. */
  get isWriting(): boolean {
    return this.#pending.length > 0;
  }

  /** Ends all writes as a loss of power does. */
  crash(): void {
    this.#life++;
    this.#busy = false;
    const first = this.#pending[0];
    this.#pending = [];
    if (first === undefined) return;
    this.#faults.struck("crash in a write");
    const fate = this.#random.float();
    if (this.full) return;
    if (fate < 0.4) {
      this.#faults.struck("write kept though unacknowledged");
      first.write.apply();
    } else if (fate < 0.7) {
      // Half of it is there; its checksum does not fit and it is ignored at the next start.
      this.#faults.struck("torn write");
    }
  }

  /** Goes on with writes that waited for space. */
  spaceReturned(): void {
    this.full = false;
    this.#start();
  }

  /** Forgets everything. */
  empty(): void {
    this.crash();
    this.log = blankLog;
    this.floor = blankFloor;
    this.checkpoint = undefined;
    this.image = blankLog;
  }

  #start(): void {
    const first = this.#pending[0];
    if (this.#busy || first === undefined || this.full) return;
    this.#busy = true;
    const life = this.#life;
    const time = this.#latency * this.slowness * between(this.#random, 0.5, 1.5);
    this.#queue.after(Math.max(1, Math.round(Math.min(time, milliseconds(2_000)))), () => {
      if (life === this.#life) this.#finish(first);
    });
  }

  #finish(done: Pending): void {
    this.#busy = false;
    if (this.full) return;
    this.#pending.shift();
    if (this.failsNext) {
      this.failsNext = false;
      this.#faults.struck("failing sync");
      // What a failed sync leaves is anybody's guess.
      if (this.#random.float() < 0.5) done.write.apply();
      done.reject(new ClusterError("internal", "the disk could not sync"));
    } else {
      done.write.apply();
      done.resolve();
    }
    this.#start();
  }
}
