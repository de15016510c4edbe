/**
 * Compares what is known of containers with the tasks containerd has, after each connection and now and then. Pure.
 */
import { deadShimMs } from "../../../src/common/limits/runtime.ts";

/** A container as it is known; those with a change under way are left out by the caller. */
export interface KnownContainer {
  readonly id: string;
  /** Whether it is taken to run. */
  readonly isRunning: boolean;
  readonly pid: number;
  /** Pid of the last run whose end was taken in. */
  readonly endedPid: number | undefined;
}

/** A task as containerd lists it. */
export interface FoundTask {
  readonly id: string;
  readonly pid: number;
  readonly status: "created" | "running" | "paused" | "stopped" | "unknown";
  readonly exitCode: number;
  readonly exitedAtMs: number;
}

/** What is to be done. */
export type Step =
  /** It runs, be it that we knew or not. */
  | { readonly kind: "adopt"; readonly id: string; readonly pid: number; readonly paused: boolean }
  /** It ended; `unseen` also began without that it is known. */
  | {
      readonly kind: "exited" | "exited-unseen";
      readonly id: string;
      readonly pid: number;
      readonly exitCode: number;
      readonly atMs: number;
    }
  /** It should run and has no task. */
  | { readonly kind: "lost"; readonly id: string }
  /** It should run and has no task just now: the end of its shim may be under way, whose event tells its code. */
  | { readonly kind: "missing"; readonly id: string }
  /** The task belongs to nobody, or was never started. */
  | { readonly kind: "drop"; readonly id: string };

/**
 * The steps, in the order of the tasks and then of the containers.
 *
 * @param first Whether those that run were not taken over yet by this process.
 * @param missingMs For how long one has had no task; infinite where nothing of it can be under way, as containerd has just
 *   begun to answer.
 * @param isBusy Whether a change is under way, which knows better.
 */
export function reconcile(o: {
  readonly known: readonly KnownContainer[];
  readonly tasks: readonly FoundTask[];
  readonly isBusy: (id: string) => boolean;
  readonly first: boolean;
  readonly missingMs: (id: string) => number;
}): Step[] {
  const known = new Map(o.known.map((container) => [container.id, container]));
  const steps: Step[] = [];
  const seen = new Set<string>();
  for (const task of o.tasks) {
    seen.add(task.id);
    if (o.isBusy(task.id)) continue;
    const step = stepFor(task, known.get(task.id), o.first);
    if (step !== undefined) steps.push(step);
  }
  for (const { id, isRunning } of o.known) {
    if (!isRunning || seen.has(id) || o.isBusy(id)) continue;
    steps.push({ kind: o.missingMs(id) < deadShimMs ? "missing" : "lost", id });
  }
  return steps;
}

function stepFor(
  task: FoundTask,
  container: KnownContainer | undefined,
  first: boolean,
): Step | undefined {
  const { id, pid } = task;
  if (container === undefined) return { kind: "drop", id };
  switch (task.status) {
    case "running":
    case "paused": {
      // Listed a moment before the end that was taken in since.
      if (!container.isRunning && container.endedPid === pid) return undefined;
      const isKnown = container.isRunning && container.pid === pid && !first;
      return isKnown ? undefined : { kind: "adopt", id, pid, paused: task.status === "paused" };
    }
    case "stopped":
      // One whose end was taken in already was not removed only.
      if (!container.isRunning && container.endedPid === pid) return { kind: "drop", id };
      return {
        kind: container.isRunning ? "exited" : "exited-unseen",
        id,
        pid,
        exitCode: task.exitCode,
        atMs: task.exitedAtMs,
      };
    case "created":
      return { kind: "drop", id };
    case "unknown":
      return undefined;
  }
}
