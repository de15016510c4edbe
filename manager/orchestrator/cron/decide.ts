/**
 * Whether a job on a schedule is due, and what becomes of that firing. Pure.
 *
 * A firing is told by the time at which it was due, not by when somebody noticed: what is stored is the last such time that
 * was taken care of, so that a leader whose clock is behind does not do it again, and the next one does what nobody did.
 * What was due in the last few minutes is made up for one by one, so that a change of the leader leaves nothing out; after a
 * longer time without a leader the latest firing alone is, if its deadline allows.
 */
import { JobFiring, JobStatus, type Service } from "../../../src/common/api/generated/api.ts";
import type { CronSettings } from "../../../src/common/job/cron-labels.ts";
import { lastTime, nextTime } from "../../../src/common/job/next-time.ts";
import { isRunning, trimmed, withOutcome, withRun } from "../../../src/common/job/runs.ts";
import { cronCatchUpMs, runsPerJobMax } from "../../../src/common/limits/orchestrator.ts";

/** What is to be done about a schedule. Times are milliseconds since the epoch. */
export type CronDecision =
  /** Nothing before that time; infinity when it is never due. */
  | { readonly kind: "wait"; readonly untilMs: number }
  | { readonly kind: "fire"; readonly nominalMs: number; readonly status: JobStatus }
  /** Not begun, for a reason. */
  | {
      readonly kind: "skip";
      readonly nominalMs: number;
      readonly why: "skipped" | "missed";
      readonly status: JobStatus;
    };

/** Looks at the schedule of one service. */
export function decideFiring(
  { jobStatus }: Pick<Service, "jobStatus">,
  settings: CronSettings,
  now: number,
): CronDecision {
  const status = jobStatus ?? JobStatus.create();
  const { schedule, zone } = settings;
  const afterMs = Math.max(status.scheduledFromMs, status.lastNominalMs);
  if (settings.isSuspended) return { kind: "wait", untilMs: Number.POSITIVE_INFINITY };
  const firstMs = nextTime(schedule, zone, afterMs) ?? Number.POSITIVE_INFINITY;
  if (firstMs > now) return { kind: "wait", untilMs: firstMs };
  const isLate = now - firstMs > cronCatchUpMs;
  const latestMs = isLate ? lastTime(schedule, zone, { afterMs, untilMs: now }) : firstMs;
  const nominalMs = latestMs ?? firstMs;
  const noted = { ...status, lastNominalMs: nominalMs };
  const why = whyNot(status, settings, now - nominalMs);
  if (why !== undefined) {
    const firing = JobFiring.create({ nominalMs, outcome: why, startedAtMs: now, endedAtMs: now });
    const skipped = { ...noted, firings: [...noted.firings, firing] };
    return { kind: "skip", nominalMs, why, status: trimmed(skipped, settings) };
  }
  const replaced = { which: () => true, outcome: "replaced", now } as const;
  const cleared = settings.concurrency === "replace" ? withOutcome(noted, replaced) : noted;
  const begun = withRun(cleared, { nominalMs, now });
  return { kind: "fire", nominalMs, status: trimmed(begun, settings) };
}

function whyNot(
  { firings }: JobStatus,
  { deadlineMs, concurrency }: CronSettings,
  lateMs: number,
): "skipped" | "missed" | undefined {
  if (lateMs > deadlineMs) return "missed";
  const runs = firings.filter(isRunning).length;
  if (concurrency === "forbid" && runs > 0) return "skipped";
  return concurrency === "allow" && runs >= runsPerJobMax ? "skipped" : undefined;
}
