/**
 * Puts a state received from another manager in place of this one's, and makes it durable.
 *
 * Raft keeps a note of a snapshot while it is put in place, and drops it when told that the state is as before; the note
 * explains at the next start why the state is ahead of the log. So once the state has been replaced, in memory or on
 * disk, there is no failure to tell of any more, only success or nothing.
 */
import type { Clock } from "../src/common/clock/clock.ts";
import { errorText } from "../src/common/errors/cluster-error.ts";
import type { Log } from "../src/common/log/log.ts";

/** Pause until a received state that could not be written is tried again, milliseconds. */
const retryMs = 1000;

/** How to do it. */
export interface ReceivedState {
  readonly index: number;
  /** Replaces the state in memory, all or nothing. */
  readonly replace: () => Promise<void>;
  /** Writes the state; a write that failed may have reached the disk nevertheless. */
  readonly write: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  /** Ends the attempts to write. */
  readonly signal: AbortSignal;
}

/**
 * Resolves once the state is durable; a full disk is waited out. Never settles when the manager stops in between.
 *
 * @throws what `replace` threw; the state is as before then.
 */
export async function takeReceivedState(o: ReceivedState): Promise<void> {
  await o.replace();
  while (!o.signal.aborted) {
    try {
      await o.write();
      return;
    } catch (error) {
      o.log.error("received state cannot be written; trying again", {
        "raft.index": o.index,
        err: errorText(error),
      });
    }
    await o.clock.sleep(retryMs, o.signal).catch(() => {
      // The signal only ends the wait.
    });
  }
  await new Promise<never>(() => {
    // Whether the state reached the disk is not known: there is no answer to give.
  });
}
