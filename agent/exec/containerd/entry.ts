/**
 * One container in memory: its facts, where it stands, who waits for it. Changes are made one after the other through
 * `serial`; what is read is always whole.
 */
import type { ContainerExit } from "../../../src/common/container/containers.ts";
import type { Container, ContainerState } from "../../../src/common/container/types.ts";
import type { Mount } from "../../../src/common/containerd/generated/protocol.ts";
import type { ContainerFacts, ContainerLife } from "./record.ts";

/** A container that has not been started. */
export const freshState: ContainerState = {
  phase: "created",
  pid: 0,
  exitCode: 0,
  oomKilled: false,
  error: "",
  startedAtMs: 0,
  finishedAtMs: 0,
  restartCount: 0,
  health: { status: "none", failingStreak: 0, probes: [] },
};

/** One container. */
export class Entry {
  readonly id: string;
  #facts: ContainerFacts;
  #life: ContainerLife;
  #container: Container;
  #queue: Promise<unknown> = Promise.resolve();
  #busy = 0;
  #exits = new Set<(exit: ContainerExit) => void>();
  #removals = new Set<(exit: ContainerExit) => void>();
  /** Counts the starts, so that news of an earlier one can be told apart. */
  runs = 0;
  /** The spec as containerd has it. */
  specJson: string;
  /** Its root file system, once it is known. */
  rootfs: readonly Mount[] | undefined;
  /** The kernel ended one of its processes for want of memory. */
  oom = false;
  /** Pause before the last restart, milliseconds. */
  lastPauseMs = 0;
  /** Set while it waits to be started again; aborting gives that up. */
  restarting: AbortController | undefined;
  /** Set once its removal has begun. */
  removing = false;

  constructor(facts: ContainerFacts, life: ContainerLife, specJson: string) {
    this.id = facts.id;
    this.#facts = facts;
    this.#life = life;
    this.#container = containerOf(facts, life);
    this.specJson = specJson;
  }

  get facts(): ContainerFacts {
    return this.#facts;
  }

  get life(): ContainerLife {
    return this.#life;
  }

  get container(): Container {
    return this.#container;
  }

  get state(): ContainerState {
    return this.#life.state;
  }

  /** Whether it has a task that runs or is paused. */
  get isRunning(): boolean {
    const { phase, pid } = this.#life.state;
    return phase === "running" || phase === "paused" || (phase === "removing" && pid > 0);
  }

  /** Whether a change is under way or waits for its turn. */
  get isBusy(): boolean {
    return this.#busy > 0;
  }

  setFacts(facts: ContainerFacts): void {
    this.#facts = facts;
    this.#container = containerOf(facts, this.#life);
  }

  setLife(change: Partial<ContainerLife>): void {
    this.#life = { ...this.#life, ...change };
    this.#container = containerOf(this.#facts, this.#life);
  }

  setState(change: Partial<ContainerState>): void {
    this.setLife({ state: { ...this.#life.state, ...change } });
  }

  /** Runs a change when those before it are done. */
  serial<T>(work: () => Promise<T>): Promise<T> {
    this.#busy++;
    const next = this.#queue.then(work).finally(() => {
      this.#busy--;
    });
    this.#queue = next.catch(() => {
      // The caller owns the failure; the next change starts from here.
    });
    return next;
  }

  /** Resolves when the changes asked for so far are done. */
  async settled(): Promise<void> {
    await this.serial(async () => undefined);
  }

  /** Resolves with the next end; rejects when the signal aborts. */
  nextExit(signal: AbortSignal): Promise<ContainerExit> {
    return waitIn(this.#exits, signal);
  }

  removed(signal: AbortSignal): Promise<ContainerExit> {
    return waitIn(this.#removals, signal);
  }

  tellExit(): void {
    tell(this.#exits, this.exit());
  }

  tellRemoved(): void {
    // Its removal went well, whatever its start came to.
    const exit = { exitCode: this.state.exitCode, error: "" };
    tell(this.#exits, exit);
    tell(this.#removals, exit);
  }

  exit(): ContainerExit {
    return { exitCode: this.state.exitCode, error: this.state.error };
  }
}

function containerOf(facts: ContainerFacts, life: ContainerLife): Container {
  const { planned: _planned, shimGroup: _shimGroup, ...shown } = facts;
  return { ...shown, state: life.state };
}

function waitIn<T>(waiting: Set<(value: T) => void>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const stop = () => {
      waiting.delete(done);
      reject(signal.reason);
    };
    const done = (value: T) => {
      signal.removeEventListener("abort", stop);
      resolve(value);
    };
    waiting.add(done);
    signal.addEventListener("abort", stop, { once: true });
  });
}

function tell<T>(waiting: Set<(value: T) => void>, value: T): void {
  const all = [...waiting];
  waiting.clear();
  for (const wake of all) wake(value);
}
