/**
 * Gives waiting tasks a node: the leader's loop around `decide.ts`.
 *
 * Follows the store change by change, so that it always has what nodes have left; lets changes settle shortly; then goes
 * through the groups of waiting tasks that are due, in slices between which others have a turn. A task that fits nowhere
 * says why and waits until something happens that may help it.
 */
import { setMaxListeners } from "node:events";
import type { Service, Task } from "../../src/common/api/generated/api.ts";
import { Alarm } from "../../src/common/clock/alarm.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Change } from "../state/change.ts";
import { payloadTables } from "../state/payload.ts";
import type { Store } from "../state/store.ts";
import type { Watch, WatchItem } from "../state/watch.ts";
import { GroupDecision, isWaiting, type Placement } from "./decide.ts";
import { type Group, groupOf } from "./group.ts";
import { isWanted, type NodeInfo } from "./node-info.ts";
import { NodeSet } from "./node-set.ts";
import { GroupPass } from "./pass.ts";
import { ImageBook, isImageOpen, surroundingsOf } from "./surroundings.ts";
import { ownNodes, Waiting, type WaitingGroup } from "./waiting.ts";
import { batchesMax, Writes } from "./writes.ts";

/** Changes of one command come together: a decision waits until none came for this long, milliseconds. */
const settleMs = 10;
/** ... but at most for this long. */
const settleMaxMs = 200;
/** Longest piece of work before others have a turn, milliseconds; the commit of a batch may add a few. */
const sliceMs = 4;
/** Tasks between two looks at the clock. */
const tasksPerLook = 16;
/** Tasks in one slice, however quick it is: what is decided has to be committed and told of as well. */
const tasksPerSlice = 800;
/** How long the registry is waited for that is to say what an image is for; it is given up on before, when it does not answer. */
const imageWaitMs = 10_000;
/** The same where all nodes are of one kind: the answer makes no difference between them, but may say that none will do. */
const uniformImageWaitMs = 1_000;
/** How often at most the reason of a waiting group is written anew, milliseconds. */
const explainEveryMs = 5_000;
/** Pause before what could not be committed is decided again, milliseconds. */
const retryMs = 1_000;
/** Changes that may wait to be taken in: a million tasks are read in before the first. */
const bufferMax = 500_000;

/** A piece of work before others have a turn. */
interface Slice {
  /** So many tasks were looked at. */
  count(tasks: number): void;
  isOver(): boolean;
}

/** The loop of one leadership. */
export class SchedulerLoop {
  readonly #store: Store;
  readonly #term: number;
  readonly #tools: { readonly clock: Clock; readonly log: Log };
  readonly #alarm: Alarm;
  #nodes = new NodeSet();
  #images = new ImageBook();
  #waiting = new Waiting();
  #writes: Writes | undefined;
  /** State the tables were read in at; changes up to it are known. */
  #loadedIndex = -1;
  #isLoaded = false;
  #hasEnded = false;
  /** Nodes that have more room than when resting groups were looked at. */
  readonly #freed = new Set<NodeInfo>();
  /** Groups that the end of a slice cut, and what they were decided by. */
  readonly #cuts = new WeakMap<WaitingGroup, { pass: GroupPass; version: string }>();
  /** Changes so far of other things than tasks. */
  #changes = 0;
  #firstWakeMs: number | undefined;
  #lastWakeMs = 0;
  /** When to look again without a change; undefined when that is not needed. */
  #againMs: number | undefined;

  constructor(store: Store, term: number, tools: { readonly clock: Clock; readonly log: Log }) {
    this.#store = store;
    this.#term = term;
    this.#tools = tools;
    this.#alarm = new Alarm(tools.clock);
  }

  /** Runs until the signal aborts. */
  async run(outer: AbortSignal): Promise<void> {
    const { signal, end: unlink } = linked(outer);
    const writes = new Writes(this.#store, { term: this.#term, signal }, (dropped, error) =>
      this.#dropped(dropped, error),
    );
    this.#writes = writes;
    const watch = this.#store.watch({ without: payloadTables }, { signal, bufferMax });
    const end = () => {
      this.#hasEnded = true;
      watch.close();
      this.#alarm.ring();
    };
    try {
      await Promise.all([this.#follow(watch).finally(end), this.#schedule(writes, signal)]);
    } finally {
      end();
      await writes.settled();
      unlink();
    }
  }

  /** Keeps nodes and waiting tasks as the store has them. */
  async #follow(watch: Watch): Promise<void> {
    await this.#load();
    for await (const item of watch) {
      if (item.resync) await this.#load();
      else if (item.index > this.#loadedIndex) this.#take(item);
    }
  }

  /** Reads everything, in slices. */
  async #load(): Promise<void> {
    const { clock } = this.#tools;
    this.#isLoaded = false;
    const frozen = this.#store.freeze();
    this.#loadedIndex = frozen.index;
    this.#nodes = new NodeSet();
    this.#images = new ImageBook();
    this.#waiting = new Waiting();
    this.#freed.clear();
    this.#writes?.forget();
    let begin = clock.monotonic();
    // Nodes and images first: what is said of tasks refers to them.
    for (const table of ["node", "service", "task"] as const) {
      let count = 0;
      for (const object of frozen.tables.get(table) ?? []) {
        this.#put({ table, kind: "create", object, old: undefined } as Change);
        if (++count % tasksPerLook !== 0 || clock.monotonic() - begin < sliceMs) continue;
        await pause();
        if (this.#hasEnded) return;
        begin = clock.monotonic();
      }
    }
    this.#isLoaded = true;
    this.#wake();
  }

  #take(item: Extract<WatchItem, { resync: false }>): void {
    for (const change of item.changes) this.#put(change);
  }

  #put(change: Change): void {
    if (change.table !== "task") this.#changes++;
    switch (change.table) {
      case "task":
        this.#taskChanged(change);
        return;
      case "node":
        this.#nodeChanged(change);
        return;
      case "service":
        this.#serviceChanged(change.kind === "remove" ? undefined : change.object, change.old);
        return;
      case "network":
      case "volume":
        this.#waiting.allDue();
        this.#wakeResting();
        return;
      default:
        return;
    }
  }

  #nodeChanged(change: Extract<Change, { table: "node" }>): void {
    if (change.kind === "remove") this.#nodes.remove(change.object.id);
    else {
      const info = this.#nodes.put(change.object);
      if (!matters(change)) return;
      this.#freed.add(info);
    }
    this.#wakeResting();
    // Those it does not help wait for another reason now.
    if (this.#waiting.size > 0) this.#lookAgain(this.#tools.clock.monotonic() + explainEveryMs);
  }

  #taskChanged(change: Extract<Change, { table: "task" }>): void {
    const next = change.kind === "remove" ? undefined : change.object;
    const old = change.kind === "remove" ? change.object : change.old;
    const flying = this.#writes?.arrived(change.object.id);
    if (flying !== undefined) {
      // Most often what comes is what was decided, and charged then.
      if (next !== undefined && isSamePlace(flying.next, next)) return;
      this.#nodes.release(flying.next);
    }
    const freed = this.#nodes.taskChanged(
      { old, next },
      this.#tools.clock.now(),
      (reference) => this.#images.facts(reference).digest,
    );
    if (next !== undefined && isWaiting(next)) {
      if (this.#waiting.put(next, this.#tools.clock.monotonic())) this.#wake();
    } else this.#waiting.remove(change.object.id);
    if (freed === undefined) return;
    this.#freed.add(freed);
    this.#wakeResting();
  }

  #serviceChanged(service: Service | undefined, old: Service | undefined): void {
    if (service === undefined) return;
    this.#images.note(service);
    if (old?.image === service.image && old?.spec === service.spec) return;
    this.#waiting.serviceDue(service.id);
    this.#wakeResting();
  }

  /** Something is to be decided. */
  #wake(): void {
    const now = this.#tools.clock.monotonic();
    this.#lastWakeMs = now;
    if (this.#firstWakeMs !== undefined) return;
    this.#firstWakeMs = now;
    this.#alarm.ring();
  }

  /** Something happened that may help those that wait, if any do. */
  #wakeResting(): void {
    if (this.#waiting.size > 0) this.#wake();
  }

  async #schedule(writes: Writes, signal: AbortSignal): Promise<void> {
    while (!this.#hasEnded && !signal.aborted) {
      await this.#settle(signal);
      if (this.#hasEnded || signal.aborted) return;
      this.#firstWakeMs = undefined;
      if (this.#againMs !== undefined && this.#againMs <= this.#tools.clock.monotonic()) {
        this.#againMs = undefined;
        this.#waiting.allDue();
      }
      if (this.#isLoaded) await this.#work(writes, signal);
    }
  }

  /** Waits for something to do, and then until changes have settled. */
  async #settle(signal: AbortSignal): Promise<void> {
    const { clock } = this.#tools;
    while (!this.#hasEnded && !signal.aborted) {
      const now = clock.monotonic();
      if (this.#firstWakeMs === undefined) {
        const wait = this.#againMs === undefined ? 2 ** 31 - 1 : this.#againMs - now;
        if (wait <= 0) return;
        await this.#alarm.pause(wait, signal);
        continue;
      }
      const due = Math.min(this.#lastWakeMs + settleMs, this.#firstWakeMs + settleMaxMs);
      if (now >= due) return;
      await clock.sleep(due - now, signal).catch(() => {
        // Stopped: the loop's condition ends it.
      });
    }
  }

  async #work(writes: Writes, signal: AbortSignal): Promise<void> {
    await this.#findFreed();
    while (this.#isLoaded && !this.#hasEnded && !signal.aborted) {
      const slice = this.#newSlice();
      for (;;) {
        const group = this.#waiting.takeDue();
        if (group === undefined) break;
        this.#decide(group, writes, slice);
        if (slice.isOver()) break;
      }
      const isDone = !this.#waiting.hasDue();
      if (isDone) writes.flush();
      await writes.room();
      await pause();
      if (isDone && !this.#waiting.hasDue()) return;
    }
  }

  /** Looks which resting groups the nodes with more room would do for. */
  async #findFreed(): Promise<void> {
    const freed = new Set(this.#freed);
    this.#freed.clear();
    if (freed.size === 0 || !this.#waiting.hasResting()) return;
    let slice = this.#newSlice();
    for (const group of this.#waiting.resting()) {
      const [task] = group.tasks.values();
      const nodes = group.isFixed ? ownNodes(group, freed) : freed;
      if (task !== undefined && this.#open(task).wouldDo(nodes)) this.#waiting.again(group);
      if (!slice.isOver()) continue;
      await pause();
      if (!this.#isLoaded || this.#hasEnded) return;
      slice = this.#newSlice();
    }
  }

  /** Goes on with a group, as far as the slice goes. */
  #decide(group: WaitingGroup, writes: Writes, slice: Slice): void {
    const [first] = group.tasks.values();
    if (first === undefined) return;
    const cut = this.#cuts.get(group);
    this.#cuts.delete(group);
    if (cut === undefined && this.#awaitsImage(group, first)) return;
    const pass = cut?.pass ?? this.#newPass(group, first, writes);
    if (cut !== undefined && cut.version !== this.#version()) pass.decideAnew(this.#open(first));
    while (!pass.step(tasksPerLook)) {
      slice.count(tasksPerLook);
      if (!slice.isOver()) continue;
      this.#cuts.set(group, { pass, version: this.#version() });
      this.#waiting.again(group);
      return;
    }
    if (pass.isOutdated) this.#lookAgain(group.explainedAt + explainEveryMs);
  }

  #newPass(group: WaitingGroup, first: Task, writes: Writes): GroupPass {
    const { clock } = this.#tools;
    const now = clock.monotonic();
    const mayRepeat = now - group.explainedAt >= explainEveryMs;
    if (mayRepeat) group.explainedAt = now;
    const sink = {
      place: (placement: Placement) => {
        writes.place(placement);
        this.#waiting.remove(placement.task.id);
      },
      explain: (task: Task, error: string) => writes.explain(task, error, clock.now()),
    };
    return new GroupPass(group, this.#open(first), { sink, mayRepeat });
  }

  /** Changes with everything a decision on a group depends on. */
  #version(): string {
    return `${this.#nodes.version} ${this.#changes}`;
  }

  #newSlice(): Slice {
    const { clock } = this.#tools;
    const end = clock.monotonic() + sliceMs;
    let left = tasksPerSlice;
    return {
      count: (tasks) => {
        left -= tasks;
      },
      isOver: () => left <= 0 || clock.monotonic() >= end,
    };
  }

  /** Whether the registry is still to say what the image of a new or changed service is for. */
  #awaitsImage(group: WaitingGroup, task: Task): boolean {
    const service = this.#store.view().get("service", group.serviceId);
    const { isUniform } = this.#nodes;
    const end = group.since + (isUniform ? uniformImageWaitMs : imageWaitMs);
    if (!isImageOpen(service, task) || this.#tools.clock.monotonic() >= end) return false;
    // Asked once more, by a forced update: what ran there before does so again.
    if (isUniform && service?.image?.reference === task.spec?.container?.image) return false;
    this.#lookAgain(end);
    return true;
  }

  /** All groups are looked at again at this time, if not earlier. */
  #lookAgain(at: number): void {
    if (this.#againMs !== undefined && this.#againMs <= at) return;
    this.#againMs = at;
    this.#alarm.ring();
  }

  #open(task: Task): GroupDecision {
    const placed = () => this.#writes?.underWay() ?? [];
    const surroundings = { images: this.#images, placed };
    const group: Group = groupOf(task, surroundingsOf(task, this.#store.view(), surroundings));
    return new GroupDecision(group, this.#nodes, this.#tools.clock.now());
  }

  /** Takes back placements that did not come about. */
  #dropped(dropped: readonly Placement[], error: unknown): void {
    if (this.#hasEnded) return;
    const { clock, log } = this.#tools;
    if (error !== undefined) log.warn("placements put off", { err: errorText(error) });
    for (const { task, next } of dropped) {
      this.#nodes.release(next);
      const info = this.#nodes.get(next.nodeId);
      if (info !== undefined) this.#freed.add(info);
      const present = this.#store.view().get("task", task.id);
      if (present === undefined || !isWaiting(present)) continue;
      this.#waiting.put(present, clock.monotonic());
    }
    if (error === undefined) this.#wake();
    else this.#lookAgain(clock.monotonic() + retryMs);
  }
}

/** Whether a task takes the same of the same node as what was decided. */
function isSamePlace(decided: Task, next: Task): boolean {
  return (
    decided.nodeId === next.nodeId &&
    next.status?.state === "assigned" &&
    isWanted(decided) === isWanted(next)
  );
}

/** Whether a node may suit more tasks than before. */
function matters({ object, old }: Extract<Change, { table: "node" }>): boolean {
  return (
    old === undefined ||
    object.spec !== old.spec ||
    object.description !== old.description ||
    object.role !== old.role ||
    object.status?.state !== old.status?.state ||
    object.status?.address !== old.status?.address
  );
}

/** A signal of the loop's own, which every batch under way listens to; the one of all loops would have too many. */
function linked(outer: AbortSignal): { signal: AbortSignal; end: () => void } {
  const controller = new AbortController();
  const { signal } = controller;
  setMaxListeners(batchesMax + 10, signal);
  const abort = () => controller.abort(outer.reason);
  if (outer.aborted) abort();
  else outer.addEventListener("abort", abort, { once: true });
  return { signal, end: () => outer.removeEventListener("abort", abort) };
}

/** Lets others have a turn. */
function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
