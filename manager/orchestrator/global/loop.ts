/**
 * Keeps global services on all their nodes: the leader's loop around `reconcile.ts` and `restart/policy.ts`.
 *
 * A change of a service has all nodes looked at, a change of a node all global services, the end of a task its own place.
 * Every place is decided within the transaction that writes it.
 */
import type { Task } from "../../../src/common/api/generated/api.ts";
import { newId } from "../../../src/common/ids/ids.ts";
import type { Change } from "../../state/change.ts";
import { type Follower, Waiting } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { type Leadership, nap, slices, type Tools } from "../leadership.ts";
import { mattersTo, NodeMatchers } from "../node-match.ts";
import { RunTimes, repairAt } from "../restart/repair.ts";
import { hasEnded, isGlobal, isWanted, type Place, placeKey, tasksAt } from "../slot.ts";
import { defaultLogDriver, newTask } from "../task-factory.ts";
import { reconcileNode } from "./reconcile.ts";

/** The loop of one leadership; run it with `follow`. */
export class GlobalLoop implements Follower {
  readonly component = "global";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #services = new Waiting<string>();
  readonly #nodes = new Waiting<string>();
  readonly #places = new Waiting<Place>();
  readonly #runTimes = new RunTimes();
  readonly #matchers = new NodeMatchers();

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#runTimes.clear();
    for (const service of this.#leadership.store.view().each("service")) {
      if (isGlobal(service)) this.#services.add(service.id, service.id);
    }
  }

  changed(change: Change): void {
    switch (change.table) {
      case "service":
        if (change.kind === "remove" || !isGlobal(change.object)) return;
        if (change.kind === "update" && change.old?.spec === change.object.spec) return;
        this.#services.add(change.object.id, change.object.id);
        return;
      case "node":
        if (change.kind !== "update" || mattersTo(change.object, change.old))
          this.#nodes.add(change.object.id, change.object.id);
        return;
      case "task":
        if (change.kind === "remove") this.#runTimes.forget(change.object.id);
        else this.#taskChanged(change.object, change.old);
        return;
      default:
        return;
    }
  }

  async work(signal: AbortSignal): Promise<number> {
    const { store, term } = this.#leadership;
    await this.#services.drain((ids) => this.#placesOf(ids));
    await this.#nodes.drain((ids) => this.#placesOn(ids));
    await this.#places.drain((places) =>
      store.batch(places, (tx, place) => this.#settle(tx, place), { term, signal }),
    );
    return Number.POSITIVE_INFINITY;
  }

  #taskChanged(task: Task, old: Task | undefined): void {
    if (task.slot !== 0 || task.serviceId === "") return;
    this.#runTimes.note(task, old);
    if (hasEnded(task) && isWanted(task)) this.#note(task.serviceId, task.nodeId);
  }

  #note(serviceId: string, nodeId: string): void {
    const place = { serviceId, slot: 0, nodeId };
    this.#places.add(placeKey(place), place);
  }

  /** All nodes, and those that are gone and still have tasks of the service. */
  async #placesOf(serviceIds: readonly string[]): Promise<void> {
    const { store } = this.#leadership;
    const pause = slices(this.#tools.clock);
    for (const id of serviceIds) {
      for (const node of store.view().list("node")) {
        this.#note(id, node.id);
        if (pause()) await nap();
      }
      for (const taskId of store.view().ids("task", "service", id)) {
        const task = store.view().get("task", taskId);
        if (task !== undefined && isWanted(task)) this.#note(id, task.nodeId);
        if (pause()) await nap();
      }
    }
  }

  async #placesOn(nodeIds: readonly string[]): Promise<void> {
    const { store } = this.#leadership;
    const services = store.view().list("service").filter(isGlobal);
    const pause = slices(this.#tools.clock);
    for (const { id } of services) {
      for (const nodeId of nodeIds) {
        this.#note(id, nodeId);
        if (pause()) await nap();
      }
    }
  }

  #settle(tx: Tx, place: Place): void {
    const service = tx.get("service", place.serviceId);
    if (service === undefined || !isGlobal(service)) return;
    const view = this.#leadership.store.view();
    const node = view.get("node", place.nodeId);
    const now = this.#tools.clock.now();
    const { stop, create, repair } = reconcileNode({
      service,
      node,
      isMatch: node !== undefined && this.#matchers.of(service)(node),
      tasks: tasksAt(view, place),
      now,
    });
    for (const task of stop) tx.update("task", { ...task, desiredState: "shutdown" });
    if (repair) repairAt({ tx, view, service, place, runTimes: this.#runTimes }, this.#tools);
    if (create === undefined) return;
    tx.require("service", service.id);
    tx.require("node", place.nodeId);
    const parts = { place, now, desiredState: create, logDriver: defaultLogDriver(view) };
    tx.create("task", newTask(service, { ...parts, id: newId(this.#tools.random) }));
  }
}
