/**
 * What goes into containers and comes out of them, over a real containerd: logs, attach, exec, health checks, files,
 * volumes; and all of it over the end of the daemon.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { extract, pack } from "tar-stream";
import { HealthConfig, Mount } from "../../../src/common/api/generated/api.ts";
import type {
  Attachment,
  AttachOptions,
  ExecConfig,
  LogOptions,
} from "../../../src/common/container/containers.ts";
import type { ContainerConfig } from "../../../src/common/container/types.ts";
import { makeImage } from "../../support/busybox-image.ts";
import { patient, TestContainers } from "../../support/containers.ts";
import { until } from "../../support/wait.ts";

const all: LogOptions = {
  stdout: true,
  stderr: true,
  follow: false,
  sinceNs: undefined,
  untilNs: undefined,
  tail: undefined,
  signal: patient,
};
const everything: AttachOptions = {
  stdin: true,
  stdout: true,
  stderr: true,
  logs: false,
  stream: true,
  signal: patient,
};
const execConfig: ExecConfig = {
  command: [],
  env: [],
  workingDir: "",
  user: "",
  tty: false,
  attachStdin: false,
  attachStdout: true,
  attachStderr: true,
  privileged: false,
};

describe("agent/exec/containerd: streams and files", () => {
  const test = new TestContainers({ whole: true });
  const sh = (script: string) => ["sh", "-c", script];

  before(async () => {
    await test.start();
    test.images.push(
      await makeImage(test.client, "busybox:1", {}, [
        [
          { path: "etc", folder: true },
          { path: "etc/passwd", text: "root:x:0:0::/root:\nbee:x:1000:1001::/hive:\n" },
          { path: "etc/group", text: "bee:x:1001:\n" },
          { path: "data", folder: true, uid: 1000 },
          { path: "data/seed", text: "from the image", uid: 1000, mode: 0o640 },
          { path: "link", link: "/etc/passwd" },
        ],
      ]),
    );
  });

  after(() => test.remove());

  async function logOf(id: string, change: Partial<LogOptions> = {}): Promise<string> {
    let text = "";
    for await (const record of test.it.logs(id, { ...all, ...change })) {
      text += Buffer.from(record.data).toString();
    }
    return text;
  }

  async function taken(attachment: Attachment | undefined, stream?: string): Promise<string> {
    let text = "";
    for await (const chunk of attachment?.output ?? []) {
      if (stream === undefined || chunk.stream === stream)
        text += Buffer.from(chunk.data).toString();
    }
    return text;
  }

  async function ended(config: Partial<ContainerConfig>): Promise<{ id: string; code: number }> {
    const { id } = await test.it.create(test.config(config), patient);
    const end = test.it.wait(id, "next-exit", patient);
    await test.it.start(id, patient);
    return { id, code: (await end).exitCode };
  }

  async function exec(id: string, change: Partial<ExecConfig>) {
    const execId = await test.it.createExec(id, { ...execConfig, ...change });
    const attachment = await test.it.startExec(execId, { detach: false, size: undefined });
    return { execId, attachment };
  }

  async function output(id: string, change: Partial<ExecConfig>) {
    const { execId, attachment } = await exec(id, change);
    const text = await taken(attachment);
    return { text, exitCode: test.it.findExec(execId).exitCode };
  }

  const gone = (id: string) => test.it.remove(id, { force: true, volumes: true });

  describe("logs and attach", () => {
    it("has the whole log when the end is told, both streams, and follows", async () => {
      const { id } = await ended({ command: sh("echo out; echo err >&2; printf open") });
      equal(await logOf(id, { stderr: false }), "out\nopen");
      equal(await logOf(id, { stdout: false }), "err\n");
      equal(
        await logOf(id, { tail: 1, follow: true, stderr: false }).then((t) => t.length > 0),
        true,
      );
      await gone(id);
    });

    it("serves clients, but keeps no log, with the driver none", async () => {
      const logDriver = { name: "none", options: {} };
      const { id } = await test.it.create(
        test.config({ command: ["echo", "seen"], logDriver }),
        patient,
      );
      const reading = test.it.attach(id, everything).then((attachment) => taken(attachment));
      await test.it.start(id, patient);
      equal(await reading, "seen\n");
      await rejects(logOf(id), /configured logging driver does not support reading/);
      equal(test.it.find(id).logPath, "");
      await gone(id);
    });

    it("follows a container to its end", async () => {
      const id = await test.run({ command: sh("echo one; sleep 0.3; echo two") });
      equal(await logOf(id, { follow: true }), "one\ntwo\n");
      await gone(id);
    });

    it("hands 50 MB to an attached client, complete, though the log is rotated", async () => {
      const { id } = await test.it.create(
        test.config({
          command: sh("yes 0123456789012345678901234567890123456789 | head -c 50000000"),
          logDriver: { name: "json-file", options: { "max-size": "1m", "max-file": "2" } },
        }),
        patient,
      );
      const attachment = await test.it.attach(id, everything);
      let bytes = 0;
      const reading = (async () => {
        for await (const { data } of attachment.output) bytes += data.length;
      })();
      await test.it.start(id, patient);
      await reading;
      equal(bytes, 50_000_000);
      const folder = join(test.containerd.dir, "containers", id);
      const logs = readdirSync(folder).filter((name) => name.includes("json.log"));
      equal(logs.length, 2);
      ok(logs.every((name) => statSync(join(folder, name)).size < 1_100_000));
      await gone(id);
    });

    it("gives standard input to the process, and its end", async () => {
      const config = { command: ["wc", "-c"], openStdin: true, stdinOnce: true, attachStdin: true };
      const { id } = await test.it.create(test.config(config), patient);
      const attachment = await test.it.attach(id, everything);
      const reading = taken(attachment);
      const writing = (async () => {
        for (let count = 0; count < 10; count++) await attachment.write(Buffer.alloc(100_000, "x"));
        await attachment.closeStdin();
      })();
      await test.it.start(id, patient);
      await writing;
      equal((await reading).trim(), "1000000");
      await gone(id);
    });

    it("gives a terminal its size, and lets clients come and go", async () => {
      const id = await test.run({ command: ["sh"], tty: true, openStdin: true });
      const first = await test.it.attach(id, everything);
      const second = await test.it.attach(id, { ...everything, stdin: false });
      const reading = taken(second);
      first.close();
      const third = await test.it.attach(id, everything);
      await test.it.resize(id, { width: 101, height: 37 });
      await third.write(Buffer.from("stty size; exit 5\n"));
      const text = await reading;
      match(text, /37 101/);
      equal((await test.it.wait(id, "not-running", patient)).exitCode, 5);
      match(await logOf(id), /37 101/);
      await gone(id);
    });

    it("begins with the log when asked, and loses and doubles nothing", async () => {
      const id = await test.run({
        command: sh(
          "for i in $(seq 1 300); do echo line $i; [ $((i % 50)) = 0 ] && sleep 0.1; [ $i = 250 ] && until [ -e /go ]; do sleep 0.05; done; done",
        ),
      });
      await until(async () => (await logOf(id)).includes("line 100\n"), {
        withinMs: 60_000,
        what: "a hundred lines",
      });
      const reading = taken(await test.it.attach(id, { ...everything, logs: true }));
      // It cannot end before somebody is attached.
      await output(id, { command: ["touch", "/go"] });
      const text = await reading;
      deepEqual(
        text.trimEnd().split("\n"),
        Array.from({ length: 300 }, (_, i) => `line ${i + 1}`),
      );
      await gone(id);
    });
  });

  describe("exec", () => {
    let id: string;

    before(async () => {
      id = await test.run({ command: ["sleep", "1000"], env: ["A=1"], workingDir: "/tmp" });
    });

    after(() => gone(id));

    it("runs with environment, folder, user and exit code", async () => {
      deepEqual(
        await output(id, { command: sh("echo $A $B $(pwd) $(id -u); exit 3"), env: ["B=2"] }),
        {
          text: "1 2 /tmp 0\n",
          exitCode: 3,
        },
      );
      const { text } = await output(id, { command: sh("id; echo $HOME"), user: "bee" });
      equal(text, "uid=1000(bee) gid=1001(bee) groups=1001(bee)\n/hive\n");
    });

    it("keeps the streams apart", async () => {
      const { attachment } = await exec(id, { command: sh("echo out; echo err >&2") });
      equal(await taken(attachment, "stderr"), "err\n");
    });

    it("says what cannot be run, with a shell's exit codes", async () => {
      for (const [command, code] of [
        ["no-such-program", 127],
        ["/etc/passwd", 126],
      ] as const) {
        const execId = await test.it.createExec(id, { ...execConfig, command: [command] });
        await rejects(
          test.it.startExec(execId, { detach: false, size: undefined }),
          /OCI runtime exec failed: exec failed/,
        );
        equal(test.it.findExec(execId).exitCode, code);
      }
    });

    it("takes 100 MB of standard input, byte for byte", async () => {
      const { attachment } = await exec(id, {
        command: sh("cat > /tmp/big; wc -c < /tmp/big"),
        attachStdin: true,
      });
      const hash = createHash("sha256");
      for (let count = 0; count < 100; count++) {
        const block = Buffer.alloc(1_000_000, `${count} is the number of this block. `);
        hash.update(block);
        await attachment?.write(block);
      }
      await attachment?.closeStdin();
      equal((await taken(attachment)).trim(), "100000000");
      const inside = createHash("sha256");
      const reader = await exec(id, { command: sh("cat /tmp/big; rm /tmp/big") });
      for await (const { data } of reader.attachment?.output ?? []) inside.update(data);
      equal(inside.digest("hex"), hash.digest("hex"));
    });

    it("has a terminal of the size that was asked for", async () => {
      const execId = await test.it.createExec(id, {
        ...execConfig,
        command: ["sh"],
        tty: true,
        attachStdin: true,
      });
      const attachment = await test.it.startExec(execId, {
        detach: false,
        size: { width: 90, height: 20 },
      });
      const reading = taken(attachment);
      await attachment?.write(Buffer.from("stty size\n"));
      await test.it.resizeExec(execId, { width: 91, height: 21 });
      await attachment?.write(Buffer.from("stty size; exit 4\n"));
      match(await reading, /21 91\s/);
      equal(test.it.findExec(execId).exitCode, 4);
    });

    it("has a size wait for the process it is for", async () => {
      const command = sh("until stty size | grep -q '33 77'; do sleep 0.05; done; exit 6");
      const config = { ...execConfig, command, tty: true, attachStdin: true };
      const execId = await test.it.createExec(id, config);
      const resizing = test.it.resizeExec(execId, { width: 77, height: 33 });
      const attachment = await test.it.startExec(execId, { detach: false, size: undefined });
      await resizing;
      await taken(attachment);
      equal(test.it.findExec(execId).exitCode, 6);
    });

    it("ends with the process, also when others keep its output open", async () => {
      const { text } = await output(id, { command: sh("sleep 60 & echo done") });
      equal(text, "done\n");
    });

    it("runs detached, and leaves no pipes behind", async () => {
      const execId = await test.it.createExec(id, { ...execConfig, command: sh("echo x; exit 9") });
      equal(await test.it.startExec(execId, { detach: true, size: undefined }), undefined);
      await until(() => test.it.findExec(execId).exitCode === 9, {
        withinMs: 60_000,
        what: "its end",
      });
      deepEqual(test.it.execsOf(id), []);
      const folder = join(test.containerd.dir, "containers", id, "exec");
      await until(() => readdirSync(folder).length === 0, { withinMs: 60_000, what: "no pipes" });
    });

    it("shows processes and usage", async () => {
      const { titles, processes } = await test.it.top(id, "");
      ok(titles.includes("PID"));
      match(processes.map((fields) => fields.join(" ")).join("\n"), /sleep 1000/);
      const stats = await test.it.stats(id);
      ok(stats.cpuTotalNs > 0 && stats.memoryUsageBytes > 0 && stats.systemCpuNs > 0);
      ok(stats.pids >= 1);
      deepEqual(stats.networks, {});
    });
  });

  it("checks health: starting, healthy, unhealthy, and kills what takes too long", async () => {
    const check = (script: string, timeoutMs = 20_000) =>
      HealthConfig.create({
        test: ["CMD-SHELL", script],
        intervalNs: 1e9,
        timeoutNs: timeoutMs * 1e6,
        retries: 2,
      });
    const id = await test.run({
      command: ["sleep", "1000"],
      health: check("echo looking; test -e /tmp/well"),
    });
    equal(test.it.find(id).state.health.status, "starting");
    const is = (status: string) =>
      until(() => test.it.find(id).state.health.status === status, {
        withinMs: 60_000,
        what: status,
      });
    await is("unhealthy");
    await output(id, { command: ["touch", "/tmp/well"] });
    await is("healthy");
    const probe = test.it.find(id).state.health.probes.at(-1);
    deepEqual([probe?.exitCode, probe?.output], [0, "looking\n"]);
    await gone(id);
    const slow = await test.run({
      command: ["sleep", "1000"],
      health: check("echo begun; exec sleep 500", 200),
    });
    await until(() => test.it.find(slow).state.health.status === "unhealthy", {
      withinMs: 60_000,
      what: "unhealthy",
    });
    // On a busy machine one may be ended before it has said a word.
    const begun = /Health check exceeded timeout \(200ms\): begun/;
    await until(() => begun.test(test.it.find(slow).state.health.probes.at(-1)?.output ?? ""), {
      withinMs: 60_000,
      what: "what a probe had said is kept",
    });
    await gone(slow);
  });

  describe("files", () => {
    async function namesIn(tar: AsyncIterable<Uint8Array>): Promise<Map<string, string>> {
      const found = new Map<string, string>();
      const entries = extract();
      const reading = (async () => {
        for await (const entry of entries) {
          let text = "";
          for await (const data of entry) text += String(data);
          found.set(entry.header.name, text);
        }
      })();
      for await (const data of tar) entries.write(data);
      entries.end(null);
      await reading;
      return found;
    }

    function tarOf(name: string, text: string): AsyncIterable<Uint8Array> {
      const tar = pack();
      tar.entry({ name, uid: 7, gid: 8 }, text);
      tar.finalize();
      return tar as AsyncIterable<Uint8Array>;
    }

    const plain = { noOverwriteDirNonDir: false, copyUidGid: false };

    for (const isRunning of [true, false]) {
      it(`copies both ways ${isRunning ? "while it runs" : "while it does not run"}`, async () => {
        const volume = Mount.create({
          type: "volume",
          source: `files-${isRunning}`,
          target: "/vol",
        });
        const { id } = await test.it.create(
          test.config({ command: ["sleep", "1000"], mounts: [volume] }),
          patient,
        );
        if (isRunning) await test.it.start(id, patient);
        await test.it.putArchive(id, "/data", tarOf("new", "hello"), plain);
        await test.it.putArchive(id, "/vol", tarOf("kept", "in the volume"), plain);
        const { stat, tar } = await test.it.getArchive(id, "/data");
        equal(stat.name, "data");
        deepEqual(
          [...(await namesIn(tar))],
          [
            ["data/", ""],
            ["data/new", "hello"],
            ["data/seed", "from the image"],
          ],
        );
        const link = await test.it.statPath(id, "/link");
        deepEqual([link.name, link.linkTarget], ["link", "/etc/passwd"]);
        await rejects(
          test.it.statPath(id, "/nothing"),
          /Could not find the file \/nothing in container/,
        );
        const { mountpoint } = test.volumes.find(`files-${isRunning}`);
        equal(readFileSync(join(mountpoint, "kept"), "utf8"), "in the volume");
        equal(statSync(join(mountpoint, "kept")).uid, 7);
        const whole = await namesIn(await test.it.exportTar(id));
        equal(whole.get("data/new"), "hello");
        equal(whole.has("vol/kept"), false);
        await gone(id);
        await test.volumes.remove(`files-${isRunning}`, { force: true });
      });
    }

    it("tells what differs from the image, and how large that is", async () => {
      const { id } = await ended({
        command: sh("echo x > /data/made; rm /data/seed; echo y >> /etc/passwd; mkdir -p /new/in"),
      });
      deepEqual(
        (await test.it.changes(id)).map(({ kind, path }) => `${kind} ${path}`),
        [
          "modified /data",
          "added /data/made",
          "deleted /data/seed",
          "modified /etc/passwd",
          "added /new",
          "added /new/in",
        ],
      );
      ok((await test.it.sizes(id)).ownBytes > 0);
      await gone(id);
    });

    it("fills an empty volume from the image, with modes and owners, and no other", async () => {
      const mount = (source: string) => [Mount.create({ type: "volume", source, target: "/data" })];
      await test.volumes.create({ name: "full", driver: "local", options: {}, labels: {} });
      writeFileSync(join(test.volumes.find("full").mountpoint, "own"), "");
      const look = sh("stat -c '%u %a' /data; ls /data");
      const first = await ended({ command: look, mounts: mount("empty") });
      equal(await logOf(first.id), "1000 755\nseed\n");
      const second = await ended({ command: look, mounts: mount("full") });
      equal(await logOf(second.id), "0 755\nown\n");
      const { mountpoint } = test.volumes.find("empty");
      deepEqual(
        [statSync(join(mountpoint, "seed")).mode & 0o777, statSync(mountpoint).uid],
        [0o640, 1000],
      );
      await gone(first.id);
      await gone(second.id);
      for (const name of ["empty", "full"]) await test.volumes.remove(name, { force: true });
    });
  });

  it("goes on over the end of the daemon: log, terminal, health", async () => {
    const counting = await test.run({
      command: sh("i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo line $i; sleep 0.005; done"),
    });
    const shell = await test.run({ command: ["sh"], tty: true, openStdin: true });
    const brief = await test.run({ command: sh("sleep 0.5; echo last words; exit 6") });
    const enough = (count: number) => async () =>
      (await logOf(counting)).includes(`line ${count}\n`);
    await until(enough(50), { withinMs: 60_000, what: "fifty lines" });
    await test.stop();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await test.start();
    const end = await test.it.wait(counting, "not-running", patient);
    equal(end.exitCode, 0);
    deepEqual(
      (await logOf(counting)).trimEnd().split("\n"),
      Array.from({ length: 600 }, (_, i) => `line ${i + 1}`),
    );
    equal((await test.it.wait(brief, "not-running", patient)).exitCode, 6);
    equal(await logOf(brief), "last words\n");
    const attachment = await test.it.attach(shell, everything);
    const reading = taken(attachment);
    await attachment.write(Buffer.from("echo still $((40 + 2)); exit\n"));
    match(await reading, /still 42/);
    for (const id of [counting, shell, brief]) await gone(id);
    const folder = join(test.containerd.dir, "containers");
    ok(!existsSync(folder) || readdirSync(folder).length === 0);
    mkdirSync(folder, { recursive: true });
  });
});
