/**
 * A process of a benchmark that answers requests: one of the files beside this one, in the network of this process or of
 * another one.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

/** The process, from its start on. */
export class Child<Q> {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<
    number,
    { resolve: (answer: unknown) => void; reject: (error: Error) => void }
  >();
  #next = 1;

  /** @param name File without its ending. @param networkOf Pid of a process whose network it is to have. */
  constructor(name: string, o: { readonly flags?: readonly string[]; networkOf?: number } = {}) {
    const path = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
    const inside =
      o.networkOf === undefined ? [] : ["nsenter", `--net=/proc/${o.networkOf}/ns/net`];
    const [command = "", ...words] = [...inside, process.execPath, ...(o.flags ?? []), path];
    this.#process = spawn(command, words, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#process.on("message", (message) => {
      const { id, answer, error } = message as { id: number; answer: unknown; error?: string };
      const waiter = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiter?.resolve(answer);
      else waiter?.reject(new Error(`${name}: ${error}`));
    });
    this.#process.once("exit", (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${name} ended: ${code}`));
    });
  }

  ask<R>(request: Q): Promise<R> {
    const id = this.#next++;
    return new Promise<R>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (answer) => resolve(answer as R), reject });
      this.#process.send({ id, request }, (error) => {
        if (error !== null) reject(error);
      });
    });
  }

  end(): void {
    this.#process.kill("SIGKILL");
  }
}

/** What such a process does: answers what its parent asks, and ends with it. */
export function answerParent<Q>(handle: (request: Q) => Promise<unknown>): void {
  process.on("message", ({ id, request }: { id: number; request: Q }) => {
    handle(request).then(
      (answer) => process.send?.({ id, answer }),
      (error: unknown) =>
        process.send?.({ id, error: error instanceof Error ? error.stack : String(error) }),
    );
  });
  process.once("disconnect", () => process.exit(1));
}
