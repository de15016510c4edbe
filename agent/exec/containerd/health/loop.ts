/**
 * Checks the health of one running container: probes it, asks `decide.ts`, tells of what changed.
 */
import type { Clock } from "../../../../src/common/clock/clock.ts";
import type {
  Container,
  ContainerHealth,
  HealthProbe,
} from "../../../../src/common/container/types.ts";
import { errorText } from "../../../../src/common/errors/cluster-error.ts";
import { type HealthRules, healthAfter, nextProbeMs, probeOutput } from "./decide.ts";

/** What a probe that was run has shown. */
export interface ProbeResult {
  readonly exitCode: number;
  readonly output: Uint8Array;
  /** It was killed, as it took too long. */
  readonly timedOut: boolean;
}

/** What the loop needs. */
export interface HealthPorts {
  readonly clock: Clock;
  /** As it is now; undefined once it is gone. */
  container(): Container | undefined;
  /** Runs the command in the container, for so long at most. @throws Error when it could not be started. */
  probe(rules: HealthRules, signal: AbortSignal): Promise<ProbeResult>;
  changed(health: ContainerHealth): void;
}

/** Probes until the signal aborts or the container is gone; while it is paused nothing is probed. */
export async function checkHealth(
  rules: HealthRules,
  ports: HealthPorts,
  signal: AbortSignal,
): Promise<void> {
  const { clock } = ports;
  for (;;) {
    const before = ports.container();
    if (before === undefined) return;
    const { health, startedAtMs } = before.state;
    const pauseMs = nextProbeMs(rules, health, clock.now() - startedAtMs);
    try {
      await clock.sleep(pauseMs, signal);
    } catch {
      return; // The container has ended, or the daemon stops.
    }
    if (ports.container()?.state.phase !== "running") continue;
    const startMs = clock.now();
    const probe = await probed(rules, ports, startMs, signal);
    // A probe that ended with its container says nothing of it.
    const now = ports.container();
    if (signal.aborted || now?.state.phase !== "running") continue;
    ports.changed(healthAfter(rules, now.state.health, probe, startMs - startedAtMs));
  }
}

async function probed(
  rules: HealthRules,
  ports: HealthPorts,
  startMs: number,
  signal: AbortSignal,
): Promise<HealthProbe> {
  try {
    const { exitCode, output, timedOut } = await ports.probe(rules, signal);
    const text = probeOutput(output);
    const endMs = ports.clock.now();
    if (!timedOut) return { startMs, endMs, exitCode, output: text };
    const why = `Health check exceeded timeout (${durationText(rules.timeoutMs)})`;
    const shown = probeOutput(Buffer.from(text === "" ? why : `${why}: ${text}`));
    return { startMs, endMs, exitCode: -1, output: shown };
  } catch (error) {
    return { startMs, endMs: ports.clock.now(), exitCode: -1, output: errorText(error) };
  }
}

/** As Go writes durations: `1m30s`, `500ms`. */
function durationText(ms: number): string {
  if (ms < 1000) return `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const seconds = `${(ms % 60_000) / 1000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}
