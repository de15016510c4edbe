/**
 * Containers over a real containerd: what runs inside, how it ends, and what is left.
 */
import { deepEqual, equal, match, notEqual, ok, rejects, throws } from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { SizedLayers } from "../../../agent/exec/containerd/sized-layers.ts";
import { Mount, Ulimit } from "../../../src/common/api/generated/api.ts";
import { snapshotterName } from "../../../src/common/containerd/client.ts";
import {
  ContainersService,
  LeasesService,
  SnapshotsService,
  TasksService,
} from "../../../src/common/containerd/generated/protocol.ts";
import { hasCode } from "../../../src/common/errors/cluster-error.ts";
import { makeImage } from "../../support/busybox-image.ts";
import { noNetworks, patient, TestContainers } from "../../support/containers.ts";
import { loopFilesBelow } from "../../support/leaks.ts";
import { until } from "../../support/wait.ts";

const megabyte = 1024 * 1024;

for (const program of ["crun", "runc"]) {
  describe(`agent/exec/containerd/containers by ${program}`, () => {
    const test = new TestContainers();
    test.programs = [program];
    const networks = { ...noNetworks };
    test.networks = networks;
    // How many records containerd was asked to make at once.
    const records = { now: 0, most: 0 };
    test.through = (client) => ({
      ...client,
      call: async (method, request, options) => {
        if (method.path !== ContainersService.create.path) {
          return client.call(method, request, options);
        }
        records.most = Math.max(records.most, ++records.now);
        return client.call(method, request, options).finally(() => records.now--);
      },
    });
    const within = async (command: string, config: Parameters<typeof test.runToEnd>[0] = {}) =>
      (await test.runToEnd({ command: ["sh", "-c", command], ...config })).output.trim();

    before(async () => {
      await test.start();
      test.images.push(
        await makeImage(test.client, "busybox:1", {}, [
          [
            { path: "etc", folder: true },
            { path: "etc/passwd", text: "root:x:0:0::/root:\nbee:x:1000:1001::/hive/bee:\n" },
            { path: "etc/group", text: "root:x:0:\nbee:x:1001:\nhive:x:2000:bee\n" },
            { path: "shared", folder: true },
          ],
        ]),
      );
    });

    after(() => test.remove());

    it("runs a program to its end, with output and exit code", async () => {
      const { exitCode, output } = await test.runToEnd({
        command: ["sh", "-c", "echo $GREETING; exit 7"],
        env: ["GREETING=hello"],
      });
      deepEqual({ exitCode, output }, { exitCode: 7, output: "hello\n" });
    });

    it("gives it Docker's restrictions", async () => {
      const status = await within("cat /proc/self/status; cat /sys/x /proc/kcore 2>&1 | wc -c");
      match(status, /CapEff:\s+00000000a80425fb/);
      match(status, /CapBnd:\s+00000000a80425fb/);
      match(status, /CapInh:\s+0000000000000000/);
      match(status, /Seccomp:\s+2/);
      match(status, /NoNewPrivs:\s+0/);
    });

    it("gives the next containers the filter that was compiled for the first, and no weaker one", async () => {
      const starts = async (config: Parameters<typeof test.runToEnd>[0] = {}) => {
        const command = ["sleep", "100"];
        const { id } = await test.it.create(test.config({ command, ...config }), patient);
        await test.it.start(id, patient);
        const { container } = await test.client.call(ContainersService.get, { id });
        const spec = JSON.parse(Buffer.from(container?.spec?.value ?? []).toString());
        const state = join(test.containerd.dir, "runtime", program, "skep", id, "seccomp.bpf");
        const filter = existsSync(state) ? readFileSync(state, "base64") : undefined;
        await test.it.remove(id, { force: true, volumes: true });
        return { given: spec.annotations?.["run.oci.seccomp_bpf_data"], filter, spec };
      };
      const first = await starts();
      const second = await starts();
      equal(second.given, first.filter);
      equal(second.filter, first.filter);
      deepEqual(second.spec.linux.seccomp, first.spec.linux.seccomp);
      equal(first.filter === undefined, program !== "crun");
      // Other rules have a filter of their own.
      const other = await starts({ capabilityAdd: ["SYS_ADMIN"] });
      if (program === "crun") notEqual(other.filter, first.filter);
      match(await within("unshare -m true 2>&1"), /Operation not permitted/);
    });

    it("lets many have their networks at once, though few are made or start at once", async () => {
      const count = 2 * availableParallelism() + 2;
      let [waiting, begin] = [0, () => {}];
      const all = new Promise<void>((resolve) => {
        begin = resolve;
      });
      networks.join = async (container, signal) => {
        if (++waiting === count) begin();
        await all;
        return noNetworks.join(container, signal);
      };
      const create = () =>
        test.it.create(test.config({ command: ["sleep", "100"], networks: [] }), patient);
      const ids = (await Promise.all(Array.from({ length: count }, create))).map(({ id }) => id);
      await Promise.all(ids.map((id) => test.it.start(id, patient)));
      deepEqual(new Set(ids.map((id) => test.it.find(id).state.phase)), new Set(["running"]));
      equal(records.most, 2 * availableParallelism());
      const remove = (id: string) => test.it.remove(id, { force: true, volumes: true });
      await Promise.all(ids.map(remove));
      networks.join = noNetworks.join;
    });

    it("runs as the user the image knows by name, with that user's groups and home", async () => {
      equal(
        await within("id; echo $HOME; cat /proc/self/status | head -40", { user: "bee" }).then(
          (text) => text.split("\n").slice(0, 2).join("|"),
        ),
        "uid=1000(bee) gid=1001(bee) groups=1001(bee),2000(hive)|/hive/bee",
      );
      match(await within("cat /proc/self/status", { user: "bee" }), /CapEff:\s+0{16}/);
    });

    it("refuses a user that the image does not know, and leaves nothing", async () => {
      await rejects(
        test.it.create(test.config({ user: "wasp" }), patient),
        /unable to find user wasp: no matching entries in passwd file/,
      );
      deepEqual(test.it.list(), []);
    });

    it("makes hosts, hostname and resolv.conf", async () => {
      const text = await within("hostname; cat /etc/hosts /etc/resolv.conf", {
        hostname: "cell",
        extraHosts: ["queen:10.1.2.3"],
        dns: ["10.9.9.9"],
        dnsSearch: ["hive.test"],
      });
      match(text, /^cell\n127\.0\.0\.1\tlocalhost\n/);
      match(text, /\n10\.1\.2\.3\tqueen\n/);
      match(text, /\nnameserver 10\.9\.9\.9\nsearch hive\.test$/);
    });

    it("mounts binds, tmpfs and volumes, and keeps what a volume holds", async () => {
      const folder = join(test.containerd.dir, "bound");
      mkdirSync(folder);
      writeFileSync(join(folder, "file"), "from the node\n");
      const mount = (fields: Partial<Mount>) => Mount.create(fields);
      const mounts = [
        mount({ type: "bind", source: folder, target: "/bound", readOnly: true }),
        mount({
          type: "tmpfs",
          target: "/scratch",
          tmpfs: { sizeBytes: megabyte, mode: 0o750, options: [] },
        }),
        mount({ type: "volume", source: "honey", target: "/shared/honey" }),
      ];
      const text = await within(
        "cat /bound/file; touch /bound/y 2>/dev/null; stat -c %a /scratch; echo kept > /shared/honey/jar; mount | grep -c 'shm.*size=65536k'",
        { mounts },
      );
      equal(text, "from the node\n750\n1");
      ok(!existsSync(join(folder, "y")));
      equal(await within("cat /shared/honey/jar", { mounts: mounts.slice(2) }), "kept");
    });

    it("refuses a bind whose source is missing", async () => {
      await rejects(
        test.it.create(
          test.config({ mounts: [Mount.create({ source: "/not/there", target: "/x" })] }),
          patient,
        ),
        /invalid mount config for type "bind": bind source path does not exist: \/not\/there/,
      );
    });

    it("keeps secrets in memory, for their owner alone", async () => {
      const data = new TextEncoder().encode("sting");
      const files = [
        { target: "/run/secrets/a", data, uid: 1000, gid: 1001, mode: 0o400 },
        { target: "/usr/bin/b", data, uid: 7, gid: 0, mode: 0o4775 },
      ];
      const command = "cat /run/secrets/a; stat -c '%u %g %a' /run/secrets/a /usr/bin/b";
      const umask = process.umask(0o077);
      const { id } = await test.it
        .create(test.config({ command: ["sh", "-c", command], files }), patient)
        .finally(() => process.umask(umask));
      const { containers } = await test.client.call(ContainersService.list, {});
      ok(!JSON.stringify(containers.map(({ extensions }) => extensions)).includes("sting"));
      const ended = test.it.wait(id, "next-exit", patient);
      await test.it.start(id, patient);
      await ended;
      match(test.output(id), /^sting1000 1001 400\n7 0 4775\n$/);
      await test.it.remove(id, { force: false, volumes: false });
      ok(!existsSync(join(test.memory, id)));
    });

    it("has secret variables in the environment and in no record, until the task ends", async () => {
      const secretEnv = [{ name: "STING", value: "it's bitter" }];
      const task = { taskId: "t", taskName: "t", nodeId: "n", serviceId: "s", serviceName: "s" };
      const ulimits = [Ulimit.create({ name: "core", soft: 0, hard: 0 })];
      const command = [
        "sh",
        "-c",
        "echo $A $(echo $STING | wc -c); cat /proc/1/coredump_filter; sleep 60",
      ];
      const { id } = await test.it.create(
        test.config({
          command,
          env: ["A=b", "STING=x"],
          secretEnv,
          task,
          ulimits,
        }),
        patient,
      );
      await test.it.start(id, patient);
      await until(() => /0{8}/.test(test.output(id)), { withinMs: 60_000, what: "it has read" });
      match(test.output(id), /^b 12$/m);
      ok(!JSON.stringify(test.it.find(id)).includes("bitter"));
      const { state } = test.it.find(id);
      match(readFileSync(`/proc/${state.pid}/limits`, "utf8"), /Max core file size +0 +0 /);
      // With containerd's database and the bundles in it.
      const disk = test.containerd.dir;
      equal(spawnSync("grep", ["-rlF", "bitter", disk], { encoding: "utf8" }).stdout, "");
      ok(existsSync(join(test.memory, id)));
      // Whatever else its end waits for.
      let leave = () => {};
      const left = new Promise<void>((resolve) => {
        leave = resolve;
      });
      networks.leave = () => left;
      const stopped = test.it.stop(id, { signal: "KILL", timeoutS: 0 });
      await until(() => !existsSync(join(test.memory, id)), {
        withinMs: 60_000,
        what: "its secrets are gone",
      });
      leave();
      await stopped;
      networks.leave = noNetworks.leave;
      await test.it.remove(id, { force: false, volumes: false });
    });

    it("sets limits, and changes them while it runs", async () => {
      const limits = (memoryBytes: number) => ({
        limits: { nanoCpus: 5e8, memoryBytes, pids: 20, generic: [] },
        reservations: undefined,
        swapBytes: undefined,
        memorySwappiness: undefined,
      });
      const id = await test.run({
        command: ["sleep", "1000"],
        resources: limits(64 * megabyte),
        ulimits: [{ name: "nofile", soft: 100, hard: 200 }],
      });
      equal(memoryLimit(test, id), 64 * megabyte);
      const { pid } = test.it.find(id).state;
      match(readFileSync(`/proc/${pid}/limits`, "utf8"), /Max open files\s+100\s+200/);
      await test.it.update(id, {
        resources: limits(96 * megabyte),
        extraLimits: undefined,
        restartPolicy: undefined,
      });
      equal(memoryLimit(test, id), 96 * megabyte);
      await test.it.remove(id, { force: true, volumes: true });
    });

    it("says that the kernel ended it for want of memory", async () => {
      const { id } = await test.it.create(
        test.config({
          command: ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=100M count=1"],
          resources: {
            limits: { nanoCpus: 0, memoryBytes: 8 * megabyte, pids: 0, generic: [] },
            reservations: undefined,
            swapBytes: 0,
            memorySwappiness: undefined,
          },
        }),
        patient,
      );
      const ended = test.it.wait(id, "next-exit", patient);
      await test.it.start(id, patient);
      equal((await ended).exitCode, 137);
      equal(test.it.find(id).state.oomKilled, true);
      await test.it.remove(id, { force: false, volumes: true });
    });

    it("fails with a shell's codes when there is no such program", async () => {
      const start = async (command: string[]) => {
        const { id } = await test.it.create(test.config({ command }), patient);
        await rejects(test.it.start(id, patient), (error) => hasCode(error, "invalid-argument"));
        const { exitCode, error } = test.it.find(id).state;
        await test.it.remove(id, { force: false, volumes: true });
        return { exitCode, error };
      };
      equal((await start(["no-such-program"])).exitCode, 127);
      const { exitCode, error } = await start(["/etc/passwd"]);
      equal(exitCode, 126);
      match(error, /permission denied/i);
    });

    it("stops by signal, and by the kill where that is ignored", async () => {
      const handled = await test.run({
        command: ["sh", "-c", "trap 'exit 5' TERM; while true; do sleep 0.05; done"],
      });
      await until(
        () => readFileSync(`/proc/${pidOf(handled)}/status`, "utf8").match(/SigCgt:.*4/) !== null,
        {
          withinMs: 60_000,
          what: "the trap is set",
        },
      );
      await test.it.stop(handled, { signal: "", timeoutS: 30 });
      equal(test.it.find(handled).state.exitCode, 5);
      const ignored = await test.run({ command: ["sleep", "1000"] });
      await test.it.stop(ignored, { signal: "", timeoutS: 0 });
      equal(test.it.find(ignored).state.exitCode, 137);
      const helped = await test.run({ command: ["sleep", "1000"], init: true });
      // A signal before the init has set itself up is lost, as it is for every first process.
      await until(() => childOf(pidOf(helped)) !== "", {
        withinMs: 60_000,
        what: "the init has started its program",
      });
      await test.it.stop(helped, { signal: "", timeoutS: 30 });
      equal(test.it.find(helped).state.exitCode, 143);
      for (const id of [handled, ignored, helped]) {
        await test.it.remove(id, { force: false, volumes: true });
      }
    });

    it("pauses, and lets go", async () => {
      const id = await test.run({ command: ["sleep", "1000"] });
      await test.it.pause(id);
      equal(test.it.find(id).state.phase, "paused");
      await rejects(test.it.pause(id), /is already paused/);
      await test.it.unpause(id);
      equal(test.it.find(id).state.phase, "running");
      await test.it.pause(id);
      // The kill of a paused one ends it all the same.
      await test.it.remove(id, { force: true, volumes: true });
    });

    it("starts again as often as its policy says", async () => {
      const { id } = await test.it.create(
        test.config({
          command: ["false"],
          restartPolicy: { name: "on-failure", retriesMax: 2 },
        }),
        patient,
      );
      await test.it.start(id, patient);
      const state = await until(
        () => {
          const { phase, restartCount } = test.it.find(id).state;
          return phase === "exited" && restartCount === 2;
        },
        { withinMs: 60_000, what: "it was started twice again" },
      );
      ok(state);
      await test.it.remove(id, { force: false, volumes: true });
    });

    it("goes with its end when it is to, and its anonymous volumes too", async () => {
      const { id } = await test.it.create(
        test.config({ command: ["true"], autoRemove: true, anonymousVolumes: ["/data"] }),
        patient,
      );
      const [volume] = test.it.find(id).mounts;
      ok(existsSync(volume?.source ?? ""));
      const removed = test.it.wait(id, "removed", patient);
      await test.it.start(id, patient);
      equal((await removed).exitCode, 0);
      throws(() => test.it.find(id), /No such container/);
      ok(!existsSync(volume?.source ?? ""));
    });

    it("shares namespaces of the node and of other containers", async () => {
      const link = (pid: number | string, name: string) =>
        readFileSync(`/proc/${pid}/${name}`, "utf8");
      const first = await test.run({ command: ["sleep", "1000"], ipcMode: "shareable" });
      const second = await test.run({
        command: ["sleep", "1000"],
        networks: [`container:${first}`],
        pidMode: `container:${first}`,
        ipcMode: `container:${first}`,
      });
      const third = await test.run({ command: ["sleep", "1000"], networks: ["host"] });
      const space = (pid: number, kind: string) =>
        namespaceOf(pid === 0 ? "self" : String(pid), kind);
      for (const kind of ["net", "pid", "ipc"]) {
        equal(space(pidOf(second), kind), space(pidOf(first), kind), kind);
        notEqual(space(pidOf(first), kind), space(0, kind), kind);
      }
      equal(space(pidOf(third), "net"), space(0, "net"));
      ok(link(pidOf(first), "cmdline").startsWith("sleep"));
      for (const id of [third, second, first]) {
        await test.it.remove(id, { force: true, volumes: true });
      }
      await rejects(
        test.it.create(test.config({ networks: ["container:nobody"] }), patient),
        /No such container: nobody/,
      );
    });

    it("has names, one container each", async () => {
      const { id } = await test.it.create(
        test.config({ name: "queen", command: ["sleep", "1000"] }),
        patient,
      );
      equal(test.it.find("queen").id, id);
      equal(test.it.find(id.slice(0, 12)).id, id);
      await rejects(
        test.it.create(test.config({ name: "queen" }), patient),
        /Conflict\. The container name "\/queen" is already in use by container/,
      );
      await test.it.rename("queen", "drone");
      throws(() => test.it.find("queen"), /No such container: queen/);
      const started = test.it.start("drone", patient);
      await started;
      await rejects(
        test.it.remove("drone", { force: false, volumes: false }),
        /cannot remove container "\/drone": container is running/,
      );
      await test.it.remove("drone", { force: true, volumes: false });
    });

    it("is spared by the collector while it is made", async () => {
      let isOver = false;
      const collecting = (async () => {
        for (let round = 0; !isOver; round++) {
          const id = `collect-${round}`;
          await test.client.call(LeasesService.create, { id, labels: {} });
          await test.client.call(LeasesService.delete, { id, sync: true });
        }
      })();
      for (let round = 0; round < 5; round++) {
        equal((await test.runToEnd({ command: ["true"] })).exitCode, 0);
      }
      isOver = true;
      await collecting;
    });

    it("tells what happens", async () => {
      const over = new AbortController();
      const actions: string[] = [];
      const reading = (async () => {
        for await (const { action } of test.it.events(over.signal)) actions.push(action);
      })();
      await test.runToEnd({ command: ["true"] });
      over.abort();
      await reading;
      deepEqual(actions, ["create", "start", "die", "destroy"]);
    });

    it("clears layers with a size that a crash has left, mounted or not", async () => {
      const ids = ["a", "b"].map((letter) => letter.repeat(64));
      for (const id of ids) await test.layers.make({ id, storageBytes: 4 * megabyte });
      const [id = ""] = ids;
      const own = { type: "bind", source: test.containerd.dir, target: "", options: [] };
      const [bounded] = await test.layers.boundedIn({ id, storageBytes: 1 }, [own]);
      writeFileSync(join(bounded?.source ?? "", "file"), "left");
      equal(loopFilesBelow(test.containerd.dir).length, 1);
      await test.stop();
      await test.start();
      deepEqual(test.layers.ids(), []);
      const free = () => loopFilesBelow(test.containerd.dir).length === 0;
      await until(free, { withinMs: 60_000, what: "its loop device to be free" });
    });

    it("makes no container where its size cannot be held to, and leaves nothing", async () => {
      const folder = join(test.containerd.dir, "layers");
      const fails = async () => Promise.reject(new Error("no loop device is free"));
      const without = new SizedLayers(folder, fails);
      const wish = { id: "c".repeat(64), storageBytes: 4 * megabyte };
      await rejects(without.make(wish), /storage size cannot be held to on this node: no loop/);
      await without.remove(wish.id);
      deepEqual(without.ids(), []);
    });

    it("leaves nothing of a container that was removed", async () => {
      const { client } = test;
      deepEqual((await client.call(ContainersService.list, {})).containers, []);
      deepEqual((await client.call(TasksService.list, {})).tasks, []);
      const keys: string[] = [];
      for await (const { info } of client.list(SnapshotsService.list, {
        snapshotter: snapshotterName,
      })) {
        keys.push(...info.filter(({ kind }) => kind === "active").map(({ name }) => name));
      }
      deepEqual(keys, []);
      equal((await client.call(LeasesService.list, {})).leases.length, 1);
    });

    function pidOf(id: string): number {
      return test.it.find(id).state.pid;
    }
  });
}

function memoryLimit(test: TestContainers, id: string): number {
  const { version, mountOf } = test.node.cgroups;
  const file = version === 1 ? "memory.limit_in_bytes" : "memory.max";
  return Number(readFileSync(`${mountOf.get("memory")}${test.cgroupParent}/${id}/${file}`, "utf8"));
}

function childOf(pid: number): string {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
}

function namespaceOf(pid: string, kind: string): string {
  return readlinkSync(`/proc/${pid}/ns/${kind}`);
}
