/**
 * Takes the tasks of changed services to the present spec: the leader's loop around `plan.ts`.
 *
 * A changed service has its tasks looked through once; what is outdated becomes a rollout, which is driven by the changes
 * of its own tasks and by time. A new leader goes on with the rollouts whose services say that they are being updated;
 * a paused one rests until the user updates the service again.
 */
import {
  type Service,
  type Task,
  type UpdateState,
  UpdateStatus,
} from "../../../src/common/api/generated/api.ts";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import { newId } from "../../../src/common/ids/ids.ts";
import {
  manifestsPatienceMs,
  startFirstPatienceMs,
} from "../../../src/common/limits/orchestrator.ts";
import { updateDeadlineLabel } from "../../../src/common/spec/rollout-labels.ts";
import { withEarlierSpec } from "../../../src/common/spec/service-revisions.ts";
import { awaitsManifests } from "../../../src/common/task/dirty.ts";
import type { Change } from "../../state/change.ts";
import { type Follower, Waiting } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { type Leadership, nap, slices, type Tools } from "../leadership.ts";
import {
  fateOf,
  hasEnded,
  isGlobal,
  isJob,
  isRunning,
  isWanted,
  type Place,
  placeKey,
  placeOf,
  tasksAt,
} from "../slot.ts";
import { defaultLogDriver, newTask } from "../task-factory.ts";
import { Outdated } from "./outdated.ts";
import {
  isFailure,
  pauseAfterPlaceMs,
  planRollout,
  type Rollout,
  type UnderWay,
  updatePlace,
  type Verdict,
  wouldFitAfter,
} from "./plan.ts";
import { openRollout } from "./rollout.ts";

/** Tasks that a message about a roll-out names. */
const tasksNamedMax = 3;

interface Running {
  readonly service: Service;
  readonly rollout: Rollout;
  readonly outdated: Outdated;
  /** Places whose tasks changed. */
  readonly touched: Map<string, Place>;
}

/** The loop of one leadership; run it with `follow`. */
export class UpdateSupervisor implements Follower {
  readonly component = "update";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #services = new Waiting<string>();
  readonly #running = new Map<string, Running>();
  /** Services whose images' registries are waited for, and until when. */
  readonly #awaited = new Map<string, number>();
  /** Places in which a task began to run while others are still wanted there. */
  readonly #crowded = new Waiting<Place>();

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#running.clear();
    this.#awaited.clear();
    for (const { id } of this.#leadership.store.view().each("service")) this.#services.add(id, id);
  }

  changed(change: Change): void {
    if (change.table === "service") this.#serviceChanged(change);
    else if (change.table === "task") this.#taskChanged(change);
    else if (change.table === "node") this.#nodeChanged(change);
  }

  async work(signal: AbortSignal): Promise<number> {
    const now = this.#tools.clock.monotonic();
    for (const [id, endMs] of this.#awaited) if (now >= endMs) this.#services.add(id, id);
    await this.#services.drain(async (ids) => {
      for (const id of ids) await this.#open(id, signal);
    });
    await this.#crowded.drain((places) => this.#stopOld(places, signal));
    let wakeInMs = Number.POSITIVE_INFINITY;
    for (const endMs of this.#awaited.values())
      wakeInMs = Math.min(wakeInMs, Math.max(0, endMs - this.#tools.clock.monotonic()));
    for (const running of [...this.#running.values()]) {
      wakeInMs = Math.min(wakeInMs, await this.#goOn(running, signal));
    }
    return wakeInMs;
  }

  #serviceChanged({ kind, object, old }: Change & { readonly table: "service" }): void {
    if (kind === "remove") {
      this.#running.delete(object.id);
      this.#awaited.delete(object.id);
    }
    // A new service has no tasks yet; a write of our own leaves the spec as it is.
    else if (kind === "update" && old?.spec !== object.spec) {
      this.#running.delete(object.id);
      this.#awaited.delete(object.id);
      this.#services.add(object.id, object.id);
    } else if (old?.image !== object.image && this.#awaited.has(object.id))
      this.#services.add(object.id, object.id);
  }

  /** What was put off while the node was paused. */
  #nodeChanged({ object: node, old }: Change & { readonly table: "node" }): void {
    if (old?.spec?.availability !== "pause" || node.spec?.availability === "pause") return;
    const view = this.#leadership.store.view();
    for (const { serviceId } of view.find("task", "node", node.id)) {
      if (isGlobal(view.get("service", serviceId)) && !this.#running.has(serviceId))
        this.#services.add(serviceId, serviceId);
    }
  }

  #taskChanged({ kind, object: task, old }: Change & { readonly table: "task" }): void {
    // Runs of a job may be beside each other in one slot.
    if (task.serviceId === "" || task.jobIteration !== undefined) return;
    const place = placeOf(task);
    const key = placeKey(place);
    if (isRunning(task) && (old === undefined || !isRunning(old))) {
      const tasks = tasksAt(this.#leadership.store.view(), place);
      if (tasks.filter(isWanted).length > 1) this.#crowded.add(key, place);
    }
    const running = this.#running.get(task.serviceId);
    if (running === undefined) return;
    if (running.rollout.underWay.has(key)) running.touched.set(key, place);
    if (kind === "update") this.#watch(running, task, old);
  }

  /** Takes note of how a task the rollout made gets on. */
  #watch({ rollout }: Running, task: Task, old: Task | undefined): void {
    if (!rollout.made.has(task.id)) return;
    const now = this.#tools.clock.monotonic();
    if (isRunning(task) && rollout.made.get(task.id) === undefined) rollout.made.set(task.id, now);
    const endedUnasked = hasEnded(task) && old !== undefined && !hasEnded(old) && isWanted(old);
    if (endedUnasked && isFailure(rollout, task, now)) rollout.failed.add(task.id);
  }

  /** Looks through a service's tasks; what is outdated becomes a rollout. */
  async #open(id: string, signal: AbortSignal): Promise<void> {
    const { store } = this.#leadership;
    const service = store.view().get("service", id);
    if (service === undefined || isAtRest(service.updateStatus?.state)) return;
    // An update of a job is another run of it.
    if (isJob(service)) return;
    if (this.#awaitsManifests(service)) return;
    const { clock } = this.#tools;
    const outdated = new Outdated(service, (nodeId) => store.view().get("node", nodeId));
    const rollout = await openRollout(store, { service, outdated, clock });
    if (store.view().get("service", id)?.spec !== service.spec) return;
    const state = service.updateStatus?.state ?? "unknown";
    if (rollout.waiting.size === 0 && state !== "updating" && state !== "rollback-started") return;
    if (state !== "rollback-started" && state !== "updating") {
      const startedAtMs = clock.now();
      await this.#setStatus(
        service,
        { state: "updating", message: "update in progress", startedAtMs, completedAtMs: 0 },
        signal,
      );
    }
    this.#tools.log.info("update begun", { "service.id": id, places: rollout.waiting.size });
    this.#running.set(id, { service, rollout, outdated, touched: new Map() });
  }

  /** An image that was pushed again: its registry says first for which tasks it is the same. */
  #awaitsManifests(service: Service): boolean {
    const now = this.#tools.clock.monotonic();
    const endMs = this.#awaited.get(service.id) ?? now + manifestsPatienceMs;
    const awaits = now < endMs && awaitsManifests(service);
    if (awaits) this.#awaited.set(service.id, endMs);
    else this.#awaited.delete(service.id);
    return awaits;
  }

  async #goOn(running: Running, signal: AbortSignal): Promise<number> {
    const { rollout, touched } = running;
    const { clock } = this.#tools;
    const places = [...touched.values()];
    touched.clear();
    const pause = slices(clock);
    for (const place of places) {
      this.#look(running, place);
      if (pause()) await nap();
    }
    const { begin, verdict, wakeInMs } = planRollout(rollout, clock.monotonic());
    if (verdict !== undefined) {
      await this.#end(running, verdict, signal);
      return Number.POSITIVE_INFINITY;
    }
    await this.#fallBack(running, signal);
    this.#forgetDone(rollout);
    if (begin.length === 0) return wakeInMs;
    await this.#begin(running, begin, signal);
    return 0;
  }

  /** Sees how far the new task of a place has come. */
  #look({ rollout, outdated }: Running, place: Place): void {
    const key = placeKey(place);
    const underWay = rollout.underWay.get(key);
    if (underWay === undefined) return;
    const tasks = tasksAt(this.#leadership.store.view(), place);
    const task = tasks.find(({ id }) => id === underWay.taskId);
    if (task !== undefined && (hasEnded(task) || isRunning(task))) {
      if (underWay.doneMs !== undefined) return;
      underWay.doneMs = this.#tools.clock.monotonic();
      rollout.lastDoneMs = underWay.doneMs;
      return;
    }
    if (underWay.doneMs !== undefined || (task !== undefined && isWanted(task))) return;
    // Moved elsewhere, or removed: gone on with where somebody has taken its place.
    rollout.underWay.delete(key);
    if (tasks.some((other) => isWanted(other) && !outdated.has(other)))
      rollout.waiting.set(key, place);
  }

  /** Places that are through and no longer hold up the next one. */
  #forgetDone(rollout: Rollout): void {
    const { underWay, waiting } = rollout;
    const now = this.#tools.clock.monotonic();
    const pauseMs = pauseAfterPlaceMs(rollout, now);
    for (const [key, { doneMs }] of underWay) {
      if (doneMs === undefined) continue;
      if (waiting.size === 0 || now >= doneMs + pauseMs) underWay.delete(key);
    }
  }

  /** Stops outdated tasks beside which one of the present spec runs. */
  async #stopOld(places: readonly Place[], signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const known = new Map<string, Outdated>();
    const stop = (tx: Tx, place: Place) => {
      const service = tx.get("service", place.serviceId);
      if (service === undefined) return;
      const key = `${service.id} ${service.specVersion}`;
      let outdated = known.get(key);
      if (outdated === undefined) {
        outdated = new Outdated(service, (id) => store.view().get("node", id));
        known.set(key, outdated);
      }
      const view = store.view();
      // What runs on a drained node makes way for its successor.
      const isOld = (task: Task) => outdated.has(task) || fateOf(view, task.nodeId) === "drained";
      stopIn(tx, tasksAt(view, place), { isOutdated: isOld, fallBack: false });
    };
    await store.batch(places, stop, { term, signal });
  }

  /** Gives up old tasks where the new one, which should have started first, finds no room beside them. */
  async #fallBack(running: Running, signal: AbortSignal): Promise<void> {
    const { service, rollout, outdated } = running;
    if (rollout.config.order !== "start-first") return;
    const { store, term } = this.#leadership;
    const now = this.#tools.clock.monotonic();
    const due = [...rollout.underWay.values()].filter((one) => this.#needsRoom(running, one, now));
    const stop = (tx: Tx, { place }: UnderWay) => {
      if (tx.get("service", service.id)?.spec !== service.spec) return;
      const isOutdated = (task: Task) => outdated.has(task);
      stopIn(tx, tasksAt(store.view(), place), { isOutdated, fallBack: true });
    };
    await store.batch(due, stop, { term, signal });
    if (due.length === 0) return;
    for (const underWay of due) {
      underWay.fellBack = true;
      const fields = { "service.id": service.id, "task.id": underWay.taskId };
      this.#tools.log.info("new task finds no room beside the old one", fields);
    }
    const what = rollout.isRollback ? "rollback" : "update";
    const ids = due.map(({ taskId }) => taskId).slice(0, tasksNamedMax);
    const more = due.length > ids.length ? ` and ${due.length - ids.length} more` : "";
    const message = `${what} in progress: found no room beside the old task for ${ids.join(", ")}${more}, so the old one was stopped first`;
    await this.#setStatus(service, { message }, signal);
  }

  #needsRoom({ outdated }: Running, underWay: UnderWay, now: number): boolean {
    if (underWay.fellBack || underWay.doneMs !== undefined) return false;
    if (now - underWay.begunMs < startFirstPatienceMs) return false;
    const view = this.#leadership.store.view();
    const tasks = tasksAt(view, underWay.place);
    const task = tasks.find(({ id }) => id === underWay.taskId);
    const old = tasks.filter((other) => isWanted(other) && outdated.has(other));
    const nodes = old.map(({ nodeId }) => view.get("node", nodeId));
    return task !== undefined && wouldFitAfter(task, nodes, (node) => outdated.canHave(node));
  }

  async #begin(running: Running, places: readonly Place[], signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const { service, rollout, outdated } = running;
    const logDriver = defaultLogDriver(store.view());
    const taskOf = new Map<string, Task>();
    const begin = (tx: Tx, place: Place) => {
      taskOf.delete(placeKey(place));
      const present = tx.get("service", service.id);
      if (present === undefined || present.spec !== service.spec) return;
      const steps = updatePlace(tasksAt(store.view(), place), {
        order: rollout.config.order,
        isOutdated: (task) => outdated.has(task),
      });
      for (const task of steps.stop) tx.update("task", { ...task, desiredState: "shutdown" });
      if (steps.present !== undefined) taskOf.set(placeKey(place), steps.present);
      if (steps.create === undefined) return;
      const { clock, random } = this.#tools;
      const id = newId(random);
      const parts = { id, place, now: clock.now(), desiredState: steps.create, logDriver };
      const task = newTask(present, parts);
      tx.create("task", task);
      taskOf.set(placeKey(place), task);
    };
    await store.batch(places, begin, { term, signal });
    const pause = slices(this.#tools.clock);
    for (const place of places) {
      this.#noteBegun(running, place, taskOf.get(placeKey(place)));
      if (pause()) await nap();
    }
  }

  #noteBegun({ rollout, touched }: Running, place: Place, task: Task | undefined): void {
    const key = placeKey(place);
    rollout.waiting.delete(key);
    if (task === undefined) return;
    const begunMs = this.#tools.clock.monotonic();
    rollout.underWay.set(key, {
      place,
      taskId: task.id,
      begunMs,
      doneMs: undefined,
      fellBack: false,
    });
    const present = this.#leadership.store.view().get("task", task.id) ?? task;
    if (!rollout.made.has(task.id))
      rollout.made.set(task.id, isRunning(present) ? begunMs : undefined);
    if (isWanted(present) && isFailure(rollout, present, begunMs)) rollout.failed.add(task.id);
    // It may have come far before it was noted.
    touched.set(key, place);
  }

  async #end({ service, rollout }: Running, verdict: Verdict, signal: AbortSignal): Promise<void> {
    const { isRollback } = rollout;
    const what = isRollback ? "rollback" : "update";
    const { log, clock } = this.#tools;
    const fields = { "service.id": service.id };
    if (verdict.kind === "complete") {
      const state = isRollback ? "rollback-completed" : "completed";
      const completedAtMs = clock.now();
      await this.#setStatus(
        service,
        { state, message: `${what} completed`, completedAtMs },
        signal,
      );
      log.info(`${what} completed`, fields);
    } else {
      const task = { ...fields, "task.id": verdict.taskId };
      const reason = reasonOf(verdict, rollout);
      const isBack =
        verdict.kind === "rollback" &&
        (await this.#rollBack(service, `update rolled back ${reason}`, signal));
      if (isBack) log.warn("update rolled back", task);
      else {
        const state = isRollback ? "rollback-paused" : "paused";
        // Of a rollback, too: Docker's swarm says so, and the state tells which.
        await this.#setStatus(service, { state, message: `update paused ${reason}` }, signal);
        log.warn(`${what} paused`, task);
      }
    }
    this.#running.delete(service.id);
  }

  async #setStatus(
    service: Service,
    change: Partial<UpdateStatus>,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, term } = this.#leadership;
    await store.update(
      (tx) => {
        const present = tx.get("service", service.id);
        if (present === undefined || present.spec !== service.spec) return;
        const updateStatus = UpdateStatus.create({ ...present.updateStatus, ...change });
        tx.update("service", { ...present, updateStatus });
      },
      { term, signal },
    );
  }

  /** Takes the service back to its previous spec; says whether there was one that can be had. */
  async #rollBack(service: Service, message: string, signal: AbortSignal): Promise<boolean> {
    const { store, term } = this.#leadership;
    try {
      return await store.update(
        (tx) => {
          const present = tx.get("service", service.id);
          if (present === undefined || present.spec !== service.spec) return true;
          if (present.previousSpec === undefined) return false;
          const earlier = {
            spec: present.previousSpec,
            specVersion: present.previousSpecVersion,
          };
          const now = this.#tools.clock.now();
          tx.update("service", {
            ...withEarlierSpec(present, earlier, { now, consumes: true }),
            updateStatus: UpdateStatus.create({
              ...present.updateStatus,
              state: "rollback-started",
              message,
            }),
          });
          return true;
        },
        { term, signal },
      );
    } catch (error) {
      if (!(error instanceof ClusterError) || error.code !== "invalid-argument") throw error;
      const fields = { "service.id": service.id, err: errorText(error) };
      this.#tools.log.warn("previous spec cannot be had back", fields);
      return false;
    }
  }
}

/** Why an update ended, as `docker service inspect` says it. */
function reasonOf(
  { why, taskId }: Exclude<Verdict, { kind: "complete" }>,
  { config }: Rollout,
): string {
  if (why === "failure") return `due to failure or early termination of task ${taskId}`;
  return `due to no progress in ${config.deadlineMs / 1000} s (${updateDeadlineLabel}), waiting for task ${taskId}`;
}

/** Stops what is old in a place, once the new task runs or without waiting for it. */
function stopIn(
  tx: Tx,
  tasks: readonly Task[],
  options: { readonly isOutdated: (task: Task) => boolean; readonly fallBack: boolean },
): void {
  const { stop, present } = updatePlace(tasks, { order: "start-first", ...options });
  if (present === undefined) return;
  for (const task of stop) tx.update("task", { ...task, desiredState: "shutdown" });
}

/** Paused updates wait for their user. */
function isAtRest(state: UpdateState | undefined): boolean {
  return state === "paused" || state === "rollback-paused";
}
