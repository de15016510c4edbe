/**
 * Runs tasks as containers of this node: the executor the daemon hands to the agent.
 */
import type { NodeDescription } from "../../../src/common/api/generated/api.ts";
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Runtime } from "../../../src/common/container/runtime.ts";
import type { Container } from "../../../src/common/container/types.ts";
import { hasCode } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { Controller } from "../controller.ts";
import type { ControllerRequest, Executor } from "../executor.ts";
import { ContainerWatch } from "./container-watch.ts";
import { ContainerController, type ControllerTools } from "./controller.ts";
import { Turns } from "./turns.ts";

/** What an executor is made with. */
export interface ContainerExecutorOptions {
  readonly runtime: Runtime;
  /** Reads the node's description anew. */
  readonly describe: () => NodeDescription;
  /** Containers made or started at a time: more than twice the cores only makes each of them later. */
  readonly startsMax: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** Makes the executor of a node. */
export function containerExecutor(options: ContainerExecutorOptions): Executor {
  const { runtime, describe, clock, log } = options;
  const list = () => containersOf(runtime);
  const tools: ControllerTools = {
    runtime,
    watch: new ContainerWatch(runtime.containers, clock),
    turns: new Turns(options.startsMax),
    find: (taskId) => list().find(({ config }) => config.task?.taskId === taskId),
    clock,
    log,
  };
  const controller = ({ task, nodeId, dependencies }: ControllerRequest): Controller =>
    new ContainerController(
      task,
      () => ({ node: nodeOf(nodeId, describe()), dependencies }),
      tools,
    );
  return {
    describe,
    controller,
    ready: async () => {},
    taskIds: () => [...new Set(list().flatMap(({ config }) => config.task?.taskId ?? []))],
    discard: async (taskId) => {
      for (const container of list()) {
        if (container.config.task?.taskId !== taskId) continue;
        await runtime.containers
          .remove(container.id, { force: true, volumes: true })
          .catch((error: unknown) => {
            if (!hasCode(error, "not-found")) throw error;
          });
      }
    },
  };
}

/** All containers of the node; none while the runtime cannot say. */
function containersOf(runtime: Runtime): readonly Container[] {
  try {
    return runtime.containers.list();
  } catch (error) {
    if (hasCode(error, "unavailable")) return [];
    throw error;
  }
}

function nodeOf(id: string, description: NodeDescription) {
  const { hostname, platform } = description;
  return { id, hostname, architecture: platform?.architecture ?? "", os: platform?.os ?? "" };
}
