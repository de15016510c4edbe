/**
 * Notices that the way to a manager was cut and is free again.
 *
 * TCP sends what was lost again after ever longer pauses, so that after a cut of ten seconds both ends may be silent for ten
 * more, in which a node acts on what is no more. The kernel of a manager answers new connections whatever its daemon is busy
 * with: a try that fails, and a later one that does not, tell of a cut and not of a manager that is slow. Then the old
 * connection is not waited for.
 */
import type { Clock } from "../src/common/clock/clock.ts";

/** How long the answer to a beat may take before the way is looked at, milliseconds. */
export const answerOverdueMs = 500;
/** Pause between two looks, milliseconds. */
const lookIntervalMs = 500;

/** What is watched. */
export interface WatchedPath {
  /** Milliseconds since something was asked for that is not answered yet; 0 when there is no such thing. */
  unansweredMs(): number;
  /** Whether the manager's kernel takes a connection now. Never rejects. */
  probe(signal: AbortSignal): Promise<boolean>;
}

/** Resolves with true once the way was cut, is free again, and nothing has come since; false when the signal aborts. */
export async function cutHealed(
  path: WatchedPath,
  o: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<boolean> {
  const { clock, signal } = o;
  let wasCut = false;
  while (!signal.aborted) {
    try {
      await clock.sleep(lookIntervalMs, signal);
    } catch {
      return false;
    }
    if (path.unansweredMs() < answerOverdueMs) {
      wasCut = false;
      continue;
    }
    const isFree = await path.probe(signal);
    if (isFree && wasCut && path.unansweredMs() >= answerOverdueMs) return true;
    wasCut ||= !isFree;
  }
  return false;
}
