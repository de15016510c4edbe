/**
 * One step of a task's way through its states (docker-facts 1.5): what the task manager calls again and again.
 *
 * States only move forward. A step that waits, such as a pull or a running container, ends early when its signal aborts.
 */
import {
  PortStatus,
  type Task,
  type TaskState,
  TaskStatus,
} from "../../src/common/api/generated/api.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import { isBefore, isTerminal } from "../../src/common/task/state.ts";
import type { Controller, TaskExit } from "./controller.ts";
import { exitText } from "./errors.ts";

/** Where a task stands. */
export interface Standing {
  /** Its desired state is what counts. */
  readonly task: Task;
  readonly status: TaskStatus;
}

/** What a step came to. */
export type Step =
  /** Nothing to do until the task changes. */
  | { readonly kind: "idle" }
  | { readonly kind: "moved"; readonly status: TaskStatus }
  /** The container is gone or ended unseen, although it should run. */
  | { readonly kind: "lost"; readonly exit: TaskExit };

/** What a step is done with. */
export interface StepTools {
  /** Milliseconds since the epoch. */
  now(): number;
  readonly signal: AbortSignal;
}

/** Does what is next. @throws the signal's reason when it aborts, and whatever kept a container from being stopped. */
export async function advance(
  standing: Standing,
  controller: Controller,
  tools: StepTools,
): Promise<Step> {
  const { desiredState } = standing.task;
  const { state } = standing.status;
  const move = mover(standing.status, controller, tools);
  if (isTerminal(state)) return { kind: "idle" };
  if (!isBefore(desiredState, "shutdown")) return shutDown(controller, move, tools);
  // What is under way goes on, even past what is desired.
  switch (state) {
    case "preparing":
      return prepare(controller, move, tools);
    case "starting":
      return start(controller, move, tools);
    case "running":
      return ended(await controller.wait(tools.signal), move);
  }
  if (!isBefore(state, desiredState)) return { kind: "idle" };
  switch (state) {
    case "accepted":
      return move("preparing", "preparing");
    case "ready":
      return move("starting", "starting");
    default:
      return move("accepted", "accepted");
  }
}

type Move = (state: TaskState, message: string, more?: Partial<TaskStatus>) => Step;

function mover(before: TaskStatus, controller: Controller, tools: StepTools): Move {
  return (state, message, more = {}) => {
    const status = TaskStatus.create({
      timestampMs: tools.now(),
      state,
      message,
      error: "",
      container: controller.status() ?? before.container,
      portStatus: state === "running" ? portStatusOf(controller) : undefined,
      ...more,
    });
    return { kind: "moved", status };
  };
}

function portStatusOf(controller: Controller): PortStatus | undefined {
  const ports = controller.ports();
  return ports.length === 0 ? undefined : PortStatus.create({ ports: [...ports] });
}

async function prepare(controller: Controller, move: Move, tools: StepTools): Promise<Step> {
  try {
    await controller.prepare(tools.signal);
  } catch (error) {
    if (tools.signal.aborted) throw tools.signal.reason;
    return move("rejected", "preparing", { error: errorText(error) });
  }
  return move("ready", "prepared");
}

async function start(controller: Controller, move: Move, tools: StepTools): Promise<Step> {
  let exit: TaskExit | undefined;
  try {
    exit = await controller.start(tools.signal);
  } catch (error) {
    if (tools.signal.aborted) throw tools.signal.reason;
    const text = `starting container failed: ${errorText(error)}`;
    // Not rejected, as in Docker's swarm, though a command that is not there would fail on any node.
    return move("failed", "starting", { error: text });
  }
  return exit === undefined ? move("running", "started") : ended(exit, move);
}

async function shutDown(controller: Controller, move: Move, tools: StepTools): Promise<Step> {
  // What could not be stopped must not be taken for stopped: its slot would be filled a second time.
  await controller.shutdown(tools.signal);
  return move("shutdown", "shutdown");
}

function ended(exit: TaskExit, move: Move): Step {
  if (exit.lost) return { kind: "lost", exit };
  const error = exitText(exit);
  const more = exit.finishedAtMs > 0 ? { timestampMs: exit.finishedAtMs, error } : { error };
  return error === "" ? move("complete", "finished", more) : move("failed", "started", more);
}
