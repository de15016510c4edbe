/**
 * Labels of services that say how their tasks are replaced, where Docker's API has no field for it. Pure.
 */
import { drainMsOf } from "./drain-time.ts";

/** For how long a rolling update may get on with no place of its service before it ends as a failed one. */
export const updateDeadlineLabel = "skep.update.deadline";

/** A roll-out that is waited for longer is not waited for by anybody, milliseconds. */
const deadlineMsMax = 24 * 3_600_000;

/** Whether a value can be a deadline. */
export function isDeadline(value: string): boolean {
  const ms = drainMsOf(value);
  return ms !== undefined && ms > 0 && ms <= deadlineMsMax;
}

/** The deadline that labels set, milliseconds; infinity where they set none. */
export function updateDeadlineMsOf(labels: Readonly<Record<string, string>> | undefined): number {
  const value = labels?.[updateDeadlineLabel];
  if (value === undefined || !isDeadline(value)) return Number.POSITIVE_INFINITY;
  return drainMsOf(value) ?? Number.POSITIVE_INFINITY;
}
