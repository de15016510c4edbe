/**
 * Where a write of the log is made: by the Raft thread itself, or by the thread pool.
 *
 * On a fast disk the way to the pool and back takes as long as the write, and both of its wake-ups are waited for by every
 * commit. On a slow one, a memory card say, the Raft thread must not stand still meanwhile: heartbeats and all connections of
 * the manager go through it. So it writes itself while most writes take little, and tries again, ever more rarely, once they
 * did not. Most and not the average, as disks have bad moments.
 *
 * What counts is the disk's part. Where others use the processor, most writes take milliseconds on any disk, as the thread waits
 * for its turn afterwards (0.3 of 2.9 ms were the disk's), and the way through the pool waits for two turns more. How long
 * it waited is measured for the first writes and while any was late, as that takes a part of what a write does. Pure, times are
 * handed in.
 */

/** Where most writes take longer, milliseconds, the thread has better things to do; far below what delays a heartbeat. */
export const directMsMax = 2;
/** A disk on which one write takes that long, milliseconds, is left to the pool at once: the next one may take seconds. */
export const hangMs = 100;
/** Writes of more bytes take longer than the way to the pool on any disk. */
export const directBytesMax = 64 * 1024;
/** Writes made by the pool until one is made directly again, at first. */
export const pauseWritesMin = 16;
/** The same after that was in vain time and again. */
export const pauseWritesMax = 1_024;
/** Writes that are watched after a late one, and at the start. */
const watchedWrites = 4;
/** What one write counts for in the share. */
const weight = 1 / 16;
/** The share of late writes to begin with, also after a pause: three late ones in a row are enough then. */
const lateShareAtFirst = 0.4;

/** The pace of one disk. */
export class WritePace {
  /** Which share of the last writes took too long. */
  #lateShare = lateShareAtFirst;
  /** Writes left for the pool. */
  #pause = 0;
  #nextPause = pauseWritesMin;
  /** Writes made directly since the last pause. */
  #made = 0;
  /** Writes of which shall be known how long the thread waited for the processor. */
  #watched = watchedWrites;

  /** Whether the wait for the processor is to be told of the next direct write. */
  get isWatching(): boolean {
    return this.#watched > 0;
  }

  /** Whether the next write, of so many bytes, is to be made directly; then `took` is told how long it took. */
  isDirect(bytes: number): boolean {
    if (bytes > directBytesMax) return false;
    if (this.#pause === 0) return true;
    this.#pause--;
    return false;
  }

  /**
   * A direct write took so long.
   *
   * @param waitedMs How much of it the thread could have run and was not let; undefined when it was not watched.
   */
  took(ms: number, waitedMs?: number): void {
    if (this.#watched > 0) this.#watched--;
    if (ms > directMsMax) {
      this.#watched = watchedWrites;
      // Nobody knows whose fault that was: the next ones tell.
      if (waitedMs === undefined && ms < hangMs) return;
    }
    const diskMs = ms - (waitedMs ?? 0);
    const isLate = diskMs > directMsMax;
    this.#lateShare += ((isLate ? 1 : 0) - this.#lateShare) * weight;
    this.#made++;
    if (this.#lateShare <= 0.5 && diskMs < hangMs) return;
    const isSudden = this.#made > pauseWritesMax;
    this.#pause = isSudden ? pauseWritesMin : this.#nextPause;
    this.#nextPause = Math.min(this.#pause * 2, pauseWritesMax);
    this.#made = 0;
    this.#watched = watchedWrites;
    this.#lateShare = lateShareAtFirst;
  }
}
