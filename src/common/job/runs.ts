/**
 * What is stored of the runs of a job, and how it changes. Pure; times are milliseconds since the epoch.
 *
 * A job without a schedule has one run, its present iteration. One with a schedule has a list of firings: those that still
 * run, and some that have ended, for show.
 */
import { JobFiring, type JobOutcome, JobStatus, type Service } from "../api/generated/api.ts";
import { type CronSettings, cronSettingsOf, isCronLabel } from "./cron-labels.ts";

/** One iteration of a job that goes on. */
export interface Run {
  readonly iteration: number;
  /** Nodes that came later take no part in it. */
  readonly startedAtMs: number;
}

/** The runs of a job that go on. */
export function liveRuns({ jobStatus }: Service): Run[] {
  if (jobStatus === undefined) return [];
  const { jobIteration, lastExecutionMs } = jobStatus;
  if (!isScheduled(jobStatus)) return [{ iteration: jobIteration, startedAtMs: lastExecutionMs }];
  return jobStatus.firings
    .filter(isRunning)
    .map((firing) => ({ iteration: firing.jobIteration, startedAtMs: firing.startedAtMs }));
}

/** Whether a run is over whose tasks are still shown. */
export function isKept({ jobStatus }: Service, iteration: number): boolean {
  return (jobStatus?.firings ?? []).some(
    (firing) => firing.jobIteration === iteration && hasTasks(firing) && !isRunning(firing),
  );
}

/** Whether the job waits for its times. */
export function isScheduled(status: JobStatus | undefined): boolean {
  return (status?.scheduledFromMs ?? 0) > 0;
}

/** Whether the firing goes on. */
export function isRunning({ outcome }: JobFiring): boolean {
  return outcome === "running";
}

/** Another run. @param nominalMs When it was due; 0 for one by hand. */
export function withRun(
  status: JobStatus,
  { nominalMs, now }: { readonly nominalMs: number; readonly now: number },
): JobStatus {
  const jobIteration = status.jobIteration + 1;
  const firing = JobFiring.create({ nominalMs, jobIteration, startedAtMs: now });
  const firings = isScheduled(status) ? [...status.firings, firing] : [];
  return { ...status, jobIteration, lastExecutionMs: now, firings };
}

/** Says of the runs that `which` picks how they ended. */
export function withOutcome(
  status: JobStatus,
  options: {
    readonly which: (firing: JobFiring) => boolean;
    readonly outcome: JobOutcome;
    readonly now: number;
  },
): JobStatus {
  const { which, outcome, now } = options;
  const firings = status.firings.map((firing) =>
    isRunning(firing) && which(firing) ? { ...firing, outcome, endedAtMs: now } : firing,
  );
  return { ...status, firings };
}

/** Forgets firings beyond what the labels keep. */
export function trimmed(
  status: JobStatus,
  { keepComplete, keepFailed }: Pick<CronSettings, "keepComplete" | "keepFailed">,
): JobStatus {
  let complete = keepComplete;
  let failed = keepFailed;
  // What was not begun has no tasks to show: the last one says enough.
  let idle = 1;
  const firings = status.firings.toReversed().filter((firing) => {
    if (isRunning(firing)) return true;
    if (firing.outcome === "complete") return complete-- > 0;
    return hasTasks(firing) ? failed-- > 0 : idle-- > 0;
  });
  return { ...status, firings: firings.toReversed() };
}

function hasTasks({ outcome }: JobFiring): boolean {
  return outcome !== "skipped" && outcome !== "missed";
}

/** The status of a new job: one without a schedule runs at once. */
export function firstJobStatus({ spec }: Pick<Service, "spec">, now: number): JobStatus {
  const isCron = cronSettingsOf(spec?.annotations?.labels) !== undefined;
  return JobStatus.create({ lastExecutionMs: now, scheduledFromMs: isCron ? now : 0 });
}

/**
 * The status of a job whose spec was changed: one without a schedule runs again, one with a schedule only when it is told to
 * by `--force`. A new schedule counts from now.
 */
export function nextJobStatus(before: Service, after: Service, now: number): JobStatus {
  const status = before.jobStatus ?? JobStatus.create();
  const labels = after.spec?.annotations?.labels;
  if (cronSettingsOf(labels) === undefined)
    return withRun(
      { ...status, scheduledFromMs: 0, lastNominalMs: 0, firings: [] },
      { nominalMs: 0, now },
    );
  const isForced = (after.spec?.task?.forceUpdate ?? 0) !== (before.spec?.task?.forceUpdate ?? 0);
  const scheduled = rescheduled(status, { before, after, now });
  return isForced ? withRun(scheduled, { nominalMs: 0, now }) : scheduled;
}

function rescheduled(
  status: JobStatus,
  options: { readonly before: Service; readonly after: Service; readonly now: number },
): JobStatus {
  const { before, after, now } = options;
  if (isScheduled(status)) {
    const isSame = scheduleText(before) === scheduleText(after);
    return isSame ? status : { ...status, scheduledFromMs: now };
  }
  // The run that goes on, or is over, is the first of the list.
  const firing = JobFiring.create({
    jobIteration: status.jobIteration,
    startedAtMs: status.lastExecutionMs,
  });
  return { ...status, scheduledFromMs: now, lastNominalMs: 0, firings: [firing] };
}

function scheduleText({ spec }: Service): string {
  const labels = Object.entries(spec?.annotations?.labels ?? {});
  return JSON.stringify(labels.filter(([label]) => isCronLabel(label)).sort());
}
