/**
 * How long a task that is to stop is left to serve: pure.
 *
 * When a task's end is decided it leaves the balance everywhere; word of that takes a moment, on a busy node a longer one: as
 * long as new callers come, somebody has not heard. Then its open connections may come to their end. All of it for a limited
 * time.
 */
import { drainMsMax, drainMsOf } from "../../../src/common/spec/drain-time.ts";
import type { ClusterState } from "../cluster-state.ts";

/** What the service says, and what it has. */
export interface DrainTerms {
  /** Others have heard once nobody new has come for this long, milliseconds. */
  readonly spreadMs: number;
  /** For all of it; at least `spreadMs`. */
  readonly limitMs: number;
}

/** Label of services: how long open connections of a task that stops are waited for, such as `30s`; `0` not at all. */
export const drainLabel = "skep.drain";

/** When a service says nothing: requests of programs that answer people are over by then. */
const drainDefaultMs = 2000;
/** A backend change is on all nodes within this, unless they are busy. */
const drainSpreadMs = 500;
/** How often it is looked at, at most. */
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

/** What was seen since the drain began. */
export interface DrainSeen {
  readonly elapsedMs: number;
  /** Since somebody new came, or since the beginning. */
  readonly quietMs: number;
  /** Open ones; undefined when they were not counted. */
  readonly connections: number | undefined;
}

/** Whether others have heard: from then on open connections are what is waited for. */
export function drainIsSpread({ spreadMs }: DrainTerms, quietMs: number): boolean {
  return quietMs >= spreadMs;
}

/** Milliseconds to wait before looking again; 0 when the task may be stopped. */
export function drainWaitMs(terms: DrainTerms, seen: DrainSeen): number {
  const leftMs = terms.limitMs - seen.elapsedMs;
  if (leftMs <= 0) return 0;
  if (drainIsSpread(terms, seen.quietMs) && (seen.connections ?? 0) === 0) return 0;
  return Math.min(drainLookMs, leftMs);
}
