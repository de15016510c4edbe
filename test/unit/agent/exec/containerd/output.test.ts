/**
 * The way of a container's output: raw files, log, readers, over ends of the daemon at any moment.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContainerOutput } from "../../../../../agent/exec/containerd/container-output.ts";
import { LogFiles } from "../../../../../agent/exec/containerd/log-files.ts";
import { readLog } from "../../../../../agent/exec/containerd/log-reader.ts";
import { OutputHub } from "../../../../../agent/exec/containerd/output-hub.ts";
import { OutputPump } from "../../../../../agent/exec/containerd/output-pump.ts";
import { systemClock } from "../../../../../src/common/clock/clock.ts";
import type { OutputChunk } from "../../../../../src/common/container/containers.ts";
import type { Container } from "../../../../../src/common/container/types.ts";
import { silentLog } from "../../../../../src/common/log/log.ts";
import { until } from "../../../../support/wait.ts";

const endless = { fileBytesMax: Number.POSITIVE_INFINITY, filesMax: 1, compress: false };
const both = { stdout: true, stderr: true };
const next = { ...both, unfinished: false, thisRun: false };

function container(driver: string, tty = false): Container {
  const config = { tty, logDriver: { name: driver, options: {} } };
  return { id: "c", name: "n", imageId: "", labels: {}, env: [], config } as unknown as Container;
}

async function textOf(output: AsyncIterable<OutputChunk>): Promise<string> {
  let text = "";
  for await (const { data } of output) text += Buffer.from(data).toString();
  return text;
}

async function logOf(files: LogFiles, stream?: "stdout" | "stderr"): Promise<string> {
  const options = { ...both, follow: false, sinceNs: undefined, untilNs: undefined };
  let text = "";
  const signal = new AbortController().signal;
  for await (const record of readLog(files, { ...options, tail: undefined, signal })) {
    if (stream === undefined || record.stream === stream)
      text += Buffer.from(record.data).toString();
  }
  return text;
}

describe("agent/exec/containerd/output-hub", () => {
  it("ends a reader that is too slow, and only that one", async () => {
    const hub = new OutputHub();
    const slow = hub.subscribe(both);
    const fast = hub.subscribe(both);
    const taken = textOf(fast.output);
    for (let count = 0; count < 3; count++) {
      hub.publish({ stream: "stdout", data: Buffer.alloc(600_000, "x") });
      await new Promise((resolve) => setImmediate(resolve));
    }
    ok(hub.isFull);
    hub.cutSlow();
    ok(!hub.isFull);
    hub.end();
    equal((await taken).length, 1_800_000);
    await rejects(textOf(slow.output), /taken too slowly/);
  });

  it("says when nobody keeps the source waiting any more", async () => {
    const hub = new OutputHub();
    let drained = 0;
    hub.onDrained(() => drained++);
    const { output, close } = hub.subscribe(both);
    for (let count = 0; count < 3; count++) {
      hub.publish({ stream: "stdout", data: Buffer.alloc(500_000) });
    }
    ok(hub.isFull);
    await output.next();
    equal(drained, 1);
    close();
    equal(drained, 2);
    ok(!hub.isHeard);
  });
});

describe("agent/exec/containerd/container-output", () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-output-"));
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function outputOf(): ContainerOutput {
    return new ContainerOutput(folder, "c", { clock: systemClock, log: silentLog });
  }

  it("logs both streams, the last line without its end too, and hands all to readers", async () => {
    const output = outputOf();
    const early = textOf(output.subscribe(next).output);
    const paths = await output.begin(container("json-file"));
    appendFileSync(paths.stdout, "one\ntw");
    appendFileSync(paths.stderr, "problem\n");
    appendFileSync(paths.stdout, "o\nthree");
    await output.finish(container("json-file"));
    equal(await logOf(output.files, "stdout"), "one\ntwo\nthree");
    equal(await logOf(output.files, "stderr"), "problem\n");
    equal((await early).length, "one\ntwo\nthreeproblem\n".length);
    deepEqual(readdirSync(join(folder, "output")), ["position"]);
  });

  it("keeps one log over several runs", async () => {
    const output = outputOf();
    for (const text of ["first\n", "second\n"]) {
      const paths = await output.begin(container("json-file"));
      appendFileSync(paths.stdout, text);
      await output.finish(container("json-file"));
    }
    equal(await logOf(output.files), "first\nsecond\n");
  });

  it("has nothing for those who attach when the run is over and its end not told yet", async () => {
    const output = outputOf();
    await output.begin(container("json-file"));
    const early = textOf(output.subscribe({ ...next, thisRun: true }).output);
    await output.finish(container("json-file"));
    equal(await early, "");
    equal(await textOf(output.subscribe({ ...next, thisRun: true }).output), "");
    const waiting = textOf(output.subscribe(next).output);
    const paths = await output.begin(container("json-file"));
    const running = textOf(output.subscribe({ ...next, thisRun: true }).output);
    appendFileSync(paths.stdout, "again\n");
    await output.finish(container("json-file"));
    deepEqual([await waiting, await running], ["again\n", "again\n"]);
  });

  it("keeps no log with none, and serves readers all the same", async () => {
    const output = outputOf();
    const reading = textOf(output.subscribe(next).output);
    const paths = await output.begin(container("none"));
    appendFileSync(paths.stdout, "seen\n");
    await output.finish(container("none"));
    equal(await reading, "seen\n");
    equal(await logOf(output.files), "");
  });

  it("goes on after a daemon that stopped in the middle of a line", async () => {
    const before = outputOf();
    const paths = await before.begin(container("json-file"));
    appendFileSync(paths.stdout, "one\ntw");
    await before.suspend();
    appendFileSync(paths.stdout, "o\nthree\n");
    const after = outputOf();
    await after.resume(container("json-file"));
    appendFileSync(paths.stdout, "four\n");
    await after.finish(container("json-file"));
    equal(await logOf(after.files), "one\ntwo\nthree\nfour\n");
  });

  it("takes in what a container wrote that ended while there was no daemon", async () => {
    const before = outputOf();
    const paths = await before.begin(container("json-file"));
    await before.suspend();
    appendFileSync(paths.stdout, "late\n");
    const after = outputOf();
    await after.finish(container("json-file"));
    equal(await logOf(after.files), "late\n");
    const next = await after.begin(container("json-file"));
    ok(next.stdout !== paths.stdout);
    await after.finish(container("json-file"));
    equal(await logOf(after.files), "late\n");
  });

  it("writes nothing twice that was logged but not noted when the daemon was killed", async () => {
    const before = outputOf();
    const paths = await before.begin(container("json-file"));
    appendFileSync(paths.stdout, "one\n");
    await before.suspend();
    // The batch that the killed daemon had written last, without a word of it in the record.
    appendFileSync(paths.stdout, "two\n");
    appendFileSync(
      before.files.path,
      '{"log":"two\\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}\n',
    );
    const after = outputOf();
    await after.resume(container("json-file"));
    await after.finish(container("json-file"));
    equal(await logOf(after.files), "one\ntwo\n");
  });

  it("lets a container end whose log takes long, and logs on before the next run", async () => {
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    // What holds the log up are the pauses of the pump; only the patience at the end is over at once.
    const clock = {
      ...systemClock,
      sleep: (ms: number) => (ms === 1000 ? Promise.resolve() : released),
    };
    const output = new ContainerOutput(folder, "c", { clock, log: silentLog });
    const first = await output.begin(container("json-file"));
    let text = "";
    for (let number = 0; number < 100_000; number++) text += `line ${number}\n`;
    appendFileSync(first.stdout, text);
    await output.finish(container("json-file"));
    ok((await logOf(output.files)).length < text.length);
    const next = output.begin(container("json-file"));
    release();
    appendFileSync((await next).stdout, "next\n");
    await output.drop();
    const whole = await logOf(output.files);
    ok(whole.startsWith(text) && !whole.slice(text.length).startsWith("line"));
  });

  it("keeps what was not logged when the daemon stops right after the end", async () => {
    const stuck = {
      ...systemClock,
      sleep: (ms: number, signal?: AbortSignal) =>
        ms === 1000 ? Promise.resolve() : systemClock.sleep(1e9, signal),
    };
    const before = new ContainerOutput(folder, "c", { clock: stuck, log: silentLog });
    const paths = await before.begin(container("json-file"));
    const text = "0123456789\n".repeat(100_000);
    appendFileSync(paths.stdout, text);
    await before.finish(container("json-file"));
    await before.suspend();
    const after = outputOf();
    await after.finish(container("json-file"));
    equal(await logOf(after.files), text);
  });

  it("goes on without raw files that a crash of the machine took", async () => {
    const before = outputOf();
    const paths = await before.begin(container("json-file"));
    appendFileSync(paths.stdout, "one\n");
    await before.suspend();
    rmSync(paths.stdout);
    const after = outputOf();
    await after.begin(container("json-file"));
    await after.drop();
  });

  it("does not wait for a slow reader to complete the log", async () => {
    const output = outputOf();
    const { output: slow } = output.subscribe(next);
    const paths = await output.begin(container("json-file"));
    const line = `${"y".repeat(99)}\n`;
    appendFileSync(paths.stdout, line.repeat(40_000));
    await output.finish(container("json-file"));
    // On a machine that is busy the rest comes after the end.
    const isWhole = async () => (await logOf(output.files)).length === 4_000_000;
    await until(isWhole, { withinMs: 60_000, what: "the log is whole" });
    equal((await textOf(slow)).length, 4_000_000);
  });
});

describe("agent/exec/containerd/output-pump", () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-pump-"));
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function pump(lag?: { logBytesMax: number; readersBytesMax: number }) {
    const paths = {
      stdout: join(folder, "stdout"),
      stderr: "",
      position: join(folder, "position"),
    };
    const files = new LogFiles(join(folder, "log"), endless);
    const hub = new OutputHub();
    const start = { run: 1, stdoutBytes: 0, stderrBytes: 0, log: undefined, ended: false };
    const setup = { paths, start, log: { files, rotation: endless }, attributes: "", hub };
    return {
      paths,
      files,
      hub,
      start: () =>
        OutputPump.start({
          ...setup,
          clock: systemClock,
          logger: silentLog,
          ...(lag !== undefined && { lag }),
        }),
    };
  }

  it("leaves out what comes faster than it can be logged, says so, and goes on with a line", async () => {
    const setup = await pump({ logBytesMax: 1_000_000, readersBytesMax: 1e9 });
    let text = "";
    for (let number = 0; number < 200_000; number++) text += `line ${number}\n`;
    writeFileSync(setup.paths.stdout, text);
    await (await setup.start()).finish();
    const lines = (await logOf(setup.files)).trimEnd().split("\n");
    match(lines[0] ?? "", /^skep: left out \d+ bytes of output/);
    match(lines[1] ?? "", /^line \d+$/);
    equal(lines.at(-1), "line 199999");
    const left = Number((lines[0] ?? "").replace(/\D/g, ""));
    equal(left + `${lines.slice(1).join("\n")}\n`.length, text.length);
  });

  it("cuts readers that are too far behind, and logs on", async () => {
    const setup = await pump({ logBytesMax: 5_000_000, readersBytesMax: 2_000_000 });
    const { output } = setup.hub.subscribe(both);
    writeFileSync(setup.paths.stdout, `${"z".repeat(99)}\n`.repeat(45_000));
    const started = await setup.start();
    await started.finish();
    appendFileSync(setup.paths.stdout, `${"z".repeat(99)}\n`.repeat(20_000));
    await until(() => !setup.hub.isHeard, { withinMs: 10_000, what: "the reader is cut" });
    await rejects(textOf(output), /taken too slowly/);
    equal((await logOf(setup.files)).length, 4_500_000);
  });

  it("gives the room of what was taken back to the disk", async () => {
    const setup = await pump();
    writeFileSync(setup.paths.stdout, `${"z".repeat(99)}\n`.repeat(80_000));
    await (await setup.start()).finish();
    const { size, blocks } = statSync(setup.paths.stdout);
    equal(size, 8_000_000);
    ok(blocks * 512 < 2_000_000, `${blocks * 512} bytes are still held`);
  });
});
