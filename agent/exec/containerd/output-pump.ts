/**
 * Takes the output of one container from the raw files that its shim writes into its log, and to whoever is attached.
 *
 * The container never waits for us: the shim writes to plain files, whose beginning is given back to the file system when
 * it is in the log and with the readers, each of which goes at its own speed. Output that comes faster than it can be
 * logged is left out beyond a bound, with a line in the log that says so; readers may fall behind by a share of the free
 * disk, and are cut beyond. A start of the container has raw files of its own, as the shim does not append to the file of
 * a terminal.
 */
import { type FSWatcher, fstatSync, watch } from "node:fs";
import { statfs } from "node:fs/promises";
import { Alarm } from "../../../src/common/clock/alarm.ts";
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Log } from "../../../src/common/log/log.ts";
import { punchHole } from "./ffi.ts";
import type { LogFiles, RotationSettings } from "./log-files.ts";
import { characterStart, encodeLogLines, LogTimes, logRecordBytesMax } from "./log-line.ts";
import { OpenFile } from "./open-file.ts";
import type { OutputHub } from "./output-hub.ts";
import { type OutputPosition, PositionFile } from "./output-position.ts";

const mib = 1024 * 1024;
/** Read and logged in one go: 1 to 2 ms of the main thread. */
const blockBytes = 128 * 1024;
/** Room is given back in steps of this. */
const punchBytesMin = 1 * mib;
const pageBytes = 4096;
/** A look at the raw files without having been told: should the kernel have no watches left, or none to give. */
const lookMs = 5_000;
const lookUnwatchedMs = 200;
/** Pause before the log is written again after a failure, such as a full disk. */
const retryMs = 1_000;
/** A look at the raw files while readers are behind: they may grow beyond what the disk can spare. */
const lookBehindMs = 250;
/** Attempts to log the rest of a container that has ended, should the disk be full. */
const finishTriesMax = 3;

/** What may wait in the raw files: for the log, and for readers at most. */
export interface LagLimits {
  readonly logBytesMax: number;
  readonly readersBytesMax: number;
}

/** 256 MiB are some seconds of the fastest writers; what waits for readers may take a quarter of the free disk. */
export const lagLimits: LagLimits = { logBytesMax: 256 * mib, readersBytesMax: 16 * 1024 * mib };
const freeShare = 1 / 4;

/** What one pump works on. */
export interface PumpSetup {
  readonly paths: { readonly stdout: string; readonly stderr: string; readonly position: string };
  readonly start: OutputPosition;
  /** Undefined where no log is kept. */
  readonly log: { readonly files: LogFiles; readonly rotation: RotationSettings } | undefined;
  readonly attributes: string;
  readonly hub: OutputHub;
  readonly clock: Clock;
  readonly logger: Log;
  readonly lag?: LagLimits;
}

interface Source {
  readonly stream: "stdout" | "stderr";
  readonly path: string;
  readonly file: OpenFile;
  /** Up to here everything was read for the log. */
  readBytes: number;
  /** Up to here everything is in the log. */
  loggedBytes: number;
  /** What was read and is not in the log: the beginning of a line. */
  pending: Buffer;
  /** Up to here everything was handed to readers, or came while there were none. */
  publishedBytes: number;
  punchedBytes: number;
  /** The last block that was read: log and readers mostly want the same. */
  block: { readonly offset: number; readonly data: Buffer } | undefined;
}

/** The pump of one run of a container. */
export class OutputPump {
  readonly #setup: PumpSetup;
  readonly #times = new LogTimes();
  readonly #alarm: Alarm;
  readonly #stop = new AbortController();
  readonly #sources: Source[] = [];
  #watchers: FSWatcher[] = [];
  #position: PositionFile | undefined;
  /** What the record says. */
  #noted: OutputPosition;
  #poked = false;
  #isFinishing = false;
  #isPunching = true;
  #running: Promise<void> = Promise.resolve();
  readonly #logged: Promise<void>;
  #logIsOver: () => void = () => undefined;

  private constructor(setup: PumpSetup) {
    this.#setup = setup;
    this.#alarm = new Alarm(setup.clock);
    this.#times.advance(setup.clock.now());
    this.#noted = setup.start;
    this.#logged = new Promise((resolve) => {
      this.#logIsOver = resolve;
    });
    setup.hub.onDrained(() => this.#poke());
  }

  /** Opens everything and begins. @throws Error when the files are not there. */
  static async start(setup: PumpSetup): Promise<OutputPump> {
    const pump = new OutputPump(setup);
    const { paths, start, log } = setup;
    pump.#position = PositionFile.open(paths.position);
    await log?.files.open(start.log, log.rotation);
    const offset = (noted: number) => (log === undefined ? undefined : noted);
    pump.#sources.push(openSource("stdout", paths.stdout, offset(start.stdoutBytes)));
    if (paths.stderr !== "") {
      pump.#sources.push(openSource("stderr", paths.stderr, offset(start.stderrBytes)));
    }
    // From here on a daemon that comes after this one knows of the run.
    pump.#position.writeNow(pump.#standing(false));
    pump.#watch();
    pump.#running = pump.#run().catch((error) => {
      setup.logger.warn("the output of a container ended early", { err: error });
    });
    return pump;
  }

  /** Time of the last record in the log. */
  get lastTimeNs(): bigint {
    return this.#times.last;
  }

  /** What was read but is not in the log yet: unfinished lines. */
  pending(): { stream: "stdout" | "stderr"; data: Uint8Array }[] {
    return this.#sources
      .filter(({ pending }) => pending.length > 0)
      .map(({ stream, pending }) => ({ stream, data: pending }));
  }

  /**
   * The process has ended and the shim has written everything: takes in the rest. Resolves when the log is complete;
   * readers that are behind are served on.
   */
  finish(): Promise<void> {
    this.#isFinishing = true;
    this.#poke();
    return Promise.race([this.#logged, this.#running]);
  }

  /** Stops where it is, for the next daemon to go on. */
  async suspend(): Promise<void> {
    this.#stop.abort(new Error("the daemon stops"));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { hub, log } = this.#setup;
    try {
      await this.#pumpLog();
      await log?.files.close();
      this.#logIsOver();
      while (!this.#stop.signal.aborted && (await this.#publishAll())) {
        await this.#pause(lookBehindMs);
      }
    } finally {
      hub.end();
      for (const watcher of this.#watchers) watcher.close();
      for (const { file } of this.#sources) file.close();
      this.#position?.close();
    }
  }

  async #pumpLog(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      try {
        this.#poked = false;
        // Only what was looked at after the end of the process is known to be all there is.
        const isFinishing = this.#isFinishing;
        let moved = false;
        for (const source of this.#sources) moved = (await this.#step(source)) || moved;
        failures = 0;
        if (moved) continue;
        if (isFinishing) return await this.#flush();
        await this.#pause(this.#idleMs());
      } catch (error) {
        if (signal.aborted || (this.#isFinishing && ++failures >= finishTriesMax)) return;
        await this.#recover(error);
      }
    }
  }

  /** One block of one stream; false when there is nothing new. */
  async #step(source: Source): Promise<boolean> {
    const size = fstatSync(source.file.fd).size;
    let waiting = size - source.readBytes;
    const { log, lag = lagLimits } = this.#setup;
    if (log !== undefined && waiting > lag.logBytesMax) {
      waiting -= await this.#leaveOut(source, waiting);
    }
    let data: Buffer = Buffer.alloc(0);
    if (log === undefined) source.loggedBytes = source.readBytes = size;
    else data = await this.#read(source, source.readBytes, waiting);
    const busyMs = data.length > 0 ? await this.#log(source, data) : 0;
    const published = await this.#publish(source, size);
    await this.#giveBack(source);
    // Half of the time at most is spent on output, however much there is: a node has other things to do.
    if (waiting > blockBytes) await this.#setup.clock.sleep(Math.ceil(busyMs), this.#stop.signal);
    return data.length > 0 || published;
  }

  /** The next block for the readers, if they can take it; false when nothing was moved. */
  async #publish(source: Source, size: number): Promise<boolean> {
    const { hub } = this.#setup;
    const waiting = size - source.publishedBytes;
    if (!hub.isHeard) source.publishedBytes = Math.max(source.publishedBytes, source.readBytes);
    if (!hub.isHeard || waiting <= 0) return false;
    if (hub.isFull) {
      if (await this.#isTooMuchForReaders(waiting)) hub.cutSlow();
      return false;
    }
    const data = await this.#read(source, source.publishedBytes, waiting);
    source.publishedBytes += data.length;
    if (data.length > 0) hub.publish({ stream: source.stream, data });
    return data.length > 0;
  }

  /** As much as readers can take now; true while there is more for them. */
  async #publishAll(): Promise<boolean> {
    this.#poked = false;
    let behind = false;
    for (const source of this.#sources) {
      const { size } = fstatSync(source.file.fd);
      while (await this.#publish(source, size)) await this.#giveBack(source);
      behind ||= this.#setup.hub.isHeard && source.publishedBytes < size;
    }
    return behind;
  }

  async #read(source: Source, offset: number, waiting: number): Promise<Buffer> {
    if (source.block?.offset === offset) return source.block.data;
    const block = Buffer.allocUnsafe(Math.max(0, Math.min(waiting, blockBytes)));
    const bytesRead = await source.file.read(block, block.length, offset);
    const data = block.subarray(0, bytesRead);
    source.block = bytesRead > 0 && this.#setup.hub.isHeard ? { offset, data } : undefined;
    return data;
  }

  /** Resolves with the time it kept the main thread busy, milliseconds. */
  async #log(source: Source, data: Buffer): Promise<number> {
    const { log, clock } = this.#setup;
    const before = clock.monotonic();
    const bytes = source.pending.length === 0 ? data : Buffer.concat([source.pending, data]);
    const end = endOfRecords(bytes);
    let busyMs = 0;
    if (end > 0) {
      this.#times.advance(clock.now());
      const { attributes } = this.#setup;
      const whole = bytes.subarray(0, end);
      const lines = encodeLogLines(whole, source.stream, this.#times, attributes);
      busyMs = clock.monotonic() - before;
      await log?.files.append(lines);
    }
    source.readBytes += data.length;
    // A copy, so that the rest of a line does not keep the whole block in memory.
    source.pending = Buffer.from(bytes.subarray(end));
    source.loggedBytes = source.readBytes - source.pending.length;
    if (end > 0) await this.#note(false);
    return busyMs;
  }

  async #note(ended: boolean): Promise<void> {
    const position = this.#standing(ended);
    await this.#position?.write(position);
    this.#noted = position;
  }

  #standing(ended: boolean): OutputPosition {
    const { start, log } = this.#setup;
    return {
      run: start.run,
      stdoutBytes: this.#sources[0]?.loggedBytes ?? 0,
      stderrBytes: this.#sources[1]?.loggedBytes ?? 0,
      log: log?.files.mark,
      ended,
    };
  }

  /** Gives back the room of what is in the log and with the readers. */
  async #giveBack(source: Source): Promise<void> {
    const done = Math.min(source.loggedBytes, source.publishedBytes);
    const to = Math.floor(done / pageBytes) * pageBytes;
    const length = to - source.punchedBytes;
    if (length < punchBytesMin || !this.#isPunching) return;
    const { file, path, punchedBytes: offset } = source;
    this.#isPunching = await punchHole({ fd: file.fd, path, offset, length });
    source.punchedBytes = to;
  }

  async #isTooMuchForReaders(waiting: number): Promise<boolean> {
    const { paths, lag = lagLimits } = this.#setup;
    if (waiting <= lag.logBytesMax) return false;
    const disk = await statfs(paths.position).catch(() => undefined);
    // The container was removed while a reader takes the rest of its output: that does not grow any more.
    if (disk === undefined) return false;
    const { bavail, bsize } = disk;
    return waiting > Math.min(lag.readersBytesMax, lag.logBytesMax + bavail * bsize * freeShare);
  }

  /** Jumps over most of what waits, up to the beginning of a line; resolves with how much that was. */
  async #leaveOut(source: Source, waiting: number): Promise<number> {
    const lastBlock = source.readBytes + waiting - blockBytes;
    const kept = await this.#read(source, lastBlock, blockBytes);
    const left = waiting - blockBytes + kept.indexOf(10) + 1;
    const text = `skep: left out ${left} bytes of output, which came faster than they could be logged\n`;
    const notice = Buffer.from(`${source.pending.length > 0 ? "\n" : ""}${text}`);
    // No byte of the raw file stands for the notice.
    source.readBytes += left - notice.length;
    await this.#log(source, notice);
    this.#setup.logger.warn("output left out", { stream: source.stream, bytes: left });
    return left;
  }

  /** The last line may have no end. */
  async #flush(): Promise<void> {
    const { log, attributes, clock } = this.#setup;
    this.#times.advance(clock.now());
    for (const source of this.#sources) {
      if (source.pending.length === 0) continue;
      const lines = encodeLogLines(source.pending, source.stream, this.#times, attributes);
      await log?.files.append(lines);
      source.loggedBytes = source.readBytes;
      source.pending = Buffer.alloc(0);
    }
    await this.#note(true);
  }

  /** Goes back to what was noted last, and tries again in a while. */
  async #recover(error: unknown): Promise<void> {
    const { log, logger, clock, paths } = this.#setup;
    logger.warn("cannot log the output of a container, trying again", {
      path: paths.position,
      err: error,
    });
    await clock.sleep(retryMs, this.#stop.signal).catch(() => undefined); // The loop looks at the signal.
    for (const [position, source] of this.#sources.entries()) {
      const { stdoutBytes, stderrBytes } = this.#noted;
      source.readBytes = position === 0 ? stdoutBytes : stderrBytes;
      source.loggedBytes = source.readBytes;
      source.pending = Buffer.alloc(0);
    }
    // Should this fail as well, then so does the next attempt to write.
    await log?.files.open(this.#noted.log, log.rotation).catch(() => undefined);
  }

  /** With the kernel telling what happens, a look now and then is a precaution. */
  #idleMs(): number {
    if (this.#setup.hub.isFull) return lookBehindMs;
    return this.#watchers.length > 0 ? lookMs : lookUnwatchedMs;
  }

  async #pause(ms: number): Promise<void> {
    if (!this.#poked) await this.#alarm.pause(ms, this.#stop.signal);
  }

  #poke(): void {
    this.#poked = true;
    this.#alarm.ring();
  }

  #watch(): void {
    try {
      for (const { path } of this.#sources) {
        const watcher = watch(path, { persistent: false }, () => this.#poke());
        watcher.on("error", () => watcher.close());
        this.#watchers.push(watcher);
      }
    } catch {
      // The kernel has no watches left: the files are looked at often instead.
      for (const watcher of this.#watchers) watcher.close();
      this.#watchers = [];
    }
  }
}

/** Up to where whole records go: the last line end, or whole pieces of a line that is longer than a record. */
function endOfRecords(bytes: Buffer): number {
  const end = bytes.lastIndexOf(10) + 1;
  const pieces = Math.floor((bytes.length - end) / logRecordBytesMax);
  if (pieces === 0) return end;
  let at = end;
  for (let piece = 0; piece < pieces; piece++) at = characterStart(bytes, at + logRecordBytesMax);
  return at;
}

/** @param noted Where the last daemon was; undefined to begin with what comes. */
function openSource(stream: "stdout" | "stderr", path: string, noted: number | undefined): Source {
  const file = OpenFile.open(path, "r+");
  const offset = noted ?? file.stat().size;
  return {
    stream,
    path,
    file,
    readBytes: offset,
    loggedBytes: offset,
    pending: Buffer.alloc(0),
    publishedBytes: offset,
    punchedBytes: 0,
    block: undefined,
  };
}
