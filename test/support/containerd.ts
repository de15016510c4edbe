/**
 * A containerd of a test's own, under a temporary data root, with everything removed afterwards.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCgroups } from "../../agent/exec/containerd/cgroups.ts";
import type { ContainerdPlaces } from "../../agent/exec/containerd/daemon-process.ts";
import { Supervisor } from "../../agent/exec/containerd/supervisor.ts";
import { systemClock } from "../../src/common/clock/clock.ts";
import { type Log, silentLog } from "../../src/common/log/log.ts";

/** One containerd and its folder. */
export class TestContainerd {
  readonly dir = mkdtempSync(join(tmpdir(), "skep-box-"));
  readonly places: ContainerdPlaces = {
    folder: join(this.dir, "containerd"),
    stateFolder: join(this.dir, "containerd", "state"),
    socketPath: join(this.dir, "c.sock"),
  };
  #stop = new AbortController();
  #running: Promise<void> | undefined;
  #supervisor: Supervisor | undefined;
  readonly #log: Log;

  constructor(log: Log = silentLog) {
    this.#log = log;
  }

  supervisor(): Supervisor {
    if (this.#supervisor === undefined) throw new Error("start it first");
    return this.#supervisor;
  }

  /** Starts it, or adopts what runs; resolves when it is up. */
  async start(): Promise<Supervisor> {
    this.#stop = new AbortController();
    const supervisor = new Supervisor({
      places: this.places,
      how: { program: "containerd", hiddenMount: readCgroups().hybridMount },
      clock: systemClock,
      log: this.#log,
    });
    this.#supervisor = supervisor;
    this.#running = supervisor.run(this.#stop.signal);
    await supervisor.ready();
    return supervisor;
  }

  /** Stops it as the daemon does at its end. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Stops it and removes its folder. */
  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
