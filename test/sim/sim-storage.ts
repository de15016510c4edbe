/**
 * The storage of a simulated member: the order of writes is that of `manager/raft/storage.ts`, on a simulated disk.
 *
 * What the real one does with records, checksums and seals is tested with real files; here it is taken as given: a write
 * is whole or absent, damage shows at the start, and the floor tells of a lost tail.
 */
import type { Entry, HardState, Snapshot } from "../../manager/raft/core/types.ts";
import { emptyConfState } from "../../manager/raft/core/types.ts";
import { LogTail } from "../../manager/raft/log-tail.ts";
import type { LogWrite, RaftStorage } from "../../manager/raft/storage.ts";
import type { RaftSnapshotMeta } from "../../src/common/api/generated/api.ts";
import type { Safety } from "./check/safety.ts";
import type { Disk, DiskWrite, LogImage, Place } from "./disk.ts";

/** What a member needs of its storage. */
export type MemberStorage = Pick<
  RaftStorage,
  | "raftId"
  | "loss"
  | "config"
  | "pendingSnapshot"
  | "hardState"
  | "tail"
  | "setSnapshotSource"
  | "write"
  | "settle"
  | "compact"
  | "notePendingSnapshot"
>;

/** Storage of one process. */
export class SimStorage implements MemberStorage {
  readonly loss: string | undefined;
  readonly tail: LogTail;
  hardState: HardState;
  readonly #disk: Disk;
  readonly #life: number;
  readonly #safety: Safety;
  readonly #tailEntries: number;
  readonly #start: LogImage;
  #isBroken = false;
  #work: Promise<unknown> = Promise.resolve();
  #snapshotSource: () => Snapshot | undefined = () => undefined;

  constructor(disk: Disk, safety: Safety, tailEntries: number) {
    this.#disk = disk;
    this.#life = disk.life;
    this.#safety = safety;
    this.#tailEntries = tailEntries;
    this.#start = disk.log;
    this.loss = lossOf(disk);
    this.hardState = disk.log.hardState;
    const { anchor, entries, hardState, config } = disk.log;
    const confState = config.confState ?? emptyConfState;
    this.tail = new LogTail({ anchor, entries, hardState, confState }, () =>
      this.#snapshotSource(),
    );
  }

  get raftId(): number {
    return this.#disk.floor.raftId;
  }

  get config(): RaftSnapshotMeta {
    return this.#start.config;
  }

  get pendingSnapshot(): RaftSnapshotMeta | undefined {
    return this.#start.pending;
  }

  setSnapshotSource(source: () => Snapshot | undefined): void {
    this.#snapshotSource = source;
  }

  write(write: LogWrite): Promise<void> {
    return this.#exclusive(() => this.#write(write));
  }

  settle(): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#isBroken) return;
      const hardState = this.hardState;
      await this.#put({
        database: "log",
        apply: () => this.#change({ hardState }),
      });
      await this.#writeFloor(this.#end());
    });
  }

  compact(index: number, config: RaftSnapshotMeta): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#isBroken) return;
      const target = Math.min(index, this.tail.lastIndex()) - this.#tailEntries;
      if (target < this.tail.firstIndex()) return;
      const term = this.tail.term(target) ?? 0;
      await this.#put({
        database: "log",
        apply: () => {
          const entries = this.#disk.log.entries.filter((entry) => entry.index > target);
          this.#change({ anchor: { index: target, term }, entries, config });
          this.#safety.compacted(this.raftId, target);
        },
      });
      this.tail.compact(target);
      this.#safety.forgot(this.raftId, target);
    });
  }

  notePendingSnapshot(pending: RaftSnapshotMeta | undefined): Promise<void> {
    return this.#exclusive(() =>
      this.#put({ database: "log", apply: () => this.#change({ pending }) }),
    );
  }

  async #write(write: LogWrite): Promise<void> {
    const before = this.hardState;
    const hard = write.hardState ?? before;
    const voteChanged = hard.term !== before.term || hard.vote !== before.vote;
    const first = write.entries[0];
    if (first === undefined && !voteChanged && !write.snapshot && !write.config) {
      this.hardState = hard;
      return;
    }
    const floor = this.#disk.floor.place.index;
    if (write.snapshot !== undefined) await this.#lowerFloor(this.tail.firstIndex() - 1);
    else if (first !== undefined && first.index <= floor) await this.#lowerFloor(first.index - 1);
    // With entries alone, how far is committed is left to `settle`.
    const putsHard = voteChanged || first === undefined || write.snapshot !== undefined;
    const stored = () => (putsHard ? hard : this.#disk.log.hardState);
    await this.#put({ database: "log", apply: () => this.#store(write, stored()) }).catch(
      (error: unknown) => {
        this.#isBroken = true;
        throw error;
      },
    );
    this.hardState = hard;
    if (write.snapshot) this.tail.restore(write.snapshot);
    this.tail.append(write.entries);
    if (voteChanged) await this.#writeFloor(this.#end());
  }

  #store(write: LogWrite, hardState: HardState): void {
    const { log } = this.#disk;
    const anchor = write.snapshot ? placeOf(write.snapshot) : log.anchor;
    const pending = write.snapshot ? undefined : log.pending;
    const kept: readonly Entry[] = write.snapshot ? [] : log.entries;
    const entries = joined(anchor, kept, write.entries);
    this.#change({ hardState, anchor, pending, entries, config: write.config ?? log.config });
    this.#safety.stored(this.raftId, {
      hard: hardState,
      snapshot: write.snapshot,
      entries: write.entries,
    });
  }

  #put(write: DiskWrite): Promise<void> {
    return this.#disk.write(write, this.#life);
  }

  #change(change: Partial<LogImage>): void {
    this.#disk.log = { ...this.#disk.log, ...change };
  }

  #end(): Place {
    const index = this.tail.lastIndex();
    return { index, term: this.tail.term(index) ?? 0 };
  }

  async #lowerFloor(index: number): Promise<void> {
    if (this.#disk.floor.place.index <= index) return;
    await this.#writeFloor({ index, term: this.tail.term(index) ?? 0 });
  }

  #writeFloor(place: Place): Promise<void> {
    const { term, vote } = this.hardState;
    return this.#put({
      database: "floor",
      apply: () => {
        this.#disk.floor = { ...this.#disk.floor, place, term, vote };
      },
    });
  }

  #exclusive<T>(job: () => Promise<T>): Promise<T> {
    const result = this.#work.then(job);
    this.#work = result.catch(() => {
      // Told to the caller through `result`.
    });
    return result;
  }
}

/** What the disk says about damage to the log, or a tail that is gone; `undefined` when it is whole. */
export function lossOf(disk: Disk): string | undefined {
  const { log, floor } = disk;
  if (floor.raftId === 0) return undefined;
  if (log.damaged) return "a record of the raft log is damaged";
  if (log.raftId !== floor.raftId) return "the raft log belongs to another member";
  const { hardState } = log;
  if (hardState.term < floor.term) return "the raft log has forgotten a term";
  if (hardState.term === floor.term && hardState.vote !== floor.vote && floor.vote !== 0) {
    return "the raft log has forgotten a vote";
  }
  const { place } = floor;
  if (place.index <= log.anchor.index) return undefined;
  const entry = log.entries[place.index - log.anchor.index - 1];
  return entry?.term === place.term ? undefined : "the raft log has lost its end";
}

function placeOf({ index, term }: Place): Place {
  return { index, term };
}

function joined(
  anchor: Place,
  kept: readonly Entry[],
  entries: readonly Entry[],
): readonly Entry[] {
  const first = entries[0];
  if (first === undefined) return kept;
  return [...kept.slice(0, first.index - anchor.index - 1), ...entries];
}
