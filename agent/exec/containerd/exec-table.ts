/**
 * The processes that `exec` makes, by id: those to be started, those that run, and for a while those that ended.
 */
import type { ExecConfig, ExecProcess } from "../../../src/common/container/containers.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { OutputHub } from "./output-hub.ts";
import type { InputPipe } from "./process-pipes.ts";

/** Ended ones can be asked for their exit code this long, as with Docker. */
const endedKeptMs = 5 * 60_000;
/** Of one container, those that wait to be started included: more than any tool has at once. */
const execsMax = 1_000;

/** One process of `exec`. */
export interface Exec {
  readonly id: string;
  readonly containerId: string;
  readonly config: ExecConfig;
  readonly hub: OutputHub;
  stdin: InputPipe | undefined;
  phase: "made" | "running" | "ended";
  pid: number;
  exitCode: number | undefined;
  endedAtMs: number;
  /** Size of its terminal that was asked for before there was one. */
  size: { readonly width: number; readonly height: number } | undefined;
  /** Resolves a wait for its exit. */
  exited: (exitCode: number) => void;
}

/** All of a node. */
export class ExecTable {
  readonly #execs = new Map<string, Exec>();
  readonly #byContainer = new Map<string, Set<string>>();

  /** @throws ClusterError resource-exhausted when the container has too many. */
  add(exec: Exec, nowMs: number): void {
    const ids = this.#byContainer.get(exec.containerId) ?? new Set();
    for (const id of ids) {
      const known = this.#execs.get(id);
      if (known?.phase === "ended" && known.endedAtMs + endedKeptMs < nowMs) this.remove(known);
    }
    if (ids.size >= execsMax) {
      const text = `container ${exec.containerId} has ${ids.size} exec processes: end some first`;
      throw new ClusterError("resource-exhausted", text);
    }
    ids.add(exec.id);
    this.#byContainer.set(exec.containerId, ids);
    this.#execs.set(exec.id, exec);
  }

  remove(exec: Exec): void {
    this.#execs.delete(exec.id);
    this.#byContainer.get(exec.containerId)?.delete(exec.id);
  }

  removeAllOf(containerId: string): void {
    for (const id of this.#byContainer.get(containerId) ?? []) this.#execs.delete(id);
    this.#byContainer.delete(containerId);
  }

  /** @throws ClusterError not-found with Docker's words. */
  find(execId: string): Exec {
    const exec = this.#execs.get(execId);
    if (exec === undefined) {
      throw new ClusterError("not-found", `No such exec instance: ${execId}`);
    }
    return exec;
  }

  /** By the id that containerd tells; undefined for one that is not ours. */
  get(execId: string): Exec | undefined {
    return this.#execs.get(execId);
  }

  of(containerId: string): readonly Exec[] {
    const ids = [...(this.#byContainer.get(containerId) ?? [])];
    return ids.flatMap((id) => this.#execs.get(id) ?? []);
  }
}

/** What is told of it. */
export function execProcessOf(exec: Exec): ExecProcess {
  const { id, containerId, config, phase, pid, exitCode } = exec;
  return { id, containerId, config, running: phase === "running", pid, exitCode };
}
