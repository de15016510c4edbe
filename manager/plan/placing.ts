/**
 * Where the new tasks of a service would go, and how much of it is away meanwhile: the steps of an update played through on the
 * working copy of the cluster, in the order in which the updater would take them.
 *
 * An old task that is being stopped still has its share of its node while its successor is given one; only what finds no node
 * so waits until the old one is gone. A task that is to start first and finds no room beside the old one has that one stopped
 * before, as the updater does.
 */
import type {
  Driver,
  NetworkSpec,
  Node,
  Service,
  Task,
} from "../../src/common/api/generated/api.ts";
import { newId } from "../../src/common/ids/ids.ts";
import type { Random } from "../../src/common/random/random.ts";
import {
  type NodeRefusal,
  plannedRefusalsMax,
  plannedTasksMax,
  type ServicePlan,
  type TaskPlan,
} from "../../src/common/spec/cluster-plan.ts";
import { localVolumesOf } from "../../src/common/spec/local-volumes.ts";
import { accessRefusal } from "../../src/common/task/node-access.ts";
import { shownSlot } from "../../src/common/task/place.ts";
import { nap } from "../orchestrator/leadership.ts";
import { isRunning, isWanted, type Place } from "../orchestrator/slot.ts";
import { newTask } from "../orchestrator/task-factory.ts";
import { configOf } from "../orchestrator/update/plan.ts";
import type { GroupDecision } from "../scheduler/decide.ts";
import type { Tx } from "../state/transaction.ts";
import { Conflicts } from "./conflicts.ts";
import type { Room } from "./room.ts";
import type { Replacement, Steps } from "./steps.ts";

/** What is played with. */
export interface Stage {
  readonly tx: Tx;
  readonly room: Room;
  readonly random: Random;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly logDriver: Driver | undefined;
  /** Whether others are to have a turn. */
  readonly pause: () => boolean;
}

/** What is said of the service in any case. */
type Found = Pick<
  ServicePlan,
  "tasks" | "more" | "refusals" | "refusing" | "conflicts" | "absence"
>;

/** Plays a service that is removed. */
export function playRemoval({ stop }: Steps, { room }: Stage): Found {
  for (const task of stop) room.release(task);
  const running = stop.filter(isRunning).length;
  return {
    tasks: stop.slice(0, plannedTasksMax).map(stopped),
    more: Math.max(0, stop.length - plannedTasksMax),
    refusals: [],
    refusing: 0,
    conflicts: [],
    absence: { running, away: running, lost: 0 },
  };
}

/** Plays the steps of a service. */
export async function play(service: Service, steps: Steps, stage: Stage): Promise<Found> {
  const game = new Game(service, steps, stage);
  return await game.run();
}

class Game {
  readonly #service: Service;
  readonly #steps: Steps;
  readonly #stage: Stage;
  readonly #tasks: TaskPlan[] = [];
  readonly #conflicts: Conflicts;
  /** The decision on the tasks to come; undefined after something else changed the room. */
  #decision: GroupDecision | undefined;
  /** Where local volumes are is a matter of the place, and of the tasks beside it. */
  readonly #hasVolumes: boolean;
  readonly #encrypted: readonly string[];
  /** Tasks that are stopped for good and have their share of their nodes still. */
  #leaving: readonly Task[] = [];
  #away = 0;
  #lost = 0;

  constructor(service: Service, steps: Steps, stage: Stage) {
    this.#service = service;
    this.#steps = steps;
    this.#stage = stage;
    this.#conflicts = new Conflicts(service, stage);
    this.#hasVolumes = localVolumesOf(service.spec?.task).length > 0;
    this.#encrypted = (service.spec?.task?.networks ?? []).flatMap(({ target }) => {
      const spec = stage.tx.get("network", target)?.spec;
      return isEncrypted(spec) ? [spec?.annotations?.name ?? target] : [];
    });
  }

  async run(): Promise<Found> {
    const { stop, replace, start } = this.#steps;
    const running = this.#running();
    const { refusals, refusing } = this.#refusals();
    for (const task of stop) {
      this.#stopping(task);
      this.#tasks.push(stopped(task));
    }
    this.#leaving = stop;
    for (const place of start.slice(0, plannedTasksMax)) {
      this.#begin(place);
      if (this.#stage.pause()) await nap();
    }
    const left = Math.max(0, plannedTasksMax - start.length);
    await this.#replaceAll(replace.slice(0, left));
    this.#leave();
    const all = stop.length + start.length + replace.length;
    const tasks = this.#tasks.slice(0, plannedTasksMax);
    const absence = { running, away: Math.min(this.#away, running), lost: this.#lost };
    const conflicts = this.#conflicts.list();
    return { tasks, more: all - tasks.length, refusals, refusing, conflicts, absence };
  }

  #running(): number {
    const { tx } = this.#stage;
    const tasks = tx.find("task", "service", this.#service.id);
    return tasks.filter((task) => isWanted(task) && isRunning(task)).length;
  }

  async #replaceAll(replace: readonly Replacement[]): Promise<void> {
    const { parallelism, order } = configOf(this.#service);
    const size = Math.min(parallelism, Math.max(replace.length, 1));
    for (let from = 0; from < replace.length; from += size) {
      const batch = replace.slice(from, from + size);
      const away = order === "start-first" ? this.#startFirst(batch) : this.#stopFirst(batch);
      this.#away = Math.max(this.#away, away + this.#lost);
      this.#leave();
      if (this.#stage.pause()) await nap();
    }
  }

  /** @returns how many tasks are away meanwhile. */
  #stopFirst(batch: readonly Replacement[]): number {
    for (const { old } of batch) for (const task of old) this.#stopping(task);
    const waiting: { readonly replacement: Replacement; readonly task: Task | string }[] = [];
    for (const replacement of batch) {
      const task = this.#made(replacement.place);
      const next = typeof task === "string" ? undefined : this.#put(task);
      if (next === undefined) waiting.push({ replacement, task });
      else this.#note("replace", { ...replacement, next });
    }
    for (const { old } of batch) for (const task of old) this.#end(task);
    if (waiting.length > 0) this.#leave();
    for (const { replacement, task } of waiting) {
      const next = typeof task === "string" ? undefined : this.#put(task);
      const error = next === undefined ? this.#waits(task) : "";
      this.#note("replace", { ...replacement, next, error });
      if (next === undefined && replacement.old.some(isRunning)) this.#lost++;
    }
    return batch.filter(({ old }) => old.some(isRunning)).length;
  }

  /** @returns how many tasks are away meanwhile. */
  #startFirst(batch: readonly Replacement[]): number {
    let away = 0;
    for (const replacement of batch) {
      const { place, old } = replacement;
      const task = this.#made(place);
      let next = typeof task === "string" ? undefined : this.#putOrLeave(task);
      if (next === undefined && typeof task !== "string") {
        // No room beside the old one: with that one out of the way, or not at all.
        const error = this.#why(task);
        for (const one of old) this.#end(one);
        next = this.#put(task);
        if (next === undefined) {
          for (const one of old) this.#stage.room.restore(one);
          this.#decision = undefined;
          this.#conflicts.waits(task);
          this.#note("replace", { ...replacement, next, error });
          continue;
        }
        if (old.some(isRunning)) away++;
      }
      const error = typeof task === "string" ? task : "";
      this.#note("replace", { ...replacement, next, error });
      if (next !== undefined) for (const one of old) this.#end(one);
    }
    return away;
  }

  #begin(place: Place): void {
    const task = this.#made(place);
    const next = typeof task === "string" ? undefined : this.#putOrLeave(task);
    const error = next === undefined ? this.#waits(task) : "";
    this.#note("start", { place, old: [], next, error });
  }

  /** A task that waits for a node, or why it does not come so far. */
  #made(place: Place): Task | string {
    const { random, now, logDriver, room } = this.#stage;
    const { jobIteration } = this.#steps;
    const parts = { id: newId(random), place, now, logDriver, jobIteration };
    return room.allocate(newTask(this.#service, { ...parts, desiredState: "running" }));
  }

  /** Gives a task a node; undefined when none would take it. */
  #put(task: Task): Task | undefined {
    const { room, tx } = this.#stage;
    if (this.#hasVolumes) this.#decision = undefined;
    this.#decision ??= room.decision(task);
    const placement =
      task.nodeId === "" ? this.#decision.place(task) : this.#decision.confirm(task);
    if (placement === undefined) return undefined;
    this.#conflicts.placed(task, placement.next.nodeId);
    room.noteCharged(placement.next);
    if (this.#hasVolumes) tx.create("task", placement.next);
    return placement.next;
  }

  /** ... or, if need be, once those have ended that are stopped for good. */
  #putOrLeave(task: Task): Task | undefined {
    const next = this.#put(task);
    if (next !== undefined || this.#leaving.length === 0) return next;
    this.#leave();
    return this.#put(task);
  }

  /** Those that are stopped for good have ended. */
  #leave(): void {
    for (const task of this.#leaving) this.#end(task);
    this.#leaving = [];
  }

  /** A task stays without a node. @returns why */
  #waits(task: Task | string): string {
    if (typeof task !== "string") this.#conflicts.waits(task);
    return this.#why(task);
  }

  #why(task: Task | string): string {
    if (typeof task === "string") return task;
    this.#decision ??= this.#stage.room.decision(task);
    return this.#decision.explain(task.nodeId === "" ? undefined : task.nodeId);
  }

  /** A task is told to stop, and still has its share of its node. */
  #stopping(task: Task): void {
    this.#stage.room.put({ ...task, desiredState: "shutdown" });
    this.#decision = undefined;
  }

  #end(task: Task): void {
    this.#stage.room.release(task);
    if (this.#hasVolumes) {
      const { tx } = this.#stage;
      const present = tx.get("task", task.id);
      if (present !== undefined) tx.update("task", { ...present, desiredState: "shutdown" });
    }
    this.#decision = undefined;
  }

  #note(
    action: TaskPlan["action"],
    o: Replacement & { readonly next: Task | undefined; readonly error?: string },
  ): void {
    const { place, old, next, error = "" } = o;
    const last = old.at(-1);
    const to = next?.nodeId ?? "";
    const node = to === "" ? undefined : this.#stage.tx.get("node", to);
    this.#tasks.push({
      action,
      slot: shownSlot({ slot: place.slot, jobIteration: this.#steps.jobIteration }),
      nodeId: place.nodeId,
      taskId: last?.id ?? "",
      from: last?.nodeId ?? "",
      to,
      error: error || (node === undefined || next === undefined ? "" : this.#refusal(next, node)),
    });
  }

  /** Nodes that would not take a task even without those that go. */
  #refusals(): { readonly refusals: readonly NodeRefusal[]; readonly refusing: number } {
    const { start, replace, stop } = this.#steps;
    const [place] = [...start, ...replace.map((one) => one.place)];
    if (place === undefined) return { refusals: [], refusing: 0 };
    const { room } = this.#stage;
    const going = [...stop, ...replace.flatMap(({ old }) => old)];
    for (const task of going) room.release(task);
    const task = newTask(this.#service, {
      ...{ id: "", place, now: this.#stage.now, logDriver: this.#stage.logDriver },
      desiredState: "running",
    });
    const decision = room.decision({ ...task, nodeId: "" });
    const all: NodeRefusal[] = [];
    for (const info of room.nodes.list()) {
      const reason = decision.wouldDo([info])
        ? this.#refusal(task, info.node)
        : decision.explain(info.id);
      if (reason !== "") all.push({ nodeId: info.id, reason });
    }
    for (const one of going) room.restore(one);
    all.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
    return { refusals: all.slice(0, plannedRefusalsMax), refusing: all.length };
  }

  /** Why the node's agent would reject a task that the scheduler gave it; empty when it would not. */
  #refusal(task: Task, { description, spec }: Node): string {
    const { hostname = "" } = description ?? {};
    const access = accessRefusal(task, { hostname, labels: spec?.annotations?.labels ?? {} });
    if (access !== "") return access;
    const canEncrypt = (description?.wireguardPublicKey ?? []).length > 0;
    if (this.#encrypted.length === 0 || canEncrypt) return "";
    const which = `network${this.#encrypted.length > 1 ? "s" : ""} ${this.#encrypted.join(", ")}`;
    return `the node cannot encrypt ${which}: install wireguard-tools there`;
  }
}

function stopped(task: Task): TaskPlan {
  const { id, nodeId } = task;
  const slot = shownSlot(task);
  const place = { slot, nodeId: slot === undefined ? nodeId : "" };
  return { action: "stop", ...place, taskId: id, from: nodeId, to: "", error: "" };
}

function isEncrypted(spec: NetworkSpec | undefined): boolean {
  const value = spec?.driver?.options["encrypted"];
  return value !== undefined && value !== "false";
}
