/**
 * Health checks: Docker's states as a table of probes, and the loop's pauses, pauses of the container, and failures.
 */
import { deepEqual, equal } from "node:assert/strict";
import {
  type HealthRules,
  healthAfter,
  healthRules,
  nextProbeMs,
  probeOutput,
  startingHealth,
} from "../../../../../../agent/exec/containerd/health/decide.ts";
import {
  checkHealth,
  type ProbeResult,
} from "../../../../../../agent/exec/containerd/health/loop.ts";
import { FakeClock } from "../../../../../../src/common/clock/clock.ts";
import type { Container, ContainerHealth } from "../../../../../../src/common/container/types.ts";

const none = {
  test: [],
  intervalNs: 0,
  timeoutNs: 0,
  retries: 0,
  startPeriodNs: 0,
  startIntervalNs: 0,
};
const starting: ContainerHealth = { status: "starting", failingStreak: 0, probes: [] };
const probe = (exitCode: number) => ({ startMs: 1, endMs: 2, exitCode, output: "" });

function rulesOf(change: Partial<HealthRules> = {}): HealthRules {
  const rules = healthRules({ ...none, test: ["CMD", "check"] });
  if (rules === undefined) throw new Error("there are rules");
  return { ...rules, ...change };
}

describe("agent/exec/containerd/health/decide", () => {
  it("knows Docker's defaults", () => {
    deepEqual(rulesOf(), {
      command: ["check"],
      intervalMs: 30_000,
      timeoutMs: 30_000,
      retries: 3,
      startPeriodMs: 0,
      startIntervalMs: 5_000,
    });
  });

  it("runs CMD-SHELL in a shell, and nothing for NONE and what is not known", () => {
    const command = (test: string[]) => healthRules({ ...none, test })?.command;
    deepEqual(command(["CMD-SHELL", "a || b"]), ["/bin/sh", "-c", "a || b"]);
    for (const test of [[], ["NONE"], ["CMD"], ["WHAT", "x"]]) equal(command(test), undefined);
    equal(healthRules(undefined), undefined);
  });

  for (const { codes, at, want, rules } of [
    { codes: [0], want: "healthy 0" },
    { codes: [1, 1], want: "starting 2" },
    { codes: [1, 1, 1], want: "unhealthy 3" },
    { codes: [0, 1, 1], want: "healthy 2" },
    { codes: [0, 1, 1, 2], want: "unhealthy 3" },
    { codes: [1, 1, 1, 0], want: "healthy 0" },
    { codes: [1, 1, 1, 1], at: 500, want: "starting 0", rules: { startPeriodMs: 1000 } },
    { codes: [0, 1, 1, 1], at: 500, want: "unhealthy 3", rules: { startPeriodMs: 1000 } },
    { codes: [1], at: 1000, want: "unhealthy 1", rules: { startPeriodMs: 1000, retries: 1 } },
  ]) {
    it(`${codes.join(", ")}${at === undefined ? "" : ` at ${at} ms`} is ${want}`, () => {
      let health = starting;
      for (const code of codes) {
        health = healthAfter(rulesOf(rules), health, probe(code), at ?? 0);
      }
      equal(`${health.status} ${health.failingStreak}`, want);
    });
  }

  it("keeps the last five probes, over a restart as well", () => {
    let health = starting;
    for (let code = 1; code <= 7; code++) health = healthAfter(rulesOf(), health, probe(code), 0);
    health = startingHealth(health);
    deepEqual([health.status, health.failingStreak], ["starting", 0]);
    deepEqual(
      health.probes.map(({ exitCode }) => exitCode),
      [3, 4, 5, 6, 7],
    );
  });

  it("probes at the start interval until the first success or the end of the start period", () => {
    const rules = rulesOf({ startPeriodMs: 60_000, startIntervalMs: 2_000 });
    const healthy: ContainerHealth = { ...starting, status: "healthy" };
    equal(nextProbeMs(rules, starting, 0), 2_000);
    equal(nextProbeMs(rules, healthy, 0), 30_000);
    equal(nextProbeMs(rules, starting, 60_000), 30_000);
  });

  it("keeps 4,096 bytes of the output, and shows that there was more", () => {
    equal(probeOutput(Buffer.from("ok\n")), "ok\n");
    const kept = probeOutput(Buffer.alloc(10_000, "é"));
    equal(Buffer.byteLength(kept) <= 4096, true);
    equal(kept.endsWith("é..."), true);
  });
});

describe("agent/exec/containerd/health/loop", () => {
  function world(probes: (ProbeResult | Error)[], rules: HealthRules = rulesOf()) {
    const clock = new FakeClock();
    const stop = new AbortController();
    const seen: string[] = [];
    let state = { phase: "running", startedAtMs: clock.now(), health: starting };
    const run = checkHealth(
      rules,
      {
        clock,
        container: () => ({ state }) as unknown as Container,
        probe: async () => {
          const next = probes.shift() ?? new Error("no more probes");
          if (next instanceof Error) throw next;
          return next;
        },
        changed: (health) => {
          state = { ...state, health };
          const last = health.probes.at(-1);
          seen.push(`${health.status} ${last?.exitCode} ${last?.output}`);
        },
      },
      stop.signal,
    );
    const setPhase = (phase: string) => {
      state = { ...state, phase };
    };
    const end = () => {
      stop.abort();
      return run;
    };
    return { clock, seen, setPhase, end };
  }

  const good: ProbeResult = { exitCode: 0, output: Buffer.from("fine"), timedOut: false };
  const late: ProbeResult = { exitCode: 137, output: Buffer.from("half"), timedOut: true };

  it("probes after one interval, and then again and again", async () => {
    const { clock, seen, end } = world([good, good]);
    await clock.advance(29_999);
    deepEqual(seen, []);
    await clock.advance(1);
    await clock.advance(30_000);
    deepEqual(seen, ["healthy 0 fine", "healthy 0 fine"]);
    await end();
  });

  it("counts a probe that took too long or could not be run as failed", async () => {
    const { clock, seen, end } = world([late, new Error("no shell")]);
    await clock.advance(30_000);
    await clock.advance(30_000);
    deepEqual(seen, [
      "starting -1 Health check exceeded timeout (30s): half",
      "starting -1 no shell",
    ]);
    await end();
  });

  it("does not probe what is paused", async () => {
    const { clock, seen, setPhase, end } = world([good]);
    setPhase("paused");
    await clock.advance(90_000);
    deepEqual(seen, []);
    setPhase("running");
    await clock.advance(30_000);
    deepEqual(seen, ["healthy 0 fine"]);
    await end();
  });
});
