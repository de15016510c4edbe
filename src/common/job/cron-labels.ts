/**
 * Labels by which a job is run on a schedule, which Docker's API cannot say. Pure.
 *
 * `skep.cron` makes a job one that runs when it is due; the others say how.
 */
import { ClusterError } from "../errors/cluster-error.ts";
import { drainMsOf } from "../spec/drain-time.ts";
import { parseSchedule, type Schedule } from "./schedule.ts";
import { isTimeZone } from "./zone.ts";

/** What becomes of a firing while the one before still runs. */
export type CronConcurrency = "forbid" | "allow" | "replace";

/** How a job is run on a schedule. */
export interface CronSettings {
  readonly schedule: Schedule;
  readonly zone: string;
  readonly concurrency: CronConcurrency;
  /** How late a firing may begin, milliseconds; infinity when it may at any time. */
  readonly deadlineMs: number;
  /** Firings kept for show, by how they ended. */
  readonly keepComplete: number;
  readonly keepFailed: number;
  readonly isSuspended: boolean;
}

/** All labels of schedules begin so. */
export const cronLabel = "skep.cron";
const names = {
  zone: `${cronLabel}.zone`,
  concurrency: `${cronLabel}.concurrency`,
  deadline: `${cronLabel}.deadline`,
  history: `${cronLabel}.history`,
  failed: `${cronLabel}.history.failed`,
  suspend: `${cronLabel}.suspend`,
};
/** Every label of schedules. */
export const cronLabels: readonly string[] = [cronLabel, ...Object.values(names)];

/** Firings kept unless the labels say otherwise, as Kubernetes keeps them. */
const keepCompleteDefault = 3;
const keepFailedDefault = 1;
/** A service that carries more of its past is read and written more slowly each time. */
const keepMax = 100;

/** What the labels say; undefined without a schedule. @throws ClusterError `invalid-argument` that names the label. */
export function cronSettingsOf(
  labels: Readonly<Record<string, string>> | undefined,
): CronSettings | undefined {
  const given = Object.keys(labels ?? {}).filter(isCronLabel);
  const unknown = given.find((label) => !cronLabels.includes(label));
  if (unknown !== undefined)
    throw wrong(unknown, `is not known: labels of schedules are ${cronLabels.join(", ")}`);
  const text = labels?.[cronLabel];
  if (labels === undefined || text === undefined) {
    if (given[0] !== undefined) throw wrong(given[0], `needs a schedule: give label ${cronLabel}`);
    return undefined;
  }
  return {
    schedule: scheduleOf(text),
    zone: zoneOf(labels[names.zone] ?? "UTC"),
    concurrency: wordOf(labels, names.concurrency, ["forbid", "allow", "replace"]),
    deadlineMs: deadlineOf(labels[names.deadline]),
    keepComplete: countOf(labels, names.history, keepCompleteDefault),
    keepFailed: countOf(labels, names.failed, keepFailedDefault),
    isSuspended: wordOf(labels, names.suspend, ["false", "true"]) === "true",
  };
}

/** Whether a label is one of schedules. */
export function isCronLabel(label: string): boolean {
  return label === cronLabel || label.startsWith(`${cronLabel}.`);
}

function scheduleOf(text: string): Schedule {
  try {
    return parseSchedule(text);
  } catch (error) {
    if (error instanceof ClusterError) throw wrong(cronLabel, error.message);
    throw error;
  }
}

function zoneOf(zone: string): string {
  if (isTimeZone(zone)) return zone;
  throw wrong(names.zone, `${JSON.stringify(zone)} is no time zone such as Europe/Berlin or UTC`);
}

function wordOf<T extends string>(
  labels: Readonly<Record<string, string>>,
  label: string,
  words: readonly [T, ...T[]],
): T {
  const value = labels[label];
  if (value === undefined) return words[0];
  const word = words.find((one) => one === value);
  if (word !== undefined) return word;
  throw wrong(label, `${JSON.stringify(value)} is not ${words.join(" or ")}`);
}

function deadlineOf(value: string | undefined): number {
  if (value === undefined) return Number.POSITIVE_INFINITY;
  const ms = drainMsOf(value);
  if (ms !== undefined && ms > 0) return ms;
  throw wrong(names.deadline, `${JSON.stringify(value)} is not a time such as 10m`);
}

function countOf(
  labels: Readonly<Record<string, string>>,
  label: string,
  fallback: number,
): number {
  const value = labels[label];
  if (value === undefined) return fallback;
  if (/^\d{1,3}$/.test(value) && Number(value) <= keepMax) return Number(value);
  throw wrong(label, `${JSON.stringify(value)} is not a number from 0 to ${keepMax}`);
}

function wrong(label: string, text: string): ClusterError {
  return new ClusterError("invalid-argument", `label ${label}: ${text}`);
}
