/**
 * How long a task that is to stop is left to serve: pure.
 *
 * When a task's end is decided it leaves the balance everywhere. It is kept until the kernels of all nodes have that, and until
 * nobody new comes any more; then its open connections may come to their end. All of it for a limited time.
 */
import { drainMsMax, drainMsOf } from "../../../src/common/spec/drain-time.ts";
import type { ClusterState } from "../cluster-state.ts";

/** What the service says, and what it has. Milliseconds. */
export interface DrainTerms {
  /** How long the nodes are waited for. */
  readonly hearMs: number;
  /** From then on, for open connections and those that still come. */
  readonly limitMs: number;
}

/** Label of services: how long open connections of a task that stops are waited for, such as `30s`; `0` not at all. */
export const drainLabel = "skep.drain";

/** When a service says nothing: requests of programs that answer people are over by then. */
const drainDefaultMs = 2000;
/** How long nodes are waited for when a service says nothing: one that takes longer is about to count as down. */
const hearDefaultMs = 10_000;
/** Nobody new for this long, once all nodes have heard: callers that were on their way have come. */
const quietMs = 100;
/** The same where nobody can tell whether they have. */
const quietUnheardMs = 500;
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
  const saidMs = drainMsOf(label ?? "");
  if (saidMs === undefined) return { hearMs: hearDefaultMs, limitMs: drainDefaultMs };
  const limitMs = Math.min(saidMs, drainMsMax);
  return limitMs === 0 ? undefined : { hearMs: limitMs, limitMs };
}

/** What was seen. */
export interface DrainSeen {
  /** Whether all nodes have heard; false when nobody can tell. */
  readonly isHeard: boolean;
  /** Since they have, or since nobody could tell. */
  readonly elapsedMs: number;
  /** Since somebody new came, or since the drain began. */
  readonly quietMs: number;
  /** Open ones; undefined when they were not counted. */
  readonly connections: number | undefined;
}

/** Whether nobody new is to be expected: from then on open connections are what is waited for. */
export function drainIsQuiet(seen: Pick<DrainSeen, "isHeard" | "quietMs">): boolean {
  return seen.quietMs >= (seen.isHeard ? quietMs : quietUnheardMs);
}

/** Milliseconds to wait before looking again; 0 when the task may be stopped. */
export function drainWaitMs({ limitMs }: DrainTerms, seen: DrainSeen): number {
  const leftMs = limitMs - seen.elapsedMs;
  if (leftMs <= 0 || (drainIsQuiet(seen) && (seen.connections ?? 0) === 0)) return 0;
  return Math.min(drainLookMs, leftMs);
}
