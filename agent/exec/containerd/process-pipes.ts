/**
 * Named pipes between a shim and us: standard input of any process, and the output of processes that `exec` starts.
 *
 * All are opened so that nothing blocks. The shim holds both ends of what it writes to until the process has closed its
 * own, so the end of output is seen as such; of standard input the shim holds a writer, which Tasks.CloseIO closes.
 */
import { closeSync, constants, openSync } from "node:fs";
import { rm } from "node:fs/promises";
import { Socket } from "node:net";
import { makeFifo } from "./ffi.ts";
import type { OutputHub } from "./output-hub.ts";

const { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;

/** Our end of a process's standard input. */
export class InputPipe {
  readonly path: string;
  /** What was written and not yet taken is kept by the kernel only while somebody could read it. */
  readonly #reader: number;
  readonly #socket: Socket;
  #isOpen = true;

  private constructor(path: string) {
    this.path = path;
    this.#reader = openSync(path, O_RDONLY | O_NONBLOCK);
    const writer = openSync(path, O_WRONLY | O_NONBLOCK);
    this.#socket = new Socket({ fd: writer, readable: false, writable: true });
    // What the process does not take any more concerns nobody: its end is told elsewhere.
    this.#socket.on("error", () => undefined);
  }

  /** Makes the pipe, in the place of an old one. */
  static async make(path: string): Promise<InputPipe> {
    await rm(path, { force: true });
    await makeFifo(path);
    return new InputPipe(path);
  }

  /** Opens the pipe that an earlier daemon made. @throws Error when it is not there. */
  static adopt(path: string): InputPipe {
    return new InputPipe(path);
  }

  /** Resolves when the pipe has taken the bytes, or the process has gone. */
  write(data: Uint8Array): Promise<void> {
    if (!this.#isOpen || data.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.#socket.off("close", done);
        resolve();
      };
      this.#socket.once("close", done);
      this.#socket.write(data, done);
    });
  }

  /** Closes our writing end when all is written; what the pipe holds is read all the same. */
  end(): Promise<void> {
    if (!this.#isOpen) return Promise.resolve();
    this.#isOpen = false;
    return new Promise((resolve) => {
      this.#socket.once("close", () => resolve());
      this.#socket.end(() => this.#socket.destroy());
    });
  }

  /** The process has ended: lets go of everything. */
  async close(): Promise<void> {
    this.#isOpen = false;
    this.#socket.destroy();
    closeSync(this.#reader);
    await rm(this.path, { force: true });
  }
}

/** Our end of one of the output streams of a process. */
export class OutputPipe {
  readonly path: string;
  /** Keeps the pipe from ending before the shim has opened it. */
  readonly #holder: number;
  #socket: Socket | undefined;

  private constructor(path: string) {
    this.path = path;
    this.#holder = openSync(path, O_RDWR | O_NONBLOCK);
  }

  static async make(path: string): Promise<OutputPipe> {
    await rm(path, { force: true });
    await makeFifo(path);
    return new OutputPipe(path);
  }

  /**
   * The process was started: hands what it writes to the hub, at the speed of its readers. Resolves when the process, and
   * whoever inherited its output, has closed it, or the pipe was closed.
   */
  drain(hub: OutputHub, stream: "stdout" | "stderr", resumes: Set<() => void>): Promise<void> {
    const reader = openSync(this.path, O_RDONLY | O_NONBLOCK);
    closeSync(this.#holder);
    const socket = new Socket({ fd: reader, readable: true, writable: false });
    this.#socket = socket;
    const resume = () => socket.resume();
    resumes.add(resume);
    return new Promise((resolve) => {
      socket.on("data", (data) => {
        hub.publish({ stream, data });
        if (hub.isFull) socket.pause();
      });
      socket.on("error", () => undefined); // Followed by its close.
      socket.on("close", () => {
        resumes.delete(resume);
        resolve();
      });
    });
  }

  /** Lets go, whatever is still written. */
  async close(): Promise<void> {
    if (this.#socket === undefined) closeSync(this.#holder);
    else this.#socket.destroy();
    await rm(this.path, { force: true });
  }
}
