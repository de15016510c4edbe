/**
 * Empties drained nodes of services whose new tasks start first: the leader's loop around `decide.ts`.
 *
 * The loop of replicated services leaves such tasks alone as long as they run. What this leader remembers of a handover is
 * only how long it has lasted: a new leader begins anew, and finds the new task that is there.
 */
import { Restart, type Service, type Task } from "../../../src/common/api/generated/api.ts";
import { newId } from "../../../src/common/ids/ids.ts";
import type { Change } from "../../state/change.ts";
import type { Follower } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { Deadlines } from "../deadlines.ts";
import type { Leadership, Tools } from "../leadership.ts";
import { RunTimes, repairAt } from "../restart/repair.ts";
import {
  fateOf,
  hasEnded,
  isRunning,
  isWanted,
  type Place,
  placeKey,
  placeOf,
  tasksAt,
} from "../slot.ts";
import { defaultLogDriver, newTask } from "../task-factory.ts";
import { Outdated } from "../update/outdated.ts";
import { type Handover, planHandover, startsElsewhereFirst } from "./decide.ts";

interface UnderWay {
  readonly place: Place;
  handover: Handover;
}

/** The loop of one leadership; run it with `follow`. */
export class HandoverLoop implements Follower {
  readonly component = "handover";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  /** Places whose tasks are leaving, by key. */
  readonly #places = new Map<string, UnderWay>();
  readonly #deadlines = new Deadlines();

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#places.clear();
    this.#deadlines.clear();
    for (const { id } of this.#leadership.store.view().each("node")) this.#nodeChanged(id);
  }

  changed(change: Change): void {
    if (change.table === "node") {
      const before = change.old?.spec?.availability;
      if (change.kind !== "update" || before !== change.object.spec?.availability)
        this.#nodeChanged(change.object.id);
    } else if (change.table === "service") {
      if (this.#places.size === 0 || change.old?.spec === change.object.spec) return;
      for (const [key, { place }] of this.#places)
        if (place.serviceId === change.object.id) this.#deadlines.set(key, 0);
    } else if (change.table === "task") this.#taskChanged(change.object, change.old);
  }

  async work(signal: AbortSignal): Promise<number> {
    const { store, term } = this.#leadership;
    const now = this.#tools.clock.monotonic();
    const due = this.#deadlines.take(now);
    try {
      await store.batch(due, (tx, key) => this.#goOn(tx, key, now), { term, signal });
    } catch (error) {
      for (const key of due) this.#deadlines.set(key, 0);
      throw error;
    }
    return Math.max(0, this.#deadlines.nextMs() - this.#tools.clock.monotonic());
  }

  #nodeChanged(nodeId: string): void {
    const view = this.#leadership.store.view();
    if (this.#places.size > 0) {
      for (const task of view.find("task", "node", nodeId)) this.#wake(placeKey(placeOf(task)));
    }
    if (fateOf(view, nodeId) !== "drained") return;
    for (const task of view.find("task", "node", nodeId)) this.#note(task);
  }

  #taskChanged(task: Task, old: Task | undefined): void {
    if (this.#places.size > 0) this.#wake(placeKey(placeOf(task)));
    // Made to run on a node that was drained meanwhile.
    if (isRunning(task) && (old === undefined || !isRunning(old))) this.#note(task);
  }

  #wake(key: string): void {
    if (this.#places.has(key)) this.#deadlines.set(key, 0);
  }

  #note(task: Task): void {
    if (!this.#isLeaving(task)) return;
    const place = placeOf(task);
    const key = placeKey(place);
    if (this.#places.get(key)?.handover.taskId === task.id) return;
    const now = this.#tools.clock.monotonic();
    const handover = { taskId: task.id, sinceMs: now, attempts: 0, triedMs: now };
    this.#places.set(key, { place, handover });
    this.#deadlines.set(key, 0);
  }

  #isLeaving(task: Task): boolean {
    const view = this.#leadership.store.view();
    const service = view.get("service", task.serviceId);
    return startsElsewhereFirst(service, task, fateOf(view, task.nodeId));
  }

  /** Takes the next step in one place. */
  #goOn(tx: Tx, key: string, now: number): void {
    const underWay = this.#places.get(key);
    if (underWay === undefined) return;
    const { place, handover } = underWay;
    const service = tx.get("service", place.serviceId);
    const leaving = tx.get("task", handover.taskId);
    if (service === undefined || leaving === undefined) {
      this.#forget(key);
      return;
    }
    const tasks = tasksAt(this.#leadership.store.view(), place);
    if (!this.#isLeaving(leaving)) {
      this.#forget(key);
      this.#takeBack(tx, service, { place, leaving, tasks });
      return;
    }
    const heirs = this.#heirs(service, leaving, tasks);
    const step = planHandover({ service, handover, heirs, now });
    switch (step.kind) {
      case "wait":
        this.#deadlines.set(key, now + step.lookInMs);
        return;
      case "start":
        this.#startBeside(tx, service, { place, leaving });
        underWay.handover = { ...handover, attempts: handover.attempts + 1, triedMs: now };
        this.#deadlines.set(key, now);
        return;
      case "done":
        tx.update("task", { ...leaving, desiredState: "shutdown" });
        return;
      case "give-up":
        this.#tools.log.warn("task leaves its drained node before another one runs", {
          "task.id": leaving.id,
          "node.id": leaving.nodeId,
          why: step.why,
        });
        this.#repair(tx, service, place);
    }
  }

  #forget(key: string): void {
    this.#places.delete(key);
    this.#deadlines.delete(key);
  }

  /** The task stays where it is, or goes as any other: the service or the node changed, or it has ended. */
  #takeBack(
    tx: Tx,
    service: Service,
    options: { readonly place: Place; readonly leaving: Task; readonly tasks: readonly Task[] },
  ): void {
    const { place, leaving, tasks } = options;
    const fate = fateOf(this.#leadership.store.view(), leaving.nodeId);
    if (fate !== "up") {
      this.#repair(tx, service, place);
      return;
    }
    if (!isWanted(leaving) || !isRunning(leaving)) return;
    for (const heir of this.#heirs(service, leaving, tasks)) {
      if (isWanted(heir) && !isRunning(heir))
        tx.update("task", { ...heir, desiredState: "shutdown" });
    }
  }

  #heirs(service: Service, leaving: Task, tasks: readonly Task[]): Task[] {
    const view = this.#leadership.store.view();
    const outdated = new Outdated(service, (id) => view.get("node", id));
    return tasks.filter(
      (task) =>
        task.id !== leaving.id &&
        !hasEnded(task) &&
        !outdated.has(task) &&
        fateOf(view, task.nodeId) === "up",
    );
  }

  #startBeside(
    tx: Tx,
    service: Service,
    options: { readonly place: Place; readonly leaving: Task },
  ): void {
    const { place, leaving } = options;
    const { clock, random } = this.#tools;
    // What its service was restarted goes on being counted.
    const counted = leaving.specVersion === service.specVersion ? leaving.restart : undefined;
    tx.require("service", service.id);
    const task = newTask(service, {
      id: newId(random),
      place,
      now: clock.now(),
      desiredState: "running",
      logDriver: defaultLogDriver(this.#leadership.store.view()),
      restart: Restart.create({ ...counted, startAtMs: 0 }),
      besideId: leaving.id,
    });
    tx.create("task", task);
  }

  #repair(tx: Tx, service: Service, place: Place): void {
    const { store } = this.#leadership;
    const runTimes = new RunTimes();
    repairAt({ tx, view: store.view(), service, place, runTimes }, this.#tools);
  }
}
