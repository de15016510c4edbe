/**
 * Containers whose daemon, containerd or node dies under them.
 */
import { deepEqual, equal, match, notEqual, ok, rejects, throws } from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mountsIn } from "../../../agent/volumes/mounting.ts";
import { Mount } from "../../../src/common/api/generated/api.ts";
import type { ContainerConfig } from "../../../src/common/container/types.ts";
import {
  type ContainerRecord,
  ContainersService,
  SnapshotsService,
  TasksService,
} from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { makeImage } from "../../support/busybox-image.ts";
import { patient, TestContainers } from "../../support/containers.ts";
import { parentOf } from "../../support/host-processes.ts";
import { loopFilesBelow } from "../../support/leaks.ts";
import { until } from "../../support/wait.ts";

describe("agent/exec/containerd survival", () => {
  const test = new TestContainers();
  test.programs = ["crun"];

  before(async () => {
    await test.start();
    test.images.push(await makeImage(test.client, "busybox:1"));
  });

  after(() => test.remove());

  /** Ends with the given code once the file is there. */
  const waiting = (code: number) =>
    test.run({
      command: ["sh", "-c", `until [ -e /gate/open-${code} ]; do sleep 0.02; done; exit ${code}`],
      mounts: [Mount.create({ source: test.containerd.dir, target: "/gate" })],
      networks: ["host"],
    });
  const open = (code: number) => writeFileSync(join(test.containerd.dir, `open-${code}`), "");

  it("runs on while containerd is dead, and its end is told after that", async () => {
    const id = await waiting(3);
    const { pid } = test.it.find(id).state;
    const ended = test.it.wait(id, "next-exit", patient);
    killContainerd(test);
    open(3);
    equal((await ended).exitCode, 3);
    ok(!existsSync(`/proc/${pid}`));
    await test.it.remove(id, { force: false, volumes: false });
  });

  it("runs on without daemon and containerd, and is taken over with the same process", async () => {
    const id = await waiting(4);
    const before = test.it.find(id);
    await test.stopClass();
    killContainerd(test);
    await test.containerd.stop();
    await test.start();
    const found = test.it.find(id);
    // What the kernel has, and when the start was over: on a busy machine a while lies between.
    ok(Math.abs(found.state.startedAtMs - before.state.startedAtMs) < 20_000);
    deepEqual({ ...found.state, startedAtMs: 0 }, { ...before.state, startedAtMs: 0 });
    equal(found.config.networks[0], "host");
    ok(existsSync(`/proc/${before.state.pid}`));
    const ended = test.it.wait(id, "next-exit", patient);
    open(4);
    equal((await ended).exitCode, 4);
    await test.it.remove(id, { force: false, volumes: false });
  });

  it("tells an end that nobody saw once, with its code and its time", async () => {
    const id = await waiting(5);
    const { pid } = test.it.find(id).state;
    await test.stopClass();
    await test.containerd.stop();
    open(5);
    await until(() => !existsSync(`/proc/${pid}`) || isZombie(pid), {
      withinMs: 60_000,
      what: "it has ended",
    });
    const endedMs = Date.now();
    const events: string[] = [];
    await test.start();
    const { phase, exitCode, finishedAtMs } = test.it.find(id).state;
    deepEqual({ phase, exitCode }, { phase: "exited", exitCode: 5 });
    ok(finishedAtMs <= endedMs, "the time is that of the end");
    const over = new AbortController();
    const reading = (async () => {
      for await (const { action } of test.it.events(over.signal)) events.push(action);
    })();
    await test.stop();
    over.abort();
    await reading;
    await test.start();
    equal(test.it.find(id).state.finishedAtMs, finishedAtMs);
    deepEqual(events, []);
    await test.it.remove(id, { force: false, volumes: false });
  });

  it("forgets what a task has read whose daemon died once its end was told", async () => {
    const task = { taskId: "t", taskName: "t", nodeId: "n", serviceId: "s", serviceName: "s" };
    const key = { target: "/key", data: Buffer.from("sweet"), uid: 0, gid: 0, mode: 0o400 };
    const ids = [1, 2].map(() => test.run({ command: ["sleep", "1000"], files: [key], task }));
    const [first = "", second = ""] = await Promise.all(ids);
    // Of the second one the daemon does not even come to remove the task.
    let isCut = false;
    await test.stop();
    test.through = (client) => ({
      ...client,
      call: async (method, request, options) => {
        const isIt = (request as { containerId?: string }).containerId === second;
        if (method.path !== TasksService.delete.path || !isIt)
          return client.call(method, request, options);
        isCut = true;
        throw new ClusterError("not-found", "so it seems");
      },
    });
    await test.start();
    for (const id of [first, second]) await test.it.stop(id, { signal: "KILL", timeoutS: 0 });
    await test.stop();
    test.through = (client) => client;
    ok(isCut);
    for (const id of [first, second]) {
      mkdirSync(join(test.memory, id));
      writeFileSync(join(test.memory, id, "key"), "sweet");
    }
    await test.start();
    for (const id of [first, second]) ok(!existsSync(join(test.memory, id)));
    deepEqual((await test.client.call(TasksService.list, {})).tasks, []);
    for (const id of [first, second]) await test.it.remove(id, { force: false, volumes: false });
  });

  it("is told with its own code when its shim dies while tasks are compared", async () => {
    const id = await test.run({ command: ["sleep", "1000"] });
    await test.stop();
    let looks = 0;
    test.through = (client) => ({
      ...client,
      call: async (method, request, options) => {
        // The first look takes the container over.
        if (method.path !== TasksService.list.path || ++looks !== 2) {
          return client.call(method, request, options);
        }
        process.kill(parentOf(test.it.find(id).state.pid), "SIGKILL");
        // Containerd lists it no more, long before it tells its end.
        const isListed = async () =>
          (await client.call(TasksService.list, {})).tasks.some((task) => task.id === id);
        while (await isListed());
        return client.call(method, request, options);
      },
    });
    await test.start();
    const { exitCode } = await test.it.wait(id, "not-running", patient);
    test.through = (client) => client;
    ok(looks >= 2);
    equal(exitCode, 137);
    equal(test.it.find(id).state.error, "");
    await test.it.remove(id, { force: false, volumes: false });
  });

  it("starts what its policy wants to run, after the node went down", async () => {
    const kept = await test.run({
      command: ["sleep", "1000"],
      restartPolicy: { name: "always", retriesMax: 0 },
    });
    const lost = await test.run({ command: ["sleep", "1000"] });
    const { pid } = test.it.find(kept).state;
    const pids = [pid, test.it.find(lost).state.pid];
    await test.stop();
    await powerCut(pids);
    await test.start();
    const state = test.it.find(lost).state;
    deepEqual({ phase: state.phase, exitCode: state.exitCode }, { phase: "exited", exitCode: 255 });
    match(state.error, /the node went down/);
    await until(() => test.it.find(kept).state.phase === "running", {
      withinMs: 60_000,
      what: "it runs again",
    });
    notEqual(test.it.find(kept).state.pid, pid);
    for (const id of [kept, lost]) await test.it.remove(id, { force: true, volumes: false });
  });

  it("keeps what a layer with a size holds, and its bound, after the node went down", async () => {
    const id = await test.run({
      command: ["sh", "-c", "cat /kept; echo honey >>/kept; sleep 1000"],
      restartPolicy: { name: "always", retriesMax: 0 },
      storageBytes: 8 * 1024 * 1024,
    });
    const read = (path: string) => {
      const { pid } = test.it.find(id).state;
      const file = `/proc/${pid}/root${path}`;
      return pid > 0 && existsSync(file) ? readFileSync(file, "utf8") : "";
    };
    const has = (text: string) =>
      until(() => read("/kept") === text, { withinMs: 60_000, what: `to read ${text}` });
    await has("honey\n");
    const { pid } = test.it.find(id).state;
    await test.stop();
    equal(loopFilesBelow(test.containerd.dir).length, 1, "it runs on");
    await powerCut([pid]);
    const layers = join(test.containerd.dir, "layers");
    for (const path of mountsIn(layers).filter((one) => one !== layers))
      execFileSync("umount", ["-l", path]);
    await test.start();
    await has("honey\nhoney\n");
    const root = `/proc/${test.it.find(id).state.pid}/root`;
    throws(() => writeFileSync(`${root}/big`, Buffer.alloc(16 * 1024 * 1024)), /ENOSPC/);
    await test.it.remove(id, { force: true, volumes: false });
    const free = () => loopFilesBelow(test.containerd.dir).length === 0;
    await until(free, { withinMs: 60_000, what: "its loop device to be free" });
    deepEqual(test.layers.ids(), []);
  });

  it("leaves nothing of a container whose containerd dies while it is made", async () => {
    const [image] = test.images;
    ok(image !== undefined);
    // What it stands on is asked for when its record is written and its file system is next.
    const deadly = { ...image, id: `sha256:${"d".repeat(64)}`, tags: ["deadly:1"] };
    Object.defineProperty(deadly, "diffIds", {
      get: () => {
        killContainerd(test);
        return image.diffIds;
      },
    });
    test.images.push(deadly);
    await rejects(test.it.create(test.config({ image: "deadly:1" }), patient));
    test.images.pop();
    const left = async () => {
      await test.containerd.supervisor().ready();
      const { containers } = await test.client.call(ContainersService.list, {});
      const folder = readdirSync(join(test.containerd.dir, "containers"));
      return [...containers.map(({ id }) => id), ...folder];
    };
    await until(async () => (await left()).length === 0, {
      withinMs: 60_000,
      what: "nothing of it is left",
    });
  });

  it("takes over no container that was not made to its end when the daemon died", async () => {
    const make = async (config: Partial<ContainerConfig>) =>
      (await test.it.create(test.config(config), patient)).id;
    const noFileSystem = await make({});
    const unfinished = await make({});
    const whole = await make({});
    const file = { target: "/key", data: Buffer.from("sweet"), uid: 0, gid: 0, mode: 0o444 };
    const noSecret = await make({ files: [file] });
    await test.stopClass();
    rmSync(join(test.memory, noSecret), { recursive: true });
    // What there is when the daemon dies after the record, and in what comes after the file system.
    const snapshotter = "overlayfs";
    await test.client.call(SnapshotsService.remove, {
      snapshotter,
      key: `container-${noFileSystem}`,
    });
    await test.client.call(ContainersService.update, {
      container: { ...noRecord, id: unfinished, labels: { "skep.unfinished": "yes" } },
      updateMask: { paths: ["labels.skep.unfinished"] },
    });
    await test.stop();
    await test.start();
    deepEqual(
      test.it.list().map(({ id }) => id),
      [whole],
    );
    const { containers } = await test.client.call(ContainersService.list, {});
    deepEqual(
      containers.map(({ id }) => id),
      [whole],
    );
    deepEqual(readdirSync(join(test.containerd.dir, "containers")), [whole]);
    await test.it.remove(whole, { force: false, volumes: false });
  });

  it("counts a container with a volume as made when its volume is filled", async () => {
    const mounts = [Mount.create({ type: "volume", source: "filled", target: "/filled" })];
    const { id } = await test.it.create(test.config({ mounts }), patient);
    await test.stop();
    await test.start();
    ok(test.it.find(id));
    await test.it.remove(id, { force: false, volumes: false });
  });

  it("makes a file system where a containerd that was killed has left a folder", async () => {
    const folder = join(
      test.containerd.places.folder,
      "root/io.containerd.snapshotter.v1.overlayfs/snapshots",
    );
    const { id } = await test.it.create(test.config({}), patient);
    const numbers = readdirSync(folder).map(Number).filter(Number.isInteger);
    mkdirSync(join(folder, String(Math.max(...numbers) + 1), "fs"), { recursive: true });
    const { id: next } = await test.it.create(test.config({}), patient);
    for (const made of [id, next]) await test.it.remove(made, { force: false, volumes: false });
  });

  it("removes what a crash left half made", async () => {
    const { id } = await test.it.create(test.config({}), patient);
    await test.stop();
    // A folder without a record, and a container whose removal was cut off before its record went.
    const stray = join(test.containerd.dir, "containers", "f".repeat(64));
    mkdirSync(stray);
    await test.start();
    ok(!existsSync(stray));
    ok(test.it.find(id));
    await test.it.remove(id, { force: true, volumes: false });
  });
});

const noRecord: ContainerRecord = {
  ...{ id: "", labels: {}, image: "", runtime: undefined, spec: undefined, extensions: {} },
  ...{ snapshotter: "", snapshotKey: "", createdAt: undefined, updatedAt: undefined },
};

function killContainerd(test: TestContainers): void {
  const state = test.containerd.supervisor().state();
  if (state.kind !== "up") throw new Error("containerd is not up");
  process.kill(state.pid, "SIGKILL");
}

/** Ends containers with their shims, as a loss of power does. */
async function powerCut(pids: readonly number[]): Promise<void> {
  const shims = pids.map((pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  });
  const all = [...shims, ...pids];
  for (const pid of all) process.kill(pid, "SIGKILL");
  await until(() => all.every((pid) => !existsSync(`/proc/${pid}`) || isZombie(pid)), {
    withinMs: 60_000,
    what: "they have ended",
  });
}

function isZombie(pid: number): boolean {
  return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}
