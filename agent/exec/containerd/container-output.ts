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
    // At once, not through the thread pool: this is on the way of every start.
    mkdirSync(join(this.#folder, "output"), { recursive: true, mode: 0o700 });
    for (const path of [paths.stdout, paths.stderr]) {
      if (path !== "") closeSync(openSync(path, "w", 0o600));
    }
    await this.#startPump(container, start);
    return { stdout: paths.stdout, stderr: paths.stderr };
  }

  /** Goes on with the run that an earlier daemon began. */
  async resume(container: Container): Promise<void> {
    const start = await readPosition(this.#positionPath());
    if (start !== undefined && !start.ended) await this.#startPump(container, start);
  }

  /** The run is over; what an earlier daemon has left is taken in as well. Resolves when the log is complete. */
  async finish(container: Container | undefined): Promise<void> {
    if (container !== undefined && this.#pump === undefined) await this.#takeInRest(container);
    const pump = this.#pump;
    const hub = this.#hub;
    this.#pump = undefined;
    this.#hub = new OutputHub();
    if (pump === undefined) hub.end();
    await pump?.finish();
    await this.#removeRawFiles();
  }

  /** The daemon stops. */
  async suspend(): Promise<void> {
    await this.#pump?.suspend();
    this.#pump = undefined;
    this.#hub.end();
  }

  /**
   * What comes from now on, of the run under way or of the next one.
   *
   * @param first Begin with the lines that are unfinished in the log.
   */
  subscribe(o: { stdout: boolean; stderr: boolean; unfinished: boolean }): {
    output: AsyncGenerator<OutputChunk, void, void>;
    close: () => void;
  } {
    return this.#hub.subscribe(o, o.unfinished ? (this.#pump?.pending() ?? []) : []);
  }

  /** Time of the last record that was not handed to those who attach now. */
  get lastTimeNs(): bigint | undefined {
    return this.#pump?.lastTimeNs;
  }

  /** Takes in what a run left that ended while there was no daemon. Resolves with where the last run stands. */
  async #takeInRest(container: Container): Promise<OutputPosition | undefined> {
    const left = await readPosition(this.#positionPath());
    if (this.#pump !== undefined || left === undefined || left.ended) return left;
    const hub = new OutputHub();
    await (await this.#newPump(container, left, hub)).finish();
    await this.#removeRawFiles();
    return readPosition(this.#positionPath());
  }

  async #startPump(container: Container, start: OutputPosition): Promise<void> {
    this.#pump = await this.#newPump(container, start, this.#hub);
  }

  #newPump(container: Container, start: OutputPosition, hub: OutputHub): Promise<OutputPump> {
    const settings = logSettingsOf(container.config.logDriver);
    const { clock, log } = this.#tools;
    return OutputPump.start({
      paths: { ...this.#pathsOf(start.run, container.config.tty), position: this.#positionPath() },
      start,
      log: settings.driver === "none" ? undefined : { files: this.files, rotation: settings },
      attributes: logAttributes(settings, container),
      hub,
      clock,
      logger: log,
    });
  }

  /** Those who still read have them open. */
  async #removeRawFiles(): Promise<void> {
    const position = await readPosition(this.#positionPath());
    if (position === undefined) return;
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
