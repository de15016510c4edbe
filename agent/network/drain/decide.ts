/**
 * How long a task that is to stop is left to serve: pure.
 *
 * When a task's end is decided it leaves the balance everywhere; word of that takes a moment. Then its open connections may
 * come to their end, for a limited time.
 */
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
/** A task is not kept from stopping for longer. */
const drainMsMax = 3_600_000;
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
  const limitMs = label === undefined ? drainDefaultMs : (drainMsOf(label) ?? drainDefaultMs);
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

/** Reads `30s`, `1m30s`, `500ms`, `0`; undefined for what is none. */
export function drainMsOf(text: string): number | undefined {
  if (text === "0") return 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) return undefined;
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  const ms = parts.reduce(
    (sum, [, count, unit]) => sum + Number(count) * (units[unit ?? ""] ?? 0),
    0,
  );
  return Math.min(Math.round(ms), drainMsMax);
}
