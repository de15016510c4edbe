/**
 * Deletes tasks: history beyond its limit, and what was removed once it has stopped. The leader's loop around `choose.ts`.
 *
 * Tasks of a service that is gone are told to go (desired state REMOVE); the agents shut them down, and what has ended is
 * deleted. A task on a node that is down stays until the node is back or the dispatcher gives it up as orphaned.
 */
import type { Task } from "../../../src/common/api/generated/api.ts";
import {
  reapDirtyMax,
  reapIntervalMs,
  taskHistoryDefault,
} from "../../../src/common/limits/orchestrator.ts";
import type { Change } from "../../state/change.ts";
import { type Follower, Waiting } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { type Leadership, nap, slices, type Tools } from "../leadership.ts";
import { hasStopped, type Place, placeKey, placeOf, tasksAt } from "../slot.ts";
import { eachTask } from "../task-init.ts";
import { chooseOld, historyLimit, isRemovable } from "./choose.ts";

/** The loop of one leadership; run it with `follow`. */
export class ReaperLoop implements Follower {
  readonly component = "reaper";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #places = new Waiting<Place>();
  /** Services that are gone. */
  readonly #removed = new Waiting<string>();
  /** Tasks that can be deleted. */
  readonly #removable = new Waiting<string>();
  #isAllDue = false;
  #lastReapMs = Number.NEGATIVE_INFINITY;

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#isAllDue = true;
  }

  changed(change: Change): void {
    switch (change.table) {
      case "service":
        if (change.kind === "remove") this.#removed.add(change.object.id, change.object.id);
        return;
      case "cluster": {
        const limit = change.object.spec?.taskHistoryRetentionLimit;
        if (limit !== change.old?.spec?.taskHistoryRetentionLimit) this.#isAllDue = true;
        return;
      }
      case "task":
        if (change.kind === "remove") return;
        this.#see(change.object);
        // One more in its place.
        if (change.kind === "create" && change.object.serviceId !== "") this.#note(change.object);
        return;
      default:
        return;
    }
  }

  async work(signal: AbortSignal): Promise<number> {
    const { store, term } = this.#leadership;
    if (this.#isAllDue) {
      this.#isAllDue = false;
      try {
        await eachTask(store, this.#tools, (task) => this.#see(task));
      } catch (error) {
        this.#isAllDue = true;
        throw error;
      }
    }
    await this.#removed.drain(async (ids) => {
      for (const id of ids) await this.#removeTasks(id, signal);
    });
    const waiting = this.#places.size + this.#removable.size;
    const restMs = this.#lastReapMs + reapIntervalMs - this.#tools.clock.monotonic();
    if (waiting === 0) return Number.POSITIVE_INFINITY;
    if (restMs > 0 && waiting < reapDirtyMax) return restMs;
    this.#lastReapMs = this.#tools.clock.monotonic();
    await this.#removable.drain((ids) =>
      store.batch(ids, (tx, id) => removeIf(tx, id, isRemovable), { term, signal }),
    );
    await this.#places.drain((places) => this.#trim(places, signal));
    return Number.POSITIVE_INFINITY;
  }

  #see(task: Task): void {
    if (isRemovable(task)) {
      this.#removable.add(task.id, task.id);
    } else if (task.serviceId === "") {
      return;
    } else if (this.#leadership.store.view().get("service", task.serviceId) === undefined) {
      if (task.desiredState !== "remove") this.#removed.add(task.serviceId, task.serviceId);
    } else if (hasStopped(task)) {
      this.#note(task);
    }
  }

  #note(task: Task): void {
    const place = placeOf(task);
    this.#places.add(placeKey(place), place);
  }

  async #removeTasks(serviceId: string, signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const ids = store.view().ids("task", "service", serviceId);
    const remove = (tx: Tx, id: string) => {
      const task = tx.get("task", id);
      // A service never comes back under its id.
      if (task === undefined || tx.get("service", serviceId) !== undefined) return;
      if (task.desiredState !== "remove") tx.update("task", { ...task, desiredState: "remove" });
    };
    await store.batch(ids, remove, { term, signal });
  }

  async #trim(places: readonly Place[], signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const pause = slices(this.#tools.clock);
    const old: string[] = [];
    for (const place of places) {
      for (const task of this.#oldAt(place)) old.push(task.id);
      if (pause()) await nap();
    }
    await store.batch(old, (tx, id) => removeIf(tx, id, hasStopped), { term, signal });
  }

  #oldAt(place: Place): readonly Task[] {
    const view = this.#leadership.store.view();
    const service = view.get("service", place.serviceId);
    if (service === undefined) return [];
    const [cluster] = view.list("cluster");
    const retention = cluster?.spec?.taskHistoryRetentionLimit ?? taskHistoryDefault;
    const limit = historyLimit(retention, service.spec?.task?.restart?.maxAttempts);
    return limit === undefined ? [] : chooseOld(tasksAt(view, place), limit);
  }
}

function removeIf(tx: Tx, id: string, may: (task: Task) => boolean): void {
  const task = tx.get("task", id);
  if (task !== undefined && may(task)) tx.remove("task", id);
}
