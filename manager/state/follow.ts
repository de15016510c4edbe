/**
 * The life of a leader's loop: it takes note of what was committed, works it off, and tries again what failed.
 *
 * Taking note never waits for work, so that a watcher does not lag; work is done in one place, so that a component never
 * races with itself. Used by the orchestrators and the allocator.
 */
import { Alarm } from "../../src/common/clock/alarm.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import { idleMs, settleMs, workRetryMs } from "../../src/common/limits/orchestrator.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Change } from "./change.ts";
import type { Store } from "./store.ts";
import type { TableKey } from "./tables.ts";

/** A component that follows the store. */
export interface Follower {
  /** Its name in the log. */
  readonly component: string;
  /** Everything may be different: called at the start, and after changes were lost. */
  lookAtAll(): void;
  /** Takes note of one committed change; must be quick. */
  changed(change: Change): void;
  /** Whether it has anything to do with a change: others do not wake it. Without this, all of them do. */
  concerns?(change: Change): boolean;
  /**
   * Works off what was noted and what is due; what fails must stay noted.
   *
   * @returns Milliseconds until something is due by time; infinity when nothing is.
   */
  work(signal: AbortSignal): Promise<number>;
}

/** Runs the component until the signal aborts. */
export async function follow(
  store: Store,
  follower: Follower,
  tools: {
    readonly clock: Clock;
    readonly log: Log;
    readonly signal: AbortSignal;
    /** Tables the component does not look at: their changes do not wake it. */
    readonly without?: ReadonlySet<TableKey>;
  },
): Promise<void> {
  const { clock, log, signal, without } = tools;
  const alarm = new Alarm(clock);
  const ended = new AbortController();
  let isNoted = true;
  const watch = store.watch(without === undefined ? {} : { without }, { signal });
  const end = () => {
    ended.abort();
    watch.close();
    alarm.ring();
  };
  const takeNote = async () => {
    for await (const item of watch) {
      if (item.resync) follower.lookAtAll();
      else {
        const changes = item.changes.filter((change) => follower.concerns?.(change) !== false);
        if (changes.length === 0) continue;
        for (const change of changes) follower.changed(change);
      }
      isNoted = true;
      alarm.ring();
    }
  };
  const work = async () => {
    while (!signal.aborted && !ended.signal.aborted) {
      isNoted = false;
      try {
        const pauseMs = await follower.work(signal);
        if (!isNoted) await alarm.pause(Math.min(pauseMs, idleMs), signal);
        // What comes in one command, or from many tasks at a time, is taken together.
        if (isNoted) await clock.sleep(settleMs, signal).catch(nothing);
      } catch (error) {
        if (signal.aborted) return;
        log.warn("work put off", { component: follower.component, err: errorText(error) });
        await clock.sleep(workRetryMs, signal).catch(nothing);
      }
    }
  };
  follower.lookAtAll();
  await Promise.all([takeNote().finally(end), work().finally(end)]);
}

function nothing(): void {
  // Aborted: the loop's condition ends it.
}

/** Things that wait for work, each once, in the order they were first put in. */
export class Waiting<T> {
  #items = new Map<string, T>();

  /** Puts one in, or another one in its place. */
  add(key: string, item: T): void {
    this.#items.set(key, item);
  }

  get size(): number {
    return this.#items.size;
  }

  clear(): void {
    this.#items.clear();
  }

  /** Takes everything out, hands it to `work`, and puts it back when that fails. */
  async drain(work: (items: readonly T[]) => Promise<void>): Promise<void> {
    if (this.#items.size === 0) return;
    const taken = this.#items;
    this.#items = new Map();
    try {
      await work([...taken.values()]);
    } catch (error) {
      for (const [key, item] of taken) if (!this.#items.has(key)) this.#items.set(key, item);
      throw error;
    }
  }
}
