/**
 * Spreads the tasks of services anew, where a user asks for it, or a label says so and a node joined or returned: the
 * leader's loop around `decide.ts`.
 *
 * A move is a task beside the one that moves; `handover` sees it through, in the order of the service's updates, and gives it
 * up where it finds no better node. A run makes as many moves as were wanted at its beginning, so that it ends whatever the
 * scheduler thinks.
 */
import {
  type Node,
  Rebalance,
  type Service,
  type Task,
} from "../../../src/common/api/generated/api.ts";
import {
  rebalanceCoolDownMs,
  rebalanceMovesAtOnceMax,
  rebalanceSettleMs,
} from "../../../src/common/limits/orchestrator.ts";
import { localVolumesOf } from "../../../src/common/spec/local-volumes.ts";
import { rebalancesByItself } from "../../../src/common/spec/rebalance-label.ts";
import type { Change } from "../../state/change.ts";
import type { Follower } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { Deadlines } from "../deadlines.ts";
import { startBeside } from "../handover/heir.ts";
import type { Leadership, Tools } from "../leadership.ts";
import { NodeMatchers } from "../node-match.ts";
import { hasEnded, isOpen, isRunning, isWanted, replicasOf } from "../slot.ts";
import { Outdated } from "../update/outdated.ts";
import { type Move, planMoves } from "./decide.ts";

/** A service that is being spread anew. */
interface Run {
  /** Moves that may still be made; undefined before the first look. */
  left: number | undefined;
  moved: number;
  /** Whether any move was begun. */
  isTried: boolean;
  /** By the monotonic clock: the pause between moves is the one of the service's updates. */
  notBeforeMs: number;
  /** Ids of the tasks that move, by their successors'. */
  readonly underWay: Map<string, string>;
}

/** The loop of one leadership; run it with `follow`. */
export class RebalanceLoop implements Follower {
  readonly component = "rebalance";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #runs = new Map<string, Run>();
  /** When to look at a service, by the monotonic clock. */
  readonly #deadlines = new Deadlines();
  /** When the last run in which tasks were to move was over. */
  readonly #coolSinceMs = new Map<string, number>();
  readonly #matchers = new NodeMatchers();

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#runs.clear();
    this.#deadlines.clear();
    for (const service of this.#leadership.store.view().each("service")) this.#asked(service);
    // What joined under the leader before is not known.
    this.#nodeCame();
  }

  changed(change: Change): void {
    switch (change.table) {
      case "service":
        if (change.kind === "remove") this.#forget(change.object.id);
        else if (change.old?.rebalance?.askedAtMs !== change.object.rebalance?.askedAtMs)
          this.#asked(change.object);
        return;
      case "node":
        if (change.kind === "remove" || !isOpen(change.object)) return;
        if (change.old === undefined || !isOpen(change.old)) this.#nodeCame();
        return;
      case "task":
        // The moves of its service may be over.
        if (this.#runs.get(change.object.serviceId)?.underWay.size)
          this.#deadlines.set(change.object.serviceId, 0);
        return;
      default:
        return;
    }
  }

  async work(signal: AbortSignal): Promise<number> {
    const { clock } = this.#tools;
    await this.#deadlines.drain(clock.monotonic(), async (due) => {
      for (const id of due) await this.#goOn(id, signal);
    });
    return Math.max(0, this.#deadlines.nextMs() - clock.monotonic());
  }

  #asked(service: Service): void {
    if (isAsked(service)) this.#begin(service.id, 0);
  }

  /** A node that joins or returns has what it needs, and others that come with it are there, after a while. */
  #nodeCame(): void {
    const view = this.#leadership.store.view();
    const [cluster] = view.list("cluster");
    const swarm = cluster?.spec?.annotations?.labels;
    const now = this.#tools.clock.monotonic();
    for (const { id, spec } of view.each("service")) {
      if (!rebalancesByItself(spec?.annotations?.labels, swarm)) continue;
      const coolMs = (this.#coolSinceMs.get(id) ?? Number.NEGATIVE_INFINITY) + rebalanceCoolDownMs;
      this.#begin(id, Math.max(now + rebalanceSettleMs, coolMs));
    }
  }

  #begin(serviceId: string, atMs: number): void {
    const run = this.#runs.get(serviceId);
    if (run !== undefined && run.left !== undefined) {
      // More room than at its beginning: what is wanted now is counted anew.
      run.left = undefined;
    } else this.#runs.set(serviceId, run ?? newRun());
    this.#deadlines.set(serviceId, atMs);
  }

  #forget(serviceId: string): void {
    this.#runs.delete(serviceId);
    this.#deadlines.delete(serviceId);
    this.#coolSinceMs.delete(serviceId);
  }

  async #goOn(id: string, signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const service = store.view().get("service", id);
    const run = this.#runs.get(id);
    if (service === undefined || run === undefined) return;
    const { clock } = this.#tools;
    const now = clock.monotonic();
    if (run.left === undefined) this.#takeOn(run, service);
    this.#count(run, service, now);
    if (run.underWay.size > 0) return;
    const state = service.updateStatus?.state;
    const isUpdated = state === "updating" || state === "rollback-started";
    if (isUpdated || now < run.notBeforeMs) {
      // What an update replaces finds its node anew: it is looked at once that is over.
      this.#deadlines.set(id, isUpdated ? now + rebalanceSettleMs : run.notBeforeMs);
      return;
    }
    const moves = this.#plan(service);
    run.left ??= moves.length;
    if (moves.length === 0 || run.left <= 0) {
      await this.#end(service, run, signal);
      return;
    }
    const parallelism = service.spec?.update?.parallelism ?? 1;
    const most = Math.min(parallelism || moves.length, rebalanceMovesAtOnceMax, run.left);
    const some = moves.slice(0, most);
    run.left -= some.length;
    await store.batch(some, (tx, move) => this.#move(tx, service, { move, run }), { term, signal });
    // Those that came to nothing already are over at once.
    this.#deadlines.set(id, clock.monotonic());
  }

  /** Moves that others began, such as the leader before, are over before more are planned: their tasks count twice. */
  #takeOn(run: Run, { id }: Service): void {
    const view = this.#leadership.store.view();
    for (const heir of view.find("task", "service", id)) {
      if (heir.besideId === "" || !isWanted(heir) || hasEnded(heir)) continue;
      const leaving = view.get("task", heir.besideId);
      if (leaving !== undefined && !hasEnded(leaving)) run.underWay.set(heir.id, leaving.id);
    }
  }

  /** Takes note of moves that are over. */
  #count(run: Run, service: Service, now: number): void {
    const view = this.#leadership.store.view();
    for (const [heirId, leavingId] of run.underWay) {
      const heir = view.get("task", heirId);
      const leaving = view.get("task", leavingId);
      const isThere = heir !== undefined && isWanted(heir);
      const isUnderWay =
        isThere && (!isRunning(heir) || (leaving !== undefined && isWanted(leaving)));
      if (isUnderWay && !hasEnded(heir)) continue;
      if (isThere) run.moved++;
      run.underWay.delete(heirId);
      run.notBeforeMs = now + (service.spec?.update?.delayNs ?? 0) / 1e6;
    }
  }

  #plan(service: Service): Move[] {
    const view = this.#leadership.store.view();
    if (replicasOf(service) === undefined) return [];
    if (service.spec?.task?.restart?.condition === "none") return [];
    const matches = this.#matchers.of(service);
    const outdated = new Outdated(service, (id) => view.get("node", id));
    const tasks = view
      .find("task", "service", service.id)
      .filter((task) => isWanted(task) && isRunning(task) && !outdated.has(task));
    return planMoves({
      service,
      nodes: view.list("node").filter((node: Node) => isOpen(node) && matches(node)),
      tasks,
      isMovable: ({ spec }: Task) => localVolumesOf(spec).length === 0,
      totalOn: (nodeId) => view.find("task", "node", nodeId).filter(isWanted).length,
    });
  }

  #move(tx: Tx, decidedOn: Service, options: { readonly move: Move; readonly run: Run }): void {
    const { move, run } = options;
    const service = tx.get("service", decidedOn.id);
    const leaving = tx.get("task", move.task.id);
    if (service === undefined || service.spec !== decidedOn.spec) return;
    if (leaving === undefined) return;
    if (!isWanted(leaving) || !isRunning(leaving)) return;
    const desiredState = service.spec?.update?.order === "start-first" ? "running" : "ready";
    const parts = { leaving, view: this.#leadership.store.view(), desiredState } as const;
    run.isTried = true;
    run.underWay.set(startBeside(tx, service, parts, this.#tools), leaving.id);
  }

  async #end(service: Service, run: Run, signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const { clock, log } = this.#tools;
    await store.update(
      (tx) => {
        const present = tx.get("service", service.id);
        if (present === undefined || !isAsked(present)) return;
        const { askedAtMs = 0 } = present.rebalance ?? {};
        const { moved } = run;
        const completedAtMs = Math.max(clock.now(), askedAtMs);
        const rebalance = Rebalance.create({ askedAtMs, completedAtMs, moved });
        tx.update("service", { ...present, rebalance });
      },
      { term, signal },
    );
    this.#runs.delete(service.id);
    if (run.isTried) this.#coolSinceMs.set(service.id, clock.monotonic());
    if (run.moved > 0)
      log.info("service rebalanced", { "service.id": service.id, moved: run.moved });
  }
}

function newRun(): Run {
  const notBeforeMs = Number.NEGATIVE_INFINITY;
  return { left: undefined, moved: 0, isTried: false, notBeforeMs, underWay: new Map() };
}

/** Whether somebody waits for it. */
function isAsked({ rebalance }: Service): boolean {
  return rebalance !== undefined && rebalance.completedAtMs < rebalance.askedAtMs;
}
