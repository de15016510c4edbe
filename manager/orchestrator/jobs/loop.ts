/**
 * Runs jobs to their end: the leader's loop around `reconcile.ts` and `restart/policy.ts`.
 *
 * A job that was made, updated or is due, a task of it that ended and a node that came or went have the whole job looked at.
 * Tasks of earlier runs are removed; those that have ended stay as history. Of jobs on a schedule several runs may go on, and
 * those that are kept for show keep their tasks.
 */
import {
  type Node,
  type Service,
  type Task,
  type TaskState,
  TaskStateNumber,
} from "../../../src/common/api/generated/api.ts";
import { newId } from "../../../src/common/ids/ids.ts";
import { cronSettingsOf } from "../../../src/common/job/cron-labels.ts";
import {
  isKept,
  isScheduled,
  liveRuns,
  type Run,
  trimmed,
  withOutcome,
} from "../../../src/common/job/runs.ts";
import type { Change } from "../../state/change.ts";
import { type Follower, Waiting } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { type Leadership, nap, slices, type Tools } from "../leadership.ts";
import { mattersTo, NodeMatchers } from "../node-match.ts";
import { RunTimes, repairAt } from "../restart/repair.ts";
import {
  fateOf,
  hasEnded,
  hasStopped,
  isComplete,
  isJob,
  isWanted,
  type Place,
  type PlaceTasks,
  putAtPlace,
  tasksAt,
} from "../slot.ts";
import { defaultLogDriver, newTask } from "../task-factory.ts";
import { type Outcome, type RunSteps, reconcileRun } from "./reconcile.ts";

/** The tasks of one run, by place. */
type Places = Map<string, PlaceTasks>;

/** The loop of one leadership; run it with `follow`. */
export class JobLoop implements Follower {
  readonly component = "jobs";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #services = new Waiting<string>();
  readonly #runTimes = new RunTimes();
  readonly #matchers = new NodeMatchers();

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#runTimes.clear();
    for (const service of this.#leadership.store.view().each("service")) {
      if (isJob(service)) this.#services.add(service.id, service.id);
    }
  }

  changed(change: Change): void {
    switch (change.table) {
      case "service": {
        const { kind, object, old } = change;
        if (kind === "remove" || !isJob(object)) return;
        if (old?.spec === object.spec && old?.jobStatus === object.jobStatus) return;
        this.#services.add(object.id, object.id);
        return;
      }
      case "task":
        if (change.object.jobIteration === undefined) return;
        if (change.kind === "remove") this.#runTimes.forget(change.object.id);
        else this.#taskChanged(change.object, change.old);
        return;
      case "node":
        if (change.kind !== "update" || mattersTo(change.object, change.old))
          this.#nodeChanged(change.object);
        return;
      default:
        return;
    }
  }

  async work(signal: AbortSignal): Promise<number> {
    await this.#services.drain(async (ids) => {
      for (const id of ids) await this.#reconcile(id, signal);
    });
    return Number.POSITIVE_INFINITY;
  }

  #taskChanged(task: Task, old: Task | undefined): void {
    this.#runTimes.note(task, old);
    const isOver = hasEnded(task) && (isWanted(task) || (old !== undefined && isWanted(old)));
    const isMoved = task.nodeId !== (old?.nodeId ?? "");
    const isLost = isMoved && fateOf(this.#leadership.store.view(), task.nodeId) !== "up";
    if (isOver || isLost) this.#services.add(task.serviceId, task.serviceId);
  }

  #nodeChanged({ id }: Node): void {
    const view = this.#leadership.store.view();
    for (const service of view.each("service")) {
      if (service.spec?.mode?.globalJob !== undefined) this.#services.add(service.id, service.id);
    }
    if (fateOf(view, id) === "up") return;
    for (const { jobIteration, serviceId } of view.find("task", "node", id)) {
      if (jobIteration !== undefined) this.#services.add(serviceId, serviceId);
    }
  }

  async #reconcile(id: string, signal: AbortSignal): Promise<void> {
    const service = this.#leadership.store.view().get("service", id);
    if (service === undefined || !isJob(service)) return;
    const runs = await this.#runsOf(service);
    const live = liveRuns(service);
    const isLive = (iteration: number) => live.some((run) => run.iteration === iteration);
    for (const [iteration, places] of runs) {
      if (!isLive(iteration)) await this.#retire(service, places, signal);
    }
    for (const run of live) {
      const places = runs.get(run.iteration) ?? new Map();
      const steps = this.#stepsOf(service, run, places);
      await this.#goOn(service, run, steps, signal);
      const isOver = steps.outcome !== "running" && steps.repair.length === 0;
      if (isOver && isScheduled(service.jobStatus))
        await this.#close(id, run, steps.outcome, signal);
    }
  }

  /** All tasks of the job, by run and place, oldest first. */
  async #runsOf(service: Service): Promise<Map<number, Places>> {
    const { store } = this.#leadership;
    const runs = new Map<number, Places>();
    const pause = slices(this.#tools.clock);
    for (const id of store.view().ids("task", "service", service.id)) {
      if (pause()) await nap();
      const task = store.view().get("task", id);
      if (task?.jobIteration === undefined) continue;
      let places = runs.get(task.jobIteration);
      if (places === undefined) {
        places = new Map();
        runs.set(task.jobIteration, places);
      }
      putAtPlace(places, task);
    }
    return runs;
  }

  #stepsOf(service: Service, run: Run, tasksOf: Places): RunSteps {
    return reconcileRun(service, run, {
      places: tasksOf.values(),
      view: this.#leadership.store.view(),
      isMatch: this.#matchers.of(service),
      now: this.#tools.clock.now(),
    });
  }

  async #goOn(
    service: Service,
    { iteration }: Run,
    steps: RunSteps,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, term } = this.#leadership;
    const stop = (tx: Tx, { id }: Task) => {
      const task = tx.get("task", id);
      if (task !== undefined && isWanted(task))
        tx.update("task", { ...task, desiredState: "shutdown" });
    };
    const repair = (tx: Tx, place: Place) => {
      const present = tx.get("service", service.id);
      if (present === undefined || !isLiveIn(present, iteration)) return;
      const view = store.view();
      const context = { tx, view, service: present, place, runTimes: this.#runTimes };
      repairAt({ ...context, jobIteration: iteration }, this.#tools);
    };
    const fill = (tx: Tx, place: Place) => {
      const present = tx.get("service", service.id);
      if (present?.spec !== service.spec || !isLiveIn(present, iteration)) return;
      // Made before a leader's answer was lost.
      const isThere = (task: Task) => task.jobIteration === iteration && isWanted(task);
      if (tasksAt(store.view(), place).some(isThere)) return;
      tx.require("service", service.id);
      if (place.nodeId !== "") tx.require("node", place.nodeId);
      tx.create("task", this.#newTask(present, place, iteration));
    };
    await store.batch(steps.stop, stop, { term, signal });
    await store.batch(steps.repair, repair, { term, signal });
    await store.batch(steps.fill, fill, { term, signal });
  }

  /** The first task of a place in a run; it is held back while one of an earlier run is still being stopped there. */
  #newTask(service: Service, place: Place, jobIteration: number): Task {
    const { clock, random } = this.#tools;
    const view = this.#leadership.store.view();
    const isClear = tasksAt(view, place).every((task) => isWanted(task) || hasStopped(task));
    return newTask(service, {
      id: newId(random),
      place,
      now: clock.now(),
      desiredState: isClear ? "running" : "ready",
      logDriver: defaultLogDriver(view),
      jobIteration,
    });
  }

  /** Notes how a run that was begun by its schedule ended. */
  async #close(id: string, run: Run, outcome: Outcome, signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const { clock, log } = this.#tools;
    await store.update(
      (tx) => {
        const service = tx.get("service", id);
        if (service?.jobStatus === undefined || !isLiveIn(service, run.iteration)) return;
        const ended = withOutcome(service.jobStatus, {
          which: ({ jobIteration }) => jobIteration === run.iteration,
          outcome,
          now: clock.now(),
        });
        const kept = cronSettingsOf(service.spec?.annotations?.labels);
        const jobStatus = kept === undefined ? ended : trimmed(ended, kept);
        tx.update("service", { ...service, jobStatus });
      },
      { term, signal },
    );
    const fields = { "service.id": id, iteration: run.iteration };
    if (outcome === "failed") log.warn("run of a job failed", fields);
    else log.info("run of a job completed", fields);
  }

  /** Takes away what an earlier run still has; what has ended stays as history. */
  async #retire(service: Service, places: Places, signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const tasks = [...places.values()]
      .flatMap(({ tasks: all }) => all)
      .filter((task) => isFurther(retiredState(service, task), task));
    const retire = (tx: Tx, { id, jobIteration = 0 }: Task) => {
      const present = tx.get("service", service.id);
      const task = tx.get("task", id);
      if (present === undefined || task === undefined || isLiveIn(present, jobIteration)) return;
      const desiredState = retiredState(present, task);
      if (isFurther(desiredState, task)) tx.update("task", { ...task, desiredState });
    };
    await store.batch(tasks, retire, { term, signal });
  }
}

function isLiveIn(service: Service | undefined, iteration: number): service is Service {
  return service !== undefined && liveRuns(service).some((run) => run.iteration === iteration);
}

/** What becomes of a task of a run that does not go on. */
function retiredState(service: Service, task: Task): TaskState {
  if (!isScheduled(service.jobStatus)) return hasEnded(task) ? "shutdown" : "remove";
  if (!isKept(service, task.jobIteration ?? 0)) return "remove";
  return isComplete(task) ? "complete" : "shutdown";
}

function isFurther(desiredState: TaskState, task: Task): boolean {
  return TaskStateNumber(desiredState) > TaskStateNumber(task.desiredState);
}
