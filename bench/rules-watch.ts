/**
 * Tells when the rules of a network namespace change, as the kernel says it (`network-watch.ts`).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { until } from "../test/support/wait.ts";

/** The changes of rules in one namespace. */
export class RulesWatch {
  /** Resolves when none is missed any more. */
  readonly ready: Promise<void>;
  readonly child: ChildProcess;
  #times: number[] = [];

  /** @param namespace File of it. */
  constructor(namespace: string) {
    const program = fileURLToPath(new URL("./network-watch.js", import.meta.url));
    const child = spawn("nsenter", [`--net=${namespace}`, process.execPath, program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.child = child;
    this.ready = new Promise((resolve) => {
      createInterface(child.stdout).on("line", (line) => {
        if (line === "ready") resolve();
        else this.#times.push(Number(line));
      });
    });
  }

  /** When the rules first changed after this time (CLOCK_MONOTONIC, milliseconds). */
  async after(ms: number, withinMs = 10_000): Promise<number> {
    const found = () => this.#times.find((time) => time >= ms);
    return until(found, { withinMs, everyMs: 5, what: "rules change" });
  }

  /** Resolves when the rules have not changed for so long. */
  async quiet(forMs: number): Promise<void> {
    for (let seen = -1; seen !== this.#times.length; ) {
      seen = this.#times.length;
      await new Promise((resolve) => setTimeout(resolve, forMs));
    }
    this.#times = [];
  }

  end(): void {
    this.child.kill("SIGKILL");
  }
}
