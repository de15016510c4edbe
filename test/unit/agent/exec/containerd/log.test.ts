/**
 * The log of a container: its lines, its options, rotation, and reading it back.
 */
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LogFiles } from "../../../../../agent/exec/containerd/log-files.ts";
import {
  decodeLogLine,
  encodeLogLines,
  LogTimes,
} from "../../../../../agent/exec/containerd/log-line.ts";
import { logAttributes, logSettingsOf } from "../../../../../agent/exec/containerd/log-options.ts";
import { readLog } from "../../../../../agent/exec/containerd/log-reader.ts";
import type { LogOptions } from "../../../../../src/common/container/containers.ts";
import { hasCode } from "../../../../../src/common/errors/cluster-error.ts";

const startMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const endless = { fileBytesMax: Number.POSITIVE_INFINITY, filesMax: 1, compress: false };

function encode(text: string | Buffer, attributes = ""): string[] {
  const times = new LogTimes();
  times.advance(startMs);
  return encodeLogLines(Buffer.from(text), "stdout", times, attributes);
}

function options(change: Partial<LogOptions> = {}): LogOptions {
  return {
    stdout: true,
    stderr: true,
    follow: false,
    sinceNs: undefined,
    untilNs: undefined,
    tail: undefined,
    signal: new AbortController().signal,
    ...change,
  };
}

async function textsOf(files: LogFiles, change: Partial<LogOptions> = {}): Promise<string[]> {
  const texts: string[] = [];
  for await (const record of readLog(files, options(change))) {
    texts.push(Buffer.from(record.data).toString().trimEnd());
  }
  return texts;
}

describe("agent/exec/containerd/log-line", () => {
  it("writes what Docker's json-file driver writes", () => {
    deepEqual(encode('a "b"\n', '{"k":"v"}'), [
      '{"log":"a \\"b\\"\\n","stream":"stdout","attrs":{"k":"v"},"time":"2026-01-02T03:04:05.678000000Z"}\n',
    ]);
  });

  it("gives every record a later time, though the clock stands still or goes back", () => {
    const times = new LogTimes();
    times.advance(startMs);
    const first = [times.next(), times.next()];
    times.advance(startMs - 60_000);
    const all = [...first, times.next()];
    deepEqual(
      all.map((time) => time.slice(-10)),
      ["678000000Z", "678000001Z", "678000002Z"],
    );
  });

  it("carries times over into the next second", () => {
    const times = new LogTimes();
    times.advance(startMs + 321.999);
    const all = Array.from({ length: 1001 }, () => times.next());
    deepEqual(
      [all[0], all[999], all[1000]].map((time) => time?.slice(17)),
      ["05.999999000Z", "05.999999999Z", "06.000000000Z"],
    );
  });

  it("cuts long lines at 16 KiB, never inside a character", () => {
    const text = `${"x".repeat(16 * 1024 - 1)}€uro\n`;
    const logs = encode(text).map((line) => decodeLogLine(line)?.data ?? Buffer.alloc(0));
    deepEqual(
      logs.map((data) => data.length),
      [16 * 1024 - 1, 7],
    );
    equal(Buffer.concat(logs).toString(), text);
  });

  it("reads its own lines, Docker's, and none from what a crash left of one", () => {
    const record = decodeLogLine(encode("héllo\n")[0] ?? "");
    equal(Buffer.from(record?.data ?? []).toString(), "héllo\n");
    equal(record?.timeNs, BigInt(startMs) * 1_000_000n);
    const dockers = decodeLogLine('{"log":"x","stream":"stderr","time":"2026-01-02T03:04:05.1Z"}');
    deepEqual(
      [dockers?.stream, (dockers?.timeNs ?? 0n) % 1_000_000_000n],
      ["stderr", 100_000_000n],
    );
    equal(decodeLogLine('{"log":"hel'), undefined);
  });
});

describe("agent/exec/containerd/log-options", () => {
  it("takes Docker's options", () => {
    const settings = logSettingsOf({
      name: "json-file",
      options: { "max-size": "1.5k", "max-file": "3", labels: "a,b", compress: "true" },
    });
    deepEqual(
      [settings.fileBytesMax, settings.filesMax, settings.labels, settings.compress],
      [1536, 3, ["a", "b"], true],
    );
    equal(logSettingsOf(undefined).driver, "json-file");
  });

  for (const [name, opts, words] of [
    ["syslog", {}, /no log driver named 'syslog'/],
    ["json-file", { colour: "red" }, /unknown log opt 'colour' for json-file log driver/],
    ["json-file", { "max-size": "much" }, /invalid max-size "much"/],
    ["json-file", { "max-size": "0" }, /invalid max-size "0"/],
    ["json-file", { "max-file": "0" }, /max-file cannot be less than 1/],
    ["json-file", { compress: "true" }, /compress cannot be true/],
    ["json-file", { "env-regex": "(" }, /invalid env-regex/],
    ["json-file", { mode: "sometimes" }, /logging mode "sometimes" not supported/],
  ] as const) {
    it(`refuses ${name} with ${JSON.stringify(opts)}`, () => {
      throws(
        () => logSettingsOf({ name, options: opts }),
        (error: Error) => hasCode(error, "invalid-argument") && words.test(error.message),
      );
    });
  }

  it("makes attributes of labels, environment and tag", () => {
    const settings = logSettingsOf({
      name: "json-file",
      options: { labels: "app", "env-regex": "^DB_", tag: "{{.Name}}/{{.ID}}/{{.Bad}}" },
    });
    const container = {
      id: "0123456789abcdef",
      name: "web",
      imageId: "sha256:aa",
      labels: { app: "shop", other: "x" },
      env: ["DB_HOST=h=1", "HOME=/"],
      config: { image: "busybox" } as never,
    };
    deepEqual(JSON.parse(logAttributes(settings, container)), {
      app: "shop",
      DB_HOST: "h=1",
      tag: "web/0123456789ab/{{.Bad}}",
    });
  });
});

describe("agent/exec/containerd/log-files", () => {
  let folder: string;
  let path: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-log-"));
    path = join(folder, "x-json.log");
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function written(rotation: ConstructorParameters<typeof LogFiles>[1], lines: number) {
    const files = new LogFiles(path, rotation);
    await files.open(undefined, rotation);
    for (let number = 1; number <= lines; number++) await files.append(encode(`line ${number}\n`));
    return files;
  }

  it("rotates full files, keeps as many as told, and reads across them", async () => {
    const files = await written({ fileBytesMax: 250, filesMax: 3, compress: false }, 20);
    deepEqual(readdirSync(folder).sort(), ["x-json.log", "x-json.log.1", "x-json.log.2"]);
    const texts = await textsOf(files);
    const all = Array.from({ length: 20 }, (_, i) => `line ${i + 1}`);
    deepEqual(texts, all.slice(-texts.length));
    ok(texts.length >= 7 && texts.length < 20);
    await files.close();
  });

  it("rotates inside one batch, too", async () => {
    const rotation = { fileBytesMax: 250, filesMax: 2, compress: false };
    const files = await written(rotation, 0);
    await files.append(encode(Array.from({ length: 9 }, (_, i) => `line ${i}\n`).join("")));
    ok(readFileSync(path).length < 400);
    deepEqual((await textsOf(files)).at(-1), "line 8");
    await files.close();
  });

  it("compresses rotated files, and reads them", async () => {
    const files = await written({ fileBytesMax: 250, filesMax: 4, compress: true }, 8);
    await files.close();
    ok(readdirSync(folder).includes("x-json.log.1.gz"));
    deepEqual((await textsOf(files)).length, 8);
  });

  it("finds the last records, also in older files", async () => {
    const files = await written({ fileBytesMax: 250, filesMax: 5, compress: false }, 10);
    deepEqual(await textsOf(files, { tail: 1 }), ["line 10"]);
    deepEqual(await textsOf(files, { tail: 5 }), [
      "line 6",
      "line 7",
      "line 8",
      "line 9",
      "line 10",
    ]);
    deepEqual(await textsOf(files, { tail: 0 }), []);
    deepEqual((await textsOf(files, { tail: 100 })).length, 10);
    await files.close();
  });

  it("gives what there is when it is asked, not what comes while it reads", async () => {
    const line = (n: number) => `{"log":"${n}","stream":"stdout","time":"2026-01-02T03:04:05Z"}\n`;
    for (const tail of [undefined, 2]) {
      const files = new LogFiles(path, endless);
      writeFileSync(path, line(1) + line(2) + line(3));
      const texts: string[] = [];
      for await (const { data } of readLog(files, options({ tail }))) {
        texts.push(Buffer.from(data).toString());
        appendFileSync(path, line(9));
      }
      deepEqual(texts, tail === undefined ? ["1", "2", "3"] : ["2", "3"]);
    }
  });

  it("keeps to the bounds in time, both included, and to the streams", async () => {
    const files = new LogFiles(path, endless);
    const line = (second: number, stream: string) =>
      `{"log":"${second}","stream":"${stream}","time":"2026-01-02T03:04:0${second}Z"}\n`;
    writeFileSync(path, [1, 2, 3, 4].map((n) => line(n, n === 3 ? "stderr" : "stdout")).join(""));
    const ns = (second: number) => BigInt(Date.UTC(2026, 0, 2, 3, 4, second)) * 1_000_000n;
    deepEqual(await textsOf(files, { sinceNs: ns(2), untilNs: ns(3) }), ["2", "3"]);
    deepEqual(await textsOf(files, { stderr: false }), ["1", "2", "4"]);
  });

  it("cuts off what was written after the last mark", async () => {
    const files = await written(endless, 2);
    const { mark } = files;
    await files.append(encode("not noted\n"));
    await files.close();
    const next = new LogFiles(path, endless);
    await next.open(mark, endless);
    await next.append(encode("line 3\n"));
    deepEqual(await textsOf(next), ["line 1", "line 2", "line 3"]);
    await next.close();
  });

  it("empties a file that was made by a rotation after the last mark", async () => {
    const rotation = { fileBytesMax: 150, filesMax: 3, compress: false };
    const files = await written(rotation, 2);
    const { mark } = files;
    await files.append(encode("not noted\n"));
    await files.close();
    const next = new LogFiles(path, rotation);
    await next.open(mark, rotation);
    deepEqual(await textsOf(next), ["line 1", "line 2"]);
    await next.close();
  });

  it("follows the writer over rotations until it closes", async () => {
    const rotation = { fileBytesMax: 250, filesMax: 20, compress: false };
    const files = await written(rotation, 3);
    const reading = textsOf(files, { follow: true });
    for (let number = 4; number <= 20; number++) {
      await files.append(encode(`line ${number}\n`));
      if (number % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await files.close();
    deepEqual(
      await reading,
      Array.from({ length: 20 }, (_, i) => `line ${i + 1}`),
    );
  });

  it("ends where the log stood when it was asked for, however quick the writer is", async () => {
    const files = await written(endless, 3);
    const texts: string[] = [];
    for await (const { data } of readLog(files, options({ tail: 2 }))) {
      texts.push(Buffer.from(data).toString().trimEnd());
      await files.append(encode("later\n"));
    }
    deepEqual(texts, ["line 2", "line 3"]);
    const all = await textsOf(files);
    equal(all.length, 5);
    await files.close();
  });

  it("follows on after somebody has emptied the file", async () => {
    const files = await written(endless, 3);
    const stop = new AbortController();
    const records = readLog(files, options({ follow: true, tail: 1, signal: stop.signal }));
    const textOf = async () => Buffer.from((await records.next()).value?.data ?? []).toString();
    equal(await textOf(), "line 3\n");
    const next = textOf();
    truncateSync(path);
    await files.append(encode("after\n"));
    equal(await next, "after\n");
    stop.abort();
    await files.close();
  });

  it("lets a follower end when it is told to", async () => {
    const files = await written(endless, 1);
    const stop = new AbortController();
    const records = readLog(files, options({ follow: true, signal: stop.signal }));
    equal((await records.next()).done, false);
    const second = records.next();
    stop.abort();
    equal((await second).done, true);
    await files.close();
  });
});
