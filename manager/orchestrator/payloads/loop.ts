/**
 * Takes services to new data of their secrets and configs, and removes old data that no service may need again. The leader's
 * loop around `decide.ts`; the update supervisor then replaces the tasks, as with any other new spec.
 */
import type { Service } from "../../../src/common/api/generated/api.ts";
import { payloadPruneMs, payloadSparedMs } from "../../../src/common/limits/orchestrator.ts";
import type { PayloadKind } from "../../../src/common/spec/payload-revision.ts";
import type { Change } from "../../state/change.ts";
import type { Follower } from "../../state/follow.ts";
import { presentRevision } from "../../state/payload.ts";
import type { Tx } from "../../state/transaction.ts";
import type { View } from "../../state/view.ts";
import { type Leadership, nap, slices, type Tools } from "../leadership.ts";
import {
  dueMs,
  neededPayloads,
  readBy,
  stackOf,
  stackPatienceMs,
  staleReferences,
  withPresentData,
} from "./decide.ts";
import { presentIn } from "./present.ts";

/** A secret or config whose data changed, and when, on the monotonic clock. */
interface Changed {
  readonly kind: PayloadKind;
  readonly id: string;
  readonly atMs: number;
}

/** The loop of one leadership; run it with `follow`. */
export class PayloadLoop implements Follower {
  readonly component = "payloads";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #changed = new Map<string, Changed>();
  /** When a service of a stack was last updated by somebody. */
  readonly #deployedMs = new Map<string, number>();
  #isPruneDue = true;
  #lastPruneMs = Number.NEGATIVE_INFINITY;

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#isPruneDue = true;
    const view = this.#leadership.store.view();
    for (const kind of ["secret", "config"] as const)
      for (const object of view.each(kind))
        if (presentRevision(object) > 1) this.#note(kind, object.id);
  }

  /** One that is made has data nobody ran with before: nothing is to be done for it. */
  concerns({ table, kind }: Change): boolean {
    if (table === "service") return true;
    return (table === "secret" || table === "config") && kind !== "create";
  }

  changed(change: Change): void {
    if (change.table === "secret" || change.table === "config") {
      if (change.kind === "remove") this.#isPruneDue = true;
      else if (change.old !== undefined && change.old.revision !== change.object.revision)
        this.#note(change.table, change.object.id);
    } else if (change.table === "service" && change.object.spec !== change.old?.spec) {
      this.#isPruneDue = true;
      const stack = stackOf(change.object);
      const isByUser = change.kind === "update" && change.object.revision?.automatic !== true;
      if (stack !== "" && isByUser) this.#deployedMs.set(stack, this.#tools.clock.monotonic());
    } else if (change.table === "service" && change.kind === "remove") {
      this.#isPruneDue = true;
    }
  }

  async work(signal: AbortSignal): Promise<number> {
    const wakeInMs = await this.#takeOn(signal);
    return Math.min(wakeInMs, await this.#prune(signal));
  }

  #note(kind: PayloadKind, id: string): void {
    this.#changed.set(`${kind} ${id}`, { kind, id, atMs: this.#tools.clock.monotonic() });
  }

  async #takeOn(signal: AbortSignal): Promise<number> {
    if (this.#changed.size === 0) return Number.POSITIVE_INFINITY;
    const { store, term } = this.#leadership;
    const nowMs = this.#tools.clock.monotonic();
    const view = store.view();
    const due = new Set<string>();
    let wakeInMs = Number.POSITIVE_INFINITY;
    const settled: string[] = [];
    for (const [key, { kind, id, atMs }] of this.#changed) {
      let isSettled = true;
      for (const service of usersOf(view, kind, id)) {
        if (staleReferences(service, presentIn(view)).length === 0) continue;
        const inMs = dueMs(service, atMs, this.#deployedMs.get(stackOf(service))) - nowMs;
        if (inMs <= 0) due.add(service.id);
        else {
          isSettled = false;
          wakeInMs = Math.min(wakeInMs, inMs);
        }
      }
      if (isSettled) settled.push(key);
    }
    await store.batch(due, (tx, id) => this.#takeTo(tx, id), { term, signal });
    for (const key of settled) {
      const noted = this.#changed.get(key);
      // It may have changed once more meanwhile.
      if (noted !== undefined && noted.atMs <= nowMs) this.#changed.delete(key);
    }
    for (const [stack, atMs] of this.#deployedMs)
      if (nowMs - atMs > stackPatienceMs) this.#deployedMs.delete(stack);
    return wakeInMs;
  }

  #takeTo(tx: Tx, id: string): void {
    const service = tx.get("service", id);
    if (service === undefined) return;
    const next = withPresentData(service, presentIn(tx), this.#tools.clock.now());
    if (next === undefined) return;
    tx.update("service", next);
    const fields = { "service.id": id, cause: next.revision?.cause ?? "" };
    this.#tools.log.info("service gets new data", fields);
  }

  async #prune(signal: AbortSignal): Promise<number> {
    if (!this.#isPruneDue) return Number.POSITIVE_INFINITY;
    const { store, term } = this.#leadership;
    const view = store.view();
    const restMs = this.#lastPruneMs + payloadPruneMs - this.#tools.clock.monotonic();
    if (view.count("payload") > 0 && restMs > 0) return restMs;
    this.#isPruneDue = false;
    if (view.count("payload") === 0) return Number.POSITIVE_INFINITY;
    this.#lastPruneMs = this.#tools.clock.monotonic();
    const needed = neededPayloads(view.each("service"));
    const ids = view.list("payload").flatMap((payload) => {
      const owner = view.get("secret", payload.ownerId) ?? view.get("config", payload.ownerId);
      if (owner === undefined) return payload.id;
      // What is kept ahead of an update is not earlier data yet.
      if (payload.revision >= presentRevision(owner)) return [];
      return needed.has(payload.id) ? [] : payload.id;
    });
    const spared = await this.#readByTasks(new Set(ids));
    const remove = (tx: Tx, id: string) => {
      if (tx.get("payload", id) !== undefined) tx.remove("payload", id);
    };
    const unread = ids.filter((id) => !spared.has(id));
    await store.batch(unread, remove, { term, signal });
    if (spared.size === 0) return Number.POSITIVE_INFINITY;
    // No change of a service tells when those tasks are gone.
    this.#isPruneDue = true;
    this.#lastPruneMs += payloadSparedMs - payloadPruneMs;
    return payloadSparedMs;
  }

  /** What of this no service needs, but some task: an update that stands still may have left it behind. */
  async #readByTasks(ids: ReadonlySet<string>): Promise<Set<string>> {
    const read = new Set<string>();
    if (ids.size === 0) return read;
    const { store } = this.#leadership;
    const pause = slices(this.#tools.clock);
    for (const { id } of store.view().list("task")) {
      if (pause()) await nap();
      const task = store.view().get("task", id);
      if (task !== undefined) for (const one of readBy(task, ids)) read.add(one);
    }
    return read;
  }
}

function usersOf(view: View, kind: PayloadKind, id: string): Service[] {
  return kind === "secret"
    ? view.find("service", "secret", id)
    : view.find("service", "config", id);
}
