/**
 * Waiting for other processes: they can only be asked again and again.
 */
import { systemClock } from "../common/clock/clock.ts";

/** Time between two questions. */
const everyMs = 20;

/** The first defined value of `question`, or undefined when `withinMs` have passed without one. */
export async function until<T>(
  withinMs: number,
  question: () => T | undefined | Promise<T | undefined>,
): Promise<T | undefined> {
  const deadline = systemClock.monotonic() + withinMs;
  for (;;) {
    const answer = await question();
    if (answer !== undefined || systemClock.monotonic() >= deadline) return answer;
    await systemClock.sleep(everyMs);
  }
}
