/**
 * The supervisor with a real containerd: start, adoption, death, stop.
 */
import { deepEqual, equal, notEqual, ok, rejects } from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Supervisor } from "../../../agent/exec/containerd/supervisor.ts";
import { FakeClock, systemClock } from "../../../src/common/clock/clock.ts";
import { TasksService } from "../../../src/common/containerd/generated/protocol.ts";
import { hasCode } from "../../../src/common/errors/cluster-error.ts";
import { containerdStartMs } from "../../../src/common/limits/runtime.ts";
import { newLog, silentLog } from "../../../src/common/log/log.ts";
import { TestContainerd } from "../../support/containerd.ts";
import { until } from "../../support/wait.ts";

describe("agent/exec/containerd/supervisor", () => {
  const containerd = new TestContainerd();

  after(() => containerd.remove());

  it("starts a containerd whose tasks answer", async () => {
    const { client } = await containerd.start();
    equal((await client.call(TasksService.list, {})).tasks.length, 0);
  });

  it("starts it again when it is killed, and says so", async () => {
    const supervisor = containerd.supervisor();
    const pid = pidOf(supervisor);
    let told = 0;
    supervisor.onUp(() => told++);
    process.kill(pid, "SIGKILL");
    await until(() => told === 1, { withinMs: 60_000, what: "it is up again" });
    notEqual(pidOf(supervisor), pid);
    equal((await supervisor.client.call(TasksService.list, {})).tasks.length, 0);
  });

  it("adopts the one an earlier daemon left, and starts another when that dies", async () => {
    const pid = pidOf(containerd.supervisor());
    const stop = new AbortController();
    const second = new Supervisor({
      places: containerd.places,
      how: { program: "containerd", hiddenMount: undefined },
      clock: systemClock,
      log: silentLog,
    });
    const running = second.run(stop.signal);
    await second.ready();
    equal(pidOf(second), pid);
    // Stops the one it adopted, which the first one notices.
    stop.abort();
    await running;
    await until(() => pidOf(containerd.supervisor()) !== pid, {
      withinMs: 60_000,
      what: "the first one has started another",
    });
  });

  it("ends it with the signal", async () => {
    const pid = pidOf(containerd.supervisor());
    await containerd.stop();
    equal(isThere(pid), false);
    await rejects(containerd.supervisor().ready(), (error) => hasCode(error, "unavailable"));
  });

  it("has more patience with each start in a row that brought no answer", async () => {
    const program = join(containerd.dir, "silent");
    writeFileSync(program, "#!/bin/sh\nexec sleep 100000\n", { mode: 0o755 });
    const clock = new HurryingClock();
    const stop = new AbortController();
    const downMs: number[] = [];
    const log = newLog(
      (line) => {
        if (line.includes("containerd is down")) downMs.push(clock.monotonic());
        if (downMs.length === 3) stop.abort();
      },
      { level: "error" },
    );
    const how = { program, hiddenMount: undefined };
    const beganMs = clock.monotonic();
    await new Supervisor({ places: containerd.places, how, clock, log }).run(stop.signal);
    const tookMs = downMs.map((ms, at) => ms - (downMs[at - 1] ?? beganMs));
    deepEqual(
      tookMs.map((ms, at) => ms >= containerdStartMs * 2 ** at),
      [true, true, true],
    );
  });

  it("says what to install when there is none", async () => {
    const stop = new AbortController();
    const supervisor = new Supervisor({
      places: containerd.places,
      how: { program: "containerd-that-is-not-there", hiddenMount: undefined },
      clock: systemClock,
      log: silentLog,
    });
    const running = supervisor.run(stop.signal);
    await rejects(supervisor.ready(), /is not installed: install containerd and runc or crun/);
    stop.abort();
    await running;
  });
});

/** Whoever sleeps on it has slept. */
class HurryingClock extends FakeClock {
  override async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    await this.advance(ms);
  }
}

function pidOf(supervisor: Supervisor): number {
  const state = supervisor.state();
  return state.kind === "up" ? state.pid : 0;
}

function isThere(pid: number): boolean {
  try {
    ok(!/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
    return true;
  } catch {
    // Gone, or a zombie.
    return false;
  }
}
