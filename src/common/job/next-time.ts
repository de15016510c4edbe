/**
 * When a schedule is due, by the clocks of a time zone. Pure.
 *
 * A schedule with hours of the day is due once a day also where the clocks change: what falls into an hour that is left out
 * is due at that moment, and of an hour that comes twice the first counts. One that goes by every hour (`*` in its field)
 * follows the time that passes.
 */
import type { Schedule } from "./schedule.ts";
import { offsetAt } from "./zone.ts";

const minuteMs = 60_000;
const dayMs = 86_400_000;
/** Two changes of a zone's clocks are further apart. */
const changeStepMs = 7 * dayMs;
/** No change of the clocks is larger that happens in a night; moves of the date line are. */
const passMaxMs = 3 * 3_600_000;
/** A schedule that is not due within this never is: February 29 may be eight years away, on a given weekday forty. */
const aheadMaxMs = 41 * 366 * dayMs;

/** The first time after a moment; undefined when there is none. Times are milliseconds since the epoch. */
export function nextTime(schedule: Schedule, zone: string, afterMs: number): number | undefined {
  const end = afterMs + aheadMaxMs;
  let at = Math.floor(afterMs / minuteMs) * minuteMs + minuteMs;
  if (!schedule.isHourly) at = Math.max(at, passEnd(zone, at));
  while (at < end) {
    const offset = offsetAt(zone, at);
    const wall = nextWall(schedule, at + offset, end + dayMs);
    if (wall === undefined) return undefined;
    const due = wall - offset;
    const change = changeBetween(zone, at, due);
    if (change === undefined) return due < end ? due : undefined;
    const after = offsetAt(zone, change);
    // Put forward over the time: due now, or not on that day at all.
    if (!schedule.isHourly && wall < change + after) return change;
    at = change;
    if (after < offset && !schedule.isHourly) at += offset - after;
  }
  return undefined;
}

/** The last time in `(afterMs, untilMs]`; undefined when there is none. */
export function lastTime(
  schedule: Schedule,
  zone: string,
  { afterMs, untilMs }: { readonly afterMs: number; readonly untilMs: number },
): number | undefined {
  for (let backMs = minuteMs; ; backMs *= 2) {
    const from = Math.max(afterMs, untilMs - backMs);
    let last: number | undefined;
    for (let at = nextTime(schedule, zone, from); at !== undefined && at <= untilMs; ) {
      last = at;
      at = nextTime(schedule, zone, at);
    }
    if (last !== undefined || from === afterMs) return last;
  }
}

/** When the second pass ends in which a moment lies; the moment itself when it lies in none. */
function passEnd(zone: string, at: number): number {
  const before = offsetAt(zone, at - passMaxMs);
  const now = offsetAt(zone, at);
  if (before <= now) return at;
  const change = changeBetween(zone, at - passMaxMs, at) ?? at;
  return change + (before - now);
}

/** The first moment after `from` and up to `to` from which on the clocks differ more or less from UTC. */
function changeBetween(zone: string, from: number, to: number): number | undefined {
  const offset = offsetAt(zone, from);
  for (let low = from; low < to; low += changeStepMs) {
    const high = Math.min(low + changeStepMs, to);
    if (offsetAt(zone, high) !== offset) return bisect(zone, low, high);
  }
  return undefined;
}

function bisect(zone: string, from: number, to: number): number {
  const offset = offsetAt(zone, from);
  let [low, high] = [from, to];
  while (high - low > 1000) {
    const middle = Math.floor((low + high) / 2000) * 1000;
    if (offsetAt(zone, middle) === offset) low = middle;
    else high = middle;
  }
  return high;
}

/** The first time a clock on the wall shows from `wall` on, as if it were UTC. */
function nextWall(schedule: Schedule, wall: number, end: number): number | undefined {
  let at = wall;
  while (at < end) {
    const date = new Date(at);
    const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
    if (!schedule.months.has(month + 1)) at = Date.UTC(year, month + 1, 1);
    else if (!isDay(schedule, date)) at = Date.UTC(year, month, day + 1);
    else if (!schedule.hours.has(date.getUTCHours()))
      at = Date.UTC(year, month, day, date.getUTCHours() + 1);
    else if (!schedule.minutes.has(date.getUTCMinutes())) at += minuteMs;
    else return at;
  }
  return undefined;
}

function isDay({ days, weekdays, isEitherDay }: Schedule, date: Date): boolean {
  const isInMonth = days.has(date.getUTCDate());
  const isInWeek = weekdays.has(date.getUTCDay());
  return isEitherDay ? isInMonth || isInWeek : isInMonth && isInWeek;
}
