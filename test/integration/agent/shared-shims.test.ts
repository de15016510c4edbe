/**
 * Containers of a service that share a shim: their common fate, and that each is a container of its own otherwise.
 */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { ContainerConfig } from "../../../src/common/container/types.ts";
import { makeImage } from "../../support/busybox-image.ts";
import { patient, TestContainers } from "../../support/containers.ts";
import { parentOf } from "../../support/host-processes.ts";
import { until } from "../../support/wait.ts";

/** The first of a service have shims of their own. */
const ownShims = 2 * availableParallelism();
/** A round more than that, so that each shim has two. */
const replicas = 2 * ownShims;

describe("agent/exec/containerd shims that are shared", () => {
  const test = new TestContainers({ whole: true });
  test.programs = ["crun"];
  let service = 0;
  let ids: string[] = [];
  /** Of the shims of this test; others have theirs in the same folder. */
  const sockets = new Set<string>();

  before(async () => {
    await test.start();
    test.images.push(await makeImage(test.client, "busybox:1"));
  });

  beforeEach(async () => {
    service++;
    ids = [];
    for (let slot = 0; slot < replicas; slot++) ids.push(await run(slot));
    noteSockets();
  });

  afterEach(async () => {
    noteSockets();
    await Promise.all(
      test.it.list().map(({ id }) => test.it.remove(id, { force: true, volumes: true })),
    );
    ok(sockets.size >= ownShims);
    deepEqual([...sockets].filter(existsSync), [], "no socket of a shim is left");
    sockets.clear();
  });

  after(() => test.remove());

  function noteSockets(): void {
    const bundles = join(
      test.containerd.places.stateFolder,
      "io.containerd.runtime.v2.task",
      test.client.namespace,
    );
    for (const id of readdirSync(bundles)) {
      const address = readFileSync(join(bundles, id, "address"), "utf8");
      sockets.add(address.trim().replace("unix://", ""));
    }
  }

  function run(slot: number): Promise<string> {
    const task: NonNullable<ContainerConfig["task"]> = {
      ...{ taskId: `t${service}-${slot}`, taskName: `web${service}.${slot}`, nodeId: "n" },
      ...{ serviceId: `s${service}`, serviceName: `web${service}` },
    };
    return test.run({ task, command: ["sh", "-c", "trap 'exit 7' TERM; sleep 1000 & wait"] });
  }

  const pidOf = (id: string) => test.it.find(id).state.pid;
  const shimOf = (id: string) => parentOf(pidOf(id));
  /** The two that have the first shim, and one of another. */
  function some(): { first: string; second: string; other: string } {
    const [first = "", other = ""] = ids;
    return { first, second: ids[ownShims] ?? "", other };
  }

  async function output(id: string, command: string[]): Promise<string> {
    const streams = { tty: false, attachStdin: false, attachStdout: true, attachStderr: true };
    const process = { env: [], user: "", workingDir: "", privileged: false };
    const exec = await test.it.createExec(id, { command, ...process, ...streams });
    const attached = await test.it.startExec(exec, { detach: false, size: undefined });
    let text = "";
    for await (const { data } of attached?.output ?? []) text += Buffer.from(data).toString();
    return text;
  }

  it("has half as many as containers", () => {
    const shims = ids.map(shimOf);
    equal(new Set(shims).size, ownShims);
    deepEqual(shims.slice(0, ownShims), shims.slice(ownShims));
  });

  it("is no more for new ones once it is switched off, and as it was for those that run", async () => {
    const shims = ids.map(shimOf);
    await test.stop();
    test.sharedShims = false;
    try {
      await test.start();
      deepEqual(ids.map(shimOf), shims);
      const next = [await run(replicas), await run(replicas + 1)].map(shimOf);
      equal(new Set([...shims, ...next]).size, ownShims + 2);
    } finally {
      test.sharedShims = true;
      await test.stop();
      await test.start();
    }
  });

  it("ends those of a shim that is killed, and no others", async () => {
    const { first, second, other } = some();
    const ended = [first, second].map((id) => test.it.wait(id, "next-exit", patient));
    process.kill(shimOf(first), "SIGKILL");
    deepEqual(
      (await Promise.all(ended)).map(({ exitCode }) => exitCode),
      [137, 137],
    );
    for (const id of ids) {
      equal(test.it.find(id).state.phase, id === first || id === second ? "exited" : "running");
    }
    match(await output(other, ["echo", "here"]), /here/);
    // Nobody joins what is gone.
    const next = await run(replicas);
    match(await output(next, ["echo", "new"]), /new/);
    equal(test.it.find(next).state.phase, "running");
  });

  it("stays with those that are left, over a death of containerd and a restart of the daemon", async () => {
    const { first, second, other } = some();
    const [pid, shim] = [pidOf(second), shimOf(second)];
    await test.it.remove(first, { force: true, volumes: true });
    equal(shimOf(second), shim);
    // The shim was started in the folder of the one that is gone.
    match(await output(second, ["hostname"]), new RegExp(second.slice(0, 12)));
    await killContainerd();
    match(await output(second, ["hostname"]), new RegExp(second.slice(0, 12)));
    await test.stop();
    await test.start();
    equal(pidOf(second), pid);
    equal(test.it.find(other).state.phase, "running");
    match(await output(second, ["hostname"]), new RegExp(second.slice(0, 12)));
    const ended = test.it.wait(second, "next-exit", patient);
    await test.it.stop(second, { signal: "TERM", timeoutS: 30 });
    equal((await ended).exitCode, 7);
    await test.it.remove(second, { force: false, volumes: true });
    await until(() => !existsSync(`/proc/${shim}`) || isZombie(shim), {
      withinMs: 60_000,
      what: "the shim has ended with its last container",
    });
  });

  it("tells each end by itself, with its code", async () => {
    const { first, second } = some();
    const ended = test.it.wait(second, "next-exit", patient);
    await test.it.stop(second, { signal: "TERM", timeoutS: 30 });
    equal((await ended).exitCode, 7);
    equal(test.it.find(first).state.phase, "running");
    match(await output(first, ["echo", "here"]), /here/);
    // One has ended, so that a new one does not join.
    const next = await run(replicas);
    notEqual(shimOf(next), shimOf(first));
  });

  /** Resolves when another runs. */
  async function killContainerd(): Promise<void> {
    const pidNow = () => {
      const state = test.containerd.supervisor().state();
      return state.kind === "up" ? state.pid : undefined;
    };
    const pid = pidNow();
    ok(pid !== undefined);
    process.kill(pid, "SIGKILL");
    const isBack = () => ![pid, undefined].includes(pidNow());
    await until(isBack, { withinMs: 60_000, what: "containerd is back" });
  }
});

function isZombie(pid: number): boolean {
  return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}
