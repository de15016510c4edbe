/**
 * Keeps replicated services at their number of tasks: the leader's loop around `reconcile.ts` and `restart/policy.ts`.
 *
 * A change of a service has all its slots looked at; the end of a task, or of a node, only the slots concerned. Every slot
 * is decided within the transaction that writes it, over the tables as they are then, so nothing is done twice whoever
 * else was quicker. A removed service's tasks are the reaper's.
 */
import type { Service, Task } from "../../../src/common/api/generated/api.ts";
import { newId } from "../../../src/common/ids/ids.ts";
import type { Change } from "../../state/change.ts";
import { type Follower, Waiting } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { startsElsewhereFirst } from "../handover/decide.ts";
import { type Leadership, nap, slices, type Tools } from "../leadership.ts";
import { RunTimes, repairAt } from "../restart/repair.ts";
import {
  fateOf,
  hasEnded,
  isWanted,
  type NodeFate,
  type Place,
  placeKey,
  replicasOf,
  tasksAt,
} from "../slot.ts";
import { defaultLogDriver, newTask } from "../task-factory.ts";
import { reconcile, type SlotSteps, type SlotSummary, summaryOf } from "./reconcile.ts";

/** The loop of one leadership; run it with `follow`. */
export class ReplicatedLoop implements Follower {
  readonly component = "replicated";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #services = new Waiting<string>();
  readonly #places = new Waiting<Place>();
  readonly #runTimes = new RunTimes();

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#runTimes.clear();
    for (const service of this.#leadership.store.view().each("service")) {
      if (replicasOf(service) !== undefined) this.#services.add(service.id, service.id);
    }
  }

  changed(change: Change): void {
    switch (change.table) {
      case "service":
        if (change.kind === "remove" || replicasOf(change.object) === undefined) return;
        if (change.old?.spec === change.object.spec && change.kind === "update") return;
        this.#services.add(change.object.id, change.object.id);
        return;
      case "task":
        if (change.kind === "remove") this.#runTimes.forget(change.object.id);
        else this.#taskChanged(change.object, change.old);
        return;
      case "node":
        if (fateOf(this.#leadership.store.view(), change.object.id) !== "up") {
          this.#nodeLeft(change.object.id);
        }
        return;
      default:
        return;
    }
  }

  async work(signal: AbortSignal): Promise<number> {
    await this.#services.drain(async (ids) => {
      for (const id of ids) await this.#reconcile(id, signal);
    });
    await this.#places.drain((places) => this.#repair(places, signal));
    return Number.POSITIVE_INFINITY;
  }

  #taskChanged(task: Task, old: Task | undefined): void {
    if (task.slot === 0 || task.serviceId === "") return;
    this.#runTimes.note(task, old);
    if (hasEnded(task) && isWanted(task)) this.#note(task);
    // Made for a node that was lost meanwhile, or assigned to it.
    else if (task.nodeId !== (old?.nodeId ?? "") && isWanted(task)) {
      if (fateOf(this.#leadership.store.view(), task.nodeId) !== "up") this.#note(task);
    }
  }

  #nodeLeft(nodeId: string): void {
    for (const task of this.#leadership.store.view().find("task", "node", nodeId)) {
      if (task.slot !== 0 && isWanted(task)) this.#note(task);
    }
  }

  #note({ serviceId, slot }: Task): void {
    const place = { serviceId, slot, nodeId: "" };
    this.#places.add(placeKey(place), place);
  }

  async #repair(places: readonly Place[], signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const repair = (tx: Tx, place: Place) => {
      const service = tx.get("service", place.serviceId);
      if (replicasOf(service) === undefined || service === undefined) return;
      const view = store.view();
      const fate = (task: Task) => fateHere(service, task, fateOf(view, task.nodeId));
      const runTimes = this.#runTimes;
      repairAt({ tx, view, service, place, runTimes, fateOf: fate }, this.#tools);
    };
    await store.batch(places, repair, { term, signal });
  }

  async #reconcile(id: string, signal: AbortSignal): Promise<void> {
    const service = this.#leadership.store.view().get("service", id);
    if (service === undefined || replicasOf(service) === undefined) return;
    const steps = reconcile(service, await this.#summaries(service));
    for (const slot of steps.repair) {
      const place = { serviceId: id, slot, nodeId: "" };
      this.#places.add(placeKey(place), place);
    }
    await this.#fillAndEmpty(service, steps, signal);
    const { fill, empty } = steps;
    if (fill.length + empty.length > 0) {
      const counts = { added: fill.length, removed: empty.length };
      this.#tools.log.info("service scaled", { "service.id": id, ...counts });
    }
  }

  /** Looks through all slots of a service; others get their turns meanwhile. */
  async #summaries(service: Service): Promise<SlotSummary[]> {
    const { store } = this.#leadership;
    const now = this.#tools.clock.now();
    const isGone = (task: Task) => fateOf(store.view(), task.nodeId) !== "up";
    const summaries = new Map<number, SlotSummary>();
    const pause = slices(this.#tools.clock);
    for (const id of store.view().ids("task", "service", service.id)) {
      if (pause()) await nap();
      const slot = store.view().get("task", id)?.slot;
      if (slot === undefined || summaries.has(slot)) continue;
      const tasks = tasksAt(store.view(), { serviceId: service.id, slot, nodeId: "" });
      summaries.set(slot, summaryOf(service, slot, tasks, { now, isGone }));
    }
    return [...summaries.values()];
  }

  async #fillAndEmpty(service: Service, steps: SlotSteps, signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const logDriver = defaultLogDriver(store.view());
    const fill = (tx: Tx, slot: number) => {
      const present = presentOf(tx, service);
      if (present === undefined) return;
      const place = { serviceId: service.id, slot, nodeId: "" };
      if (tasksAt(store.view(), place).some(isWanted)) return;
      const { clock, random } = this.#tools;
      const task = newTask(present, {
        id: newId(random),
        place,
        now: clock.now(),
        desiredState: "running",
        logDriver,
      });
      tx.require("service", service.id);
      tx.create("task", task);
    };
    const empty = (tx: Tx, slot: number) => {
      if (presentOf(tx, service) === undefined) return;
      for (const task of tasksAt(store.view(), { serviceId: service.id, slot, nodeId: "" })) {
        if (task.desiredState !== "remove") tx.update("task", { ...task, desiredState: "remove" });
      }
    };
    await store.batch(steps.empty, empty, { term, signal });
    await store.batch(steps.fill, fill, { term, signal });
  }
}

/** What leaves its node with its successor there first goes on meanwhile: see `handover`. */
function fateHere(service: Service, task: Task, fate: NodeFate): NodeFate {
  return startsElsewhereFirst(service, task, fate) ? "up" : fate;
}

/** The service as it is now; undefined when it wants something else by now, which is looked at by itself. */
function presentOf(tx: Tx, decidedOn: Service): Service | undefined {
  const service = tx.get("service", decidedOn.id);
  return service?.spec === decidedOn.spec ? service : undefined;
}
