/**
 * Runs tasks as containers of this node: the executor the daemon hands to the agent.
 */
import type { NodeDescription } from "../../../src/common/api/generated/api.ts";
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Runtime } from "../../../src/common/container/runtime.ts";
import type { Container } from "../../../src/common/container/types.ts";
import { hasCode } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import { allowsEmulation } from "../../../src/common/platform/match.ts";
import { untilListened } from "../../network/listeners.ts";
import type { Controller } from "../controller.ts";
import type { ControllerRequest, Executor } from "../executor.ts";
import { ContainerWatch } from "./container-watch.ts";
import { ContainerController, type ControllerTools } from "./controller.ts";
import { SilentRegistries } from "./silent-registries.ts";

/** What an executor is made with. */
export interface ContainerExecutorOptions {
  readonly runtime: Runtime;
  /** Reads the node's description anew. */
  readonly describe: () => NodeDescription;
  /** Resolves when the containers of earlier lives of the daemon are known. */
  readonly loaded: Promise<void>;
  /** Resolves when nobody is led to a task that is to stop any more, and who was has had time. */
  readonly drain: ControllerTools["drain"];
  /** That of the kernel unless a test says otherwise. */
  readonly listened?: ControllerTools["listened"];
  /** See `ControllerTools`. */
  readonly preferLocal: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long the containers of earlier lives are waited for, milliseconds. */
const loadMsMax = 15_000;
/** How long containers that are made go by one reading of the node's description, milliseconds. */
const describedMs = 1_000;

/** Makes the executor of a node. */
export function containerExecutor(options: ContainerExecutorOptions): Executor {
  const { runtime, describe, clock, log } = options;
  const list = () => containersOf(runtime);
  let nodeLabels: Labels = {};
  const tools: ControllerTools = {
    runtime,
    loaded: options.loaded,
    drain: options.drain,
    listened: options.listened ?? untilListened,
    watch: new ContainerWatch(runtime.containers, clock),
    find: (taskId) => list().find(({ config }) => config.task?.taskId === taskId),
    mayEmulate: ({ serviceAnnotations }) =>
      allowsEmulation(nodeLabels) || allowsEmulation(serviceAnnotations?.labels),
    preferLocal: options.preferLocal,
    silent: new SilentRegistries(clock),
    clock,
    log,
  };
  const described = readFor(describedMs, describe, clock);
  const controller = ({ task, nodeId, dependencies }: ControllerRequest): Controller =>
    new ContainerController(
      task,
      () => ({ node: nodeOf(nodeId, described(), nodeLabels), dependencies }),
      tools,
    );
  return {
    describe,
    nodeChanged: ({ spec }) => {
      nodeLabels = spec?.annotations?.labels ?? {};
    },
    controller,
    ready: (signal) => known(options, signal),
    taskIds: () => [...new Set(list().flatMap(({ config }) => config.task?.taskId ?? []))],
    discard: async (taskId) => {
      await options.loaded;
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

type Labels = Readonly<Record<string, string>>;

/** A containerd that does not come up is not waited for longer than it should take. */
async function known({ loaded, clock }: ContainerExecutorOptions, signal: AbortSignal) {
  const stop = new AbortController();
  const end = () => stop.abort(signal.reason);
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  const late = clock.sleep(loadMsMax, stop.signal);
  try {
    await Promise.race([loaded, late]);
  } finally {
    signal.removeEventListener("abort", end);
    stop.abort();
    late.catch(() => {
      // Not needed any more.
    });
  }
}

/** Reads again only when what was read is older than this. */
function readFor<T>(ms: number, read: () => T, clock: Clock): () => T {
  let known: { readonly value: T; readonly until: number } | undefined;
  return () => {
    const now = clock.monotonic();
    if (known === undefined || now >= known.until) known = { value: read(), until: now + ms };
    return known.value;
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

function nodeOf(id: string, { hostname, platform }: NodeDescription, labels: Labels) {
  const { architecture, os } = platform ?? { architecture: "", os: "" };
  return { id, hostname, architecture, os, labels };
}
