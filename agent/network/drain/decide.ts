/**
 * How long a task that is to stop is left to serve: pure.
 *
 * When a task's end is decided it leaves the balance everywhere; word of that takes a moment. Then its open connections may
 * come to their end, for a limited time.
 */
import { drainMsMax, drainMsOf } from "../../../src/common/spec/drain-time.ts";
import type { ClusterState } from "../cluster-state.ts";

/** What the service says, and what it has. */
export interface DrainTerms {
  /** Until others have heard, milliseconds. */
  readonly spreadMs: number;
  /** For all of it; at least `spreadMs`. */
  readonly limitMs: number;
}

/** Label of services: how long open connections of a task that stops are waited for, such as `30s`; `0` not at all. */
export const drainLabel = "skep.drain";

/** When a service says nothing: requests of programs that answer people are over by then. */
const drainDefaultMs = 2000;
/** A backend change is on all nodes within this. */
const drainSpreadMs = 500;
/** How often connections are counted. */
const drainLookMs = 100;

/** Undefined for a task that nobody is led to. */
export function drainTerms(
  task: { readonly taskId: string; readonly serviceId: string } | undefined,
  cluster: ClusterState,
): DrainTerms | undefined {
  const service = cluster.services.get(task?.serviceId ?? "");
  const endpoint = cluster.endpoints.get(task?.taskId ?? "");
  if (service === undefined || endpoint === undefined) return undefined;
  if (endpoint.networks.length === 0 && service.ports.length === 0) return undefined;
  const label = service.options[drainLabel];
  const limitMs = Math.min(drainMsOf(label ?? "") ?? drainDefaultMs, drainMsMax);
  if (limitMs === 0) return undefined;
  return { spreadMs: Math.min(drainSpreadMs, limitMs), limitMs };
}

/**
 * Milliseconds to wait before looking again; 0 when the task may be stopped.
 *
 * @param connections Open ones; undefined when they cannot be counted.
 */
export function drainWaitMs(
  { spreadMs, limitMs }: DrainTerms,
  elapsedMs: number,
  connections: number | undefined,
): number {
  if (elapsedMs < spreadMs) return spreadMs - elapsedMs;
  if ((connections ?? 0) === 0 || elapsedMs >= limitMs) return 0;
  return Math.min(drainLookMs, limitMs - elapsedMs);
}
