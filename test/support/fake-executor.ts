/**
 * An executor without containers: each step ends when a test, or the time given, says so. Hollow agents run on it.
 */

import type { Controller, TaskExit } from "../../agent/exec/controller.ts";
import type { ControllerRequest, Executor } from "../../agent/exec/executor.ts";
import {
  ContainerStatus,
  type Node,
  NodeDescription,
  type PortConfig,
  type Task,
} from "../../src/common/api/generated/api.ts";
import { aborting } from "../../src/common/clock/aborting.ts";

/** What a fake task does, step by step; whatever is not given works at once, and it runs until it is stopped. */
export interface FakeBehaviour {
  readonly prepare?: (task: Task, signal: AbortSignal) => Promise<void>;
  readonly start?: (task: Task, signal: AbortSignal) => Promise<TaskExit | undefined>;
  readonly shutdown?: (task: Task, signal: AbortSignal) => Promise<void>;
}

/** A container of the fake. */
export interface FakeContainer {
  readonly task: Task;
  /** Ends the container. */
  readonly end: (exit: Partial<TaskExit>) => void;
  readonly exited: Promise<TaskExit>;
  exit: TaskExit | undefined;
  isRunning: boolean;
}

/** An exit with a code. */
export function fakeExit(fields: Partial<TaskExit> = {}): TaskExit {
  return { exitCode: 0, error: "", finishedAtMs: 0, lost: false, ...fields };
}

/** Runs tasks in memory. */
export class FakeExecutor implements Executor {
  readonly containers = new Map<string, FakeContainer>();
  readonly removed: string[] = [];
  /** As it was told of its node. */
  readonly nodes: Node[] = [];
  behaviour: FakeBehaviour = {};
  description = NodeDescription.create();

  describe(): NodeDescription {
    return this.description;
  }

  async ready(): Promise<void> {}

  nodeChanged(node: Node): void {
    this.nodes.push(node);
  }

  taskIds(): readonly string[] {
    return [...this.containers.keys()];
  }

  async discard(taskId: string): Promise<void> {
    this.containers.get(taskId)?.end({ exitCode: 137 });
    if (this.containers.delete(taskId)) this.removed.push(taskId);
  }

  controller(request: ControllerRequest): Controller {
    return new FakeController(this, request.task);
  }

  /** As if an earlier life had made it. */
  make(task: Task): FakeContainer {
    let end: (exit: TaskExit) => void = () => {};
    const exited = new Promise<TaskExit>((resolve) => {
      end = resolve;
    });
    const container: FakeContainer = {
      task,
      exited,
      exit: undefined,
      isRunning: false,
      end: (fields) => {
        container.exit ??= fakeExit(fields);
        container.isRunning = false;
        end(container.exit);
      },
    };
    this.containers.set(task.id, container);
    return container;
  }
}

class FakeController implements Controller {
  readonly #executor: FakeExecutor;
  readonly #task: Task;

  constructor(executor: FakeExecutor, task: Task) {
    this.#executor = executor;
    this.#task = task;
  }

  async prepare(signal: AbortSignal): Promise<void> {
    await this.#executor.behaviour.prepare?.(this.#task, signal);
    if (this.#mine() === undefined) this.#executor.make(this.#task);
  }

  async start(signal: AbortSignal): Promise<TaskExit | undefined> {
    const container = this.#mine() ?? this.#executor.make(this.#task);
    container.isRunning = true;
    const exit = await this.#executor.behaviour.start?.(this.#task, signal);
    if (exit !== undefined) container.end(exit);
    return exit;
  }

  async wait(signal: AbortSignal): Promise<TaskExit> {
    const container = this.#mine();
    if (container === undefined) return fakeExit({ lost: true, error: "gone" });
    return aborting(container.exited, signal);
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    await this.#executor.behaviour.shutdown?.(this.#task, signal);
    this.#mine()?.end({ exitCode: 137 });
  }

  remove(): Promise<void> {
    return this.#executor.discard(this.#task.id);
  }

  isSettled(): boolean {
    const container = this.#mine();
    return container !== undefined && (container.isRunning || container.exit?.lost === false);
  }

  status(): ContainerStatus | undefined {
    const container = this.#mine();
    if (container === undefined) return undefined;
    return ContainerStatus.create({
      containerId: `c-${this.#task.id}`,
      exitCode: container.exit?.exitCode ?? 0,
    });
  }

  ports(): readonly PortConfig[] {
    return [];
  }

  #mine(): FakeContainer | undefined {
    return this.#executor.containers.get(this.#task.id);
  }
}
