/**
 * Sees tasks to other nodes: from drained ones where the service wants new tasks to start first, and where `rebalance` has
 * made a task beside another; the leader's loop around `decide.ts`.
 *
 * The loop of replicated services leaves such tasks alone as long as they run. What this leader remembers of a handover is
 * only how long it has lasted: a new leader begins anew, and finds the new task that is there.
 */
import type { Service, Task } from "../../../src/common/api/generated/api.ts";
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
import { eachTask } from "../task-init.ts";
import { Outdated } from "../update/outdated.ts";
import {
  type Handover,
  type HandoverStep,
  planHandover,
  planMove,
  startsElsewhereFirst,
} from "./decide.ts";
import { startBeside } from "./heir.ts";

interface UnderWay {
  readonly place: Place;
  handover: Handover;
  /** The task that was made for a move to a better node; undefined where the node is being emptied. */
  readonly heirId: string | undefined;
}

/** The loop of one leadership; run it with `follow`. */
export class HandoverLoop implements Follower {
  readonly component = "handover";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  /** Places whose tasks are leaving, by key. */
  readonly #places = new Map<string, UnderWay>();
  readonly #deadlines = new Deadlines();
  /** Whether moves that others began were not looked for yet. */
  #isNew = true;

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#places.clear();
    this.#deadlines.clear();
    this.#isNew = true;
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
    if (this.#isNew) {
      this.#isNew = false;
      await eachTask(store, this.#tools, (task) => this.#noteMove(task));
    }
    const now = this.#tools.clock.monotonic();
    await this.#deadlines.drain(now, (due) =>
      store.batch(due, (tx, key) => this.#goOn(tx, key, now), { term, signal }),
    );
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
    if (old === undefined) this.#noteMove(task);
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
    this.#places.set(key, { place, handover, heirId: undefined });
    this.#deadlines.set(key, 0);
  }

  /** Made beside another, not by this loop: one that it made is noted already. */
  #noteMove(heir: Task): void {
    if (heir.besideId === "" || !isWanted(heir)) return;
    const place = placeOf(heir);
    const key = placeKey(place);
    if (this.#places.has(key)) return;
    const now = this.#tools.clock.monotonic();
    const handover = { taskId: heir.besideId, sinceMs: now, attempts: 1, triedMs: now };
    this.#places.set(key, { place, handover, heirId: heir.id });
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
    const isDrained = this.#isLeaving(leaving);
    const heir = tasks.find(({ id }) => id === underWay.heirId);
    if (!isDrained && (heir === undefined || !this.#mayMove(service, leaving, heir))) {
      this.#forget(key);
      this.#takeBack(tx, service, { place, leaving, tasks });
      return;
    }
    const lastedMs = now - handover.sinceMs;
    const step = isDrained
      ? planHandover({ service, handover, heirs: this.#heirs(service, leaving, tasks), now })
      : planMove({ leaving, heir, othersOn: this.#othersOn(service), lastedMs });
    this.#take(tx, step, {
      key,
      underWay,
      service,
      leaving,
      heir: isDrained ? undefined : heir,
      now,
    });
  }

  #take(
    tx: Tx,
    step: HandoverStep,
    at: {
      readonly key: string;
      readonly underWay: UnderWay;
      readonly service: Service;
      readonly leaving: Task;
      /** Of a move. */
      readonly heir: Task | undefined;
      readonly now: number;
    },
  ): void {
    const { key, underWay, service, leaving, heir, now } = at;
    switch (step.kind) {
      case "wait":
        this.#deadlines.set(key, now + step.lookInMs);
        return;
      case "start": {
        const { handover } = underWay;
        const view = this.#leadership.store.view();
        startBeside(tx, service, { leaving, view, desiredState: "running" }, this.#tools);
        underWay.handover = { ...handover, attempts: handover.attempts + 1, triedMs: now };
        this.#deadlines.set(key, now);
        return;
      }
      case "done":
        tx.update("task", { ...leaving, desiredState: "shutdown" });
        return;
      case "give-up": {
        const fields = { "task.id": leaving.id, "node.id": leaving.nodeId, why: step.why };
        if (heir === undefined) {
          this.#tools.log.warn("task leaves its drained node before another one runs", fields);
          this.#repair(tx, service, underWay.place);
          return;
        }
        this.#tools.log.info("task stays on its node", fields);
        if (isWanted(heir)) tx.update("task", { ...heir, desiredState: "shutdown" });
        this.#forget(key);
      }
    }
  }

  /** Whether a move goes on: both are of the present spec, and the one that moves is well. */
  #mayMove(service: Service, leaving: Task, heir: Task): boolean {
    const view = this.#leadership.store.view();
    const outdated = new Outdated(service, (id) => view.get("node", id));
    const isWell = isWanted(leaving) && isRunning(leaving) && fateOf(view, leaving.nodeId) === "up";
    return isWell && !outdated.has(leaving) && !outdated.has(heir);
  }

  #othersOn(service: Service): (nodeId: string, leftOut: Task) => number {
    const tasks = this.#leadership.store.view().find("task", "service", service.id);
    return (nodeId, leftOut) =>
      tasks.filter((task) => task.nodeId === nodeId && task.id !== leftOut.id && isWanted(task))
        .length;
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

  #repair(tx: Tx, service: Service, place: Place): void {
    const { store } = this.#leadership;
    const runTimes = new RunTimes();
    repairAt({ tx, view: store.view(), service, place, runTimes }, this.#tools);
  }
}
