/**
 * Where a write of the log is made: by the Raft thread itself, or by the thread pool.
 *
 * On a fast disk the way to the pool and back takes as long as the write, and both of its wake-ups are waited for by every
 * commit. On a slow one, a memory card say, the Raft thread must not stand still meanwhile: heartbeats and all connections of
 * the manager go through it. So it writes itself while most writes take little, and tries again, ever more rarely, once they
 * did not. Most and not the average: where others use the processor, one write in a few takes milliseconds on any disk, waiting
 * for its turn afterwards, and the way through the pool waits for two turns more. Pure, times are handed in.
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

  /** Whether the next write, of so many bytes, is to be made directly; then `took` is told how long it took. */
  isDirect(bytes: number): boolean {
    if (bytes > directBytesMax) return false;
    if (this.#pause === 0) return true;
    this.#pause--;
    return false;
  }

  /** A direct write took so long. */
  took(ms: number): void {
    const isLate = ms > directMsMax;
    this.#lateShare += ((isLate ? 1 : 0) - this.#lateShare) * weight;
    this.#made++;
    if (this.#lateShare <= 0.5 && ms < hangMs) return;
    const isSudden = this.#made > pauseWritesMax;
    this.#pause = isSudden ? pauseWritesMin : this.#nextPause;
    this.#nextPause = Math.min(this.#pause * 2, pauseWritesMax);
    this.#made = 0;
    this.#lateShare = lateShareAtFirst;
  }
}
