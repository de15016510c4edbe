/**
 * Whether a container that ended is started again, and when: Docker's restart policies. Pure.
 */
import type { ContainerRestartPolicy } from "../../../src/common/container/types.ts";

/** How a container ended, and what came before. */
export interface Ended {
  readonly policy: ContainerRestartPolicy;
  readonly exitCode: number;
  /** A user stopped it. */
  readonly stopped: boolean;
  /** How often it was started again already. */
  readonly restartCount: number;
  /** How long it ran. */
  readonly ranMs: number;
  /** The pause before the last restart; 0 for none. */
  readonly lastPauseMs: number;
}

/** Pause before the first restart, and the longest: it doubles from one to the next. */
const pauseMsMin = 100;
const pauseMsMax = 60_000;
/** One that ran for this long had recovered. */
const recoveredMs = 10_000;

/** Milliseconds until it is started again; undefined when it stays ended. */
export function restartPause(ended: Ended): number | undefined {
  if (ended.stopped || !wantsRestart(ended.policy, ended)) return undefined;
  if (ended.ranMs >= recoveredMs || ended.lastPauseMs === 0) return pauseMsMin;
  return Math.min(2 * ended.lastPauseMs, pauseMsMax);
}

/** Whether a container that does not run is started with the daemon. */
export function startsWithDaemon(
  policy: ContainerRestartPolicy,
  last: { readonly stopped: boolean; readonly exitCode: number; readonly restartCount: number },
): boolean {
  if (policy.name === "always") return true;
  return !last.stopped && wantsRestart(policy, last);
}

function wantsRestart(
  policy: ContainerRestartPolicy,
  last: { readonly exitCode: number; readonly restartCount: number },
): boolean {
  switch (policy.name) {
    case "no":
      return false;
    case "always":
    case "unless-stopped":
      return true;
    case "on-failure":
      return (
        last.exitCode !== 0 && (policy.retriesMax === 0 || last.restartCount < policy.retriesMax)
      );
  }
}
