/**
 * What a probe makes of a container's health, with Docker's states and defaults. Pure; `loop.ts` probes.
 */
import type { HealthConfig } from "../../../../src/common/api/generated/api.ts";
import type { ContainerHealth, HealthProbe } from "../../../../src/common/container/types.ts";

const nsPerMs = 1e6;
/** Probes that are kept, newest last. */
const probesMax = 5;
/** What is kept of a probe's output. */
export const probeOutputBytesMax = 4096;
const cutMark = "...";

/** A health check with nothing left open. */
export interface HealthRules {
  /** Program and arguments to run in the container. */
  readonly command: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly retries: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
}

/** Docker's defaults for what was not set; undefined where there is nothing to check. */
export function healthRules(config: HealthConfig | undefined): HealthRules | undefined {
  const [kind, ...rest] = config?.test ?? [];
  if (config === undefined || rest.length === 0) return undefined;
  if (kind !== "CMD" && kind !== "CMD-SHELL") return undefined;
  return {
    command: kind === "CMD" ? rest : ["/bin/sh", "-c", rest.join(" ")],
    intervalMs: orDefault(config.intervalNs, 30_000),
    timeoutMs: orDefault(config.timeoutNs, 30_000),
    retries: config.retries > 0 ? config.retries : 3,
    startPeriodMs: orDefault(config.startPeriodNs, 0),
    startIntervalMs: orDefault(config.startIntervalNs, 5_000),
  };
}

/** How a container begins: its earlier probes stay to be seen. */
export function startingHealth(before: ContainerHealth): ContainerHealth {
  return { status: "starting", failingStreak: 0, probes: before.probes };
}

/** Pause before the next probe. */
export function nextProbeMs(
  rules: HealthRules,
  health: ContainerHealth,
  sinceStartMs: number,
): number {
  const isStarting = health.status === "starting" && sinceStartMs < rules.startPeriodMs;
  return isStarting ? rules.startIntervalMs : rules.intervalMs;
}

/**
 * The health after a probe.
 *
 * @param sinceStartMs From the start of the container to that of the probe: failures within the start period do not count
 *   before the first success.
 */
export function healthAfter(
  rules: HealthRules,
  health: ContainerHealth,
  probe: HealthProbe,
  sinceStartMs: number,
): ContainerHealth {
  const probes = [...health.probes, probe].slice(-probesMax);
  if (probe.exitCode === 0) return { status: "healthy", failingStreak: 0, probes };
  if (health.status === "starting" && sinceStartMs < rules.startPeriodMs) {
    return { ...health, probes };
  }
  const failingStreak = health.failingStreak + 1;
  const status = failingStreak >= rules.retries ? "unhealthy" : health.status;
  return { status, failingStreak, probes };
}

/** A probe's output as it is kept. */
export function probeOutput(bytes: Uint8Array): string {
  if (bytes.length <= probeOutputBytesMax) return Buffer.from(bytes).toString();
  const kept = bytes.subarray(0, probeOutputBytesMax - cutMark.length);
  return `${Buffer.from(kept).toString().replace(/�+$/, "")}${cutMark}`;
}

function orDefault(ns: number, defaultMs: number): number {
  return ns > 0 ? ns / nsPerMs : defaultMs;
}
