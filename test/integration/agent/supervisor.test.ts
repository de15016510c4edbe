/**
 * The supervisor with a real containerd: start, adoption, death, stop.
 */
import { equal, notEqual, ok, rejects } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Supervisor } from "../../../agent/exec/containerd/supervisor.ts";
import { systemClock } from "../../../src/common/clock/clock.ts";
import { TasksService } from "../../../src/common/containerd/generated/protocol.ts";
import { hasCode } from "../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../src/common/log/log.ts";
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
    await until(() => told === 1, { withinMs: 20_000, what: "it is up again" });
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
      withinMs: 20_000,
      what: "the first one has started another",
    });
  });

  it("ends it with the signal", async () => {
    const pid = pidOf(containerd.supervisor());
    await containerd.stop();
    equal(isThere(pid), false);
    await rejects(containerd.supervisor().ready(), (error) => hasCode(error, "unavailable"));
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
