/**
 * The output of one container over all of its runs: where the raw files and the log are, and who takes it in.
 *
 * Folder: `output/RUN.stdout`, `output/RUN.stderr` (written by the shim), `output/position`, and the log
 * `ID-json.log`. One `OutputPump` per run; one `OutputHub` per run, made early for those who attach before the start.
 */
import { closeSync, mkdirSync, openSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { OutputChunk } from "../../../src/common/container/containers.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { Log } from "../../../src/common/log/log.ts";
import { LogFiles } from "./log-files.ts";
import { logAttributes, logSettingsOf } from "./log-options.ts";
import { OutputHub } from "./output-hub.ts";
import { type OutputPosition, readPosition } from "./output-position.ts";
import { OutputPump } from "./output-pump.ts";

/** What a container has written that fast that it is not logged by then does not hold up its end; it is logged on. */
const lingerMs = 1_000;

/** Where the log of a container is, for `docker inspect`. */
export function logPathIn(folder: string, containerId: string): string {
  return join(folder, `${containerId}-json.log`);
}

/** Output of one container. */
export class ContainerOutput {
  /** The log, written or not. */
  readonly files: LogFiles;
  readonly #folder: string;
  readonly #tools: { readonly clock: Clock; readonly log: Log };
  #hub = new OutputHub();
  #pump: OutputPump | undefined;
  /** The last run is over; no other has begun. */
  #isOver = false;
  /** The run that is over, while its log is not complete. */
  #ending: { readonly pump: OutputPump; readonly done: Promise<void> } | undefined;

  constructor(folder: string, containerId: string, tools: { clock: Clock; log: Log }) {
    this.#folder = folder;
    this.#tools = tools;
    this.files = new LogFiles(logPathIn(folder, containerId), {
      fileBytesMax: Number.POSITIVE_INFINITY,
      filesMax: 1,
      compress: false,
    });
  }

  /** Readies the files of the next run and begins to read them; a terminal has no stderr. */
  async begin(container: Container): Promise<{ stdout: string; stderr: string }> {
    const last = await this.#takeInRest(container);
    const start: OutputPosition = {
      run: (last?.run ?? 0) + 1,
      stdoutBytes: 0,
      stderrBytes: 0,
      log: last?.log,
      ended: false,
    };
    const paths = this.#pathsOf(start.run, container.config.tty);
    await this.#startPump(container, start);
    return { stdout: paths.stdout, stderr: paths.stderr };
  }

  /** Goes on with the run that an earlier daemon began. */
  async resume(container: Container): Promise<void> {
    const start = readPosition(this.#positionPath());
    if (start !== undefined && !start.ended) await this.#startPump(container, start);
  }

  /**
   * The run is over; what an earlier daemon has left is taken in as well. Resolves when the log is complete, or is known to
   * take long.
   */
  async finish(container: Container | undefined): Promise<void> {
    if (container !== undefined && this.#pump === undefined) await this.#takeInRest(container);
    const pump = this.#pump;
    const hub = this.#hub;
    this.#pump = undefined;
    this.#isOver = true;
    this.#hub = new OutputHub();
    if (pump === undefined) {
      hub.end();
      return;
    }
    const done = pump.finish().then(() => this.#removeRawFiles());
    const ending = { pump, done };
    this.#ending = ending;
    const isOver = done.finally(() => {
      if (this.#ending === ending) this.#ending = undefined;
    });
    const stop = new AbortController();
    // Its only failure is that it is not waited for any more.
    const patience = this.#tools.clock.sleep(lingerMs, stop.signal).catch(() => undefined);
    await Promise.race([isOver, patience]);
    stop.abort();
    isOver.catch((error) => this.#tools.log.warn("the rest of a log is lost", { err: error }));
  }

  /** The container goes, and its log with it. */
  async drop(): Promise<void> {
    const pumps = [this.#pump, this.#ending?.pump];
    this.#pump = undefined;
    this.#hub.end();
    for (const pump of pumps) await pump?.suspend();
  }

  /** The daemon stops. */
  async suspend(): Promise<void> {
    await this.#pump?.suspend();
    await this.#ending?.pump.suspend();
    this.#pump = undefined;
    this.#hub.end();
  }

  /**
   * What comes from now on, of the run under way or of the next one.
   *
   * @param o.unfinished Begin with the lines that are unfinished in the log.
   * @param o.thisRun Whether the container is said to run: nothing comes where its run is over and that is not told yet.
   *   The next one may never be.
   */
  subscribe(o: { stdout: boolean; stderr: boolean; unfinished: boolean; thisRun: boolean }): {
    output: AsyncGenerator<OutputChunk, void, void>;
    close: () => void;
  } {
    if (o.thisRun && this.#isOver) return endedOutput();
    return this.#hub.subscribe(o, o.unfinished ? (this.#pump?.pending() ?? []) : []);
  }

  /** Time of the last record that was not handed to those who attach now. */
  get lastTimeNs(): bigint | undefined {
    return this.#pump?.lastTimeNs;
  }

  /** Takes in what a run left that ended while there was no daemon. Resolves with where the last run stands. */
  async #takeInRest(container: Container): Promise<OutputPosition | undefined> {
    await this.#ending?.done;
    const left = readPosition(this.#positionPath());
    if (this.#pump !== undefined || left === undefined || left.ended) return left;
    const hub = new OutputHub();
    await (await this.#newPump(container, left, hub)).finish();
    await this.#removeRawFiles();
    return readPosition(this.#positionPath());
  }

  async #startPump(container: Container, start: OutputPosition): Promise<void> {
    this.#isOver = false;
    this.#pump = await this.#newPump(container, start, this.#hub);
  }

  #newPump(container: Container, start: OutputPosition, hub: OutputHub): Promise<OutputPump> {
    const settings = logSettingsOf(container.config.logDriver);
    const { clock, log } = this.#tools;
    const paths = this.#pathsOf(start.run, container.config.tty);
    // At once, not through the thread pool: this is on the way of every start. Files that a crash of the machine took are
    // made again, empty.
    mkdirSync(join(this.#folder, "output"), { recursive: true, mode: 0o700 });
    for (const path of [paths.stdout, paths.stderr]) {
      if (path !== "") closeSync(openSync(path, "a", 0o600));
    }
    return OutputPump.start({
      paths: { ...paths, position: this.#positionPath() },
      start,
      log: settings.driver === "none" ? undefined : { files: this.files, rotation: settings },
      attributes: logAttributes(settings, container),
      hub,
      clock,
      logger: log,
    });
  }

  /** Only when all of them is in the log; those who still read have them open. */
  async #removeRawFiles(): Promise<void> {
    const position = readPosition(this.#positionPath());
    if (position?.ended !== true) return;
    const { stdout, stderr } = this.#pathsOf(position.run, false);
    await rm(stdout, { force: true });
    await rm(stderr, { force: true });
  }

  #pathsOf(run: number, tty: boolean): { stdout: string; stderr: string } {
    const path = (name: string) => join(this.#folder, "output", `${run}.${name}`);
    return { stdout: path("stdout"), stderr: tty ? "" : path("stderr") };
  }

  #positionPath(): string {
    return join(this.#folder, "output", "position");
  }
}

function endedOutput(): ReturnType<OutputHub["subscribe"]> {
  const hub = new OutputHub();
  const subscription = hub.subscribe({ stdout: false, stderr: false });
  hub.end();
  return subscription;
}
