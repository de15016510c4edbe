/**
 * Where a write of the log is made: by the Raft thread itself, or by the thread pool.
 *
 * On a fast disk the way to the pool and back takes as long as the write, and both of its wake-ups are waited for by every
 * commit. On a slow one, a memory card say, the Raft thread must not stand still meanwhile: heartbeats and all connections of
 * the manager go through it. So it writes itself for as long as that takes little, and tries again, ever more rarely, once
 * it did not. Pure, times are handed in.
 */

/** Above this average of milliseconds the thread has better things to do; far below what delays a heartbeat. */
export const directAverageMsMax = 2;
/** Writes of more bytes take longer than the way to the pool on any disk. */
export const directBytesMax = 64 * 1024;
/** Writes made by the pool until one is made directly again, at first. */
export const pauseWritesMin = 16;
/** The same after that was in vain time and again. */
export const pauseWritesMax = 1_024;
/** What one write counts for in the average. */
const weight = 1 / 16;

/** The pace of one disk. */
export class WritePace {
  #averageMs = 0;
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
    // The first one after a pause decides alone.
    this.#averageMs = this.#made === 0 ? ms : this.#averageMs + (ms - this.#averageMs) * weight;
    this.#made++;
    if (this.#averageMs <= directAverageMsMax) return;
    const isSudden = this.#made > pauseWritesMax;
    this.#pause = isSudden ? pauseWritesMin : this.#nextPause;
    this.#nextPause = Math.min(this.#pause * 2, pauseWritesMax);
    this.#made = 0;
  }
}
