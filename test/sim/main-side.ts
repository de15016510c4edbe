/**
 * The main thread of a simulated manager: the replicated state, applied by the daemon's own code, its watchers, and
 * those who wait for an entry to be applied.
 */

import type { Entry } from "../../manager/raft/core/types.ts";
import { type Applied, applyEntry } from "../../manager/state/apply.ts";
import type { Change } from "../../manager/state/change.ts";
import { readSnapshot, writeSnapshot } from "../../manager/state/snapshot.ts";
import { type Frozen, State } from "../../manager/state/state.ts";
import { type Watch, Watchers } from "../../manager/state/watch.ts";
import { Config, type Config as ConfigObject } from "../../src/common/api/generated/api.ts";

const noBytes = new Uint8Array(0);

/** The bytes of a snapshot, as they travel and as they lie in a checkpoint. */
export interface SnapshotBytes {
  readonly index: number;
  readonly term: number;
  readonly chunks: readonly Uint8Array[];
}

/** What happened to the entry somebody waits for. */
export type Fate =
  | { readonly kind: "applied" | "refused"; readonly state: State }
  | { readonly kind: "lost" };

/** Told of the entry at an index, once it is applied here. */
export interface Waiter {
  readonly index: number;
  readonly term: number;
  readonly sequence: number;
  readonly clientId: number;
  readonly done: (fate: Fate) => void;
}

/** State machine of one process. */
export class MainSide {
  state = new State();
  readonly watchers = new Watchers();
  readonly watch: Watch;
  #waiters: Waiter[] = [];
  #readers: { readonly index: number; readonly done: (state: State) => void }[] = [];

  constructor(state: State) {
    this.state = state;
    this.watchers.reset(state.index);
    this.watch = this.watchers.add({});
  }

  /** Applies an entry. @returns What it did. */
  apply(entry: Entry): Applied {
    const { index, term, type, data } = entry;
    const applied = applyEntry(this.state, {
      index,
      term,
      data: type === "normal" ? data : noBytes,
    });
    this.watchers.publish({ index, changes: applied.changes });
    this.#answer(index, term, applied);
    this.#answerReaders();
    return applied;
  }

  /** Replaces the state by that of a snapshot. */
  async install(snapshot: SnapshotBytes): Promise<void> {
    this.state = await stateOf(snapshot);
    this.watchers.reset(this.state.index);
    // Whether these were applied cannot be told from a snapshot.
    const waiters = this.#waiters.filter((waiter) => waiter.index <= this.state.index);
    this.#waiters = this.#waiters.filter((waiter) => waiter.index > this.state.index);
    for (const waiter of waiters) waiter.done({ kind: "lost" });
    this.#answerReaders();
  }

  /** Tells `waiter` once its index is applied. */
  waitFor(waiter: Waiter): void {
    this.#waiters.push(waiter);
  }

  /** Tells `done` once everything up to `index` is applied. */
  readAt(index: number, done: (state: State) => void): void {
    if (index <= this.state.index) done(this.state);
    else this.#readers.push({ index, done });
  }

  #answer(index: number, term: number, applied: Applied): void {
    if (!this.#waiters.some((waiter) => waiter.index <= index)) return;
    const waiters = this.#waiters.filter((waiter) => waiter.index <= index);
    this.#waiters = this.#waiters.filter((waiter) => waiter.index > index);
    for (const waiter of waiters) {
      const outcome = applied.outcomes.find(
        (one) => one.clientId === waiter.clientId && one.sequence === waiter.sequence,
      );
      if (waiter.index !== index || waiter.term !== term || outcome === undefined) {
        waiter.done({ kind: "lost" });
      } else {
        const kind = outcome.refusal === undefined ? "applied" : "refused";
        waiter.done({ kind, state: this.state });
      }
    }
  }

  #answerReaders(): void {
    if (this.#readers.length === 0) return;
    const ready = this.#readers.filter((reader) => reader.index <= this.state.index);
    if (ready.length === 0) return;
    this.#readers = this.#readers.filter((reader) => reader.index > this.state.index);
    for (const reader of ready) reader.done(this.state);
  }
}

/** The bytes of a snapshot of a frozen state. */
export async function snapshotOf(frozen: Frozen): Promise<SnapshotBytes> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of writeSnapshot(frozen, noPause)) chunks.push(chunk);
  return { index: frozen.index, term: frozen.term, chunks };
}

/** The state a snapshot holds. */
export async function stateOf(snapshot: SnapshotBytes): Promise<State> {
  return readSnapshot(eachOf(snapshot.chunks), noPause);
}

async function noPause(): Promise<void> {
  // The simulator has no event loop to share.
}

async function* eachOf(chunks: readonly Uint8Array[]): AsyncIterable<Uint8Array> {
  yield* chunks;
}

/** What a change did, short and complete enough to be compared between members. */
export function changeText({ kind, table, object }: Change): string {
  const version = object.meta?.version ?? 0;
  const data = table === "config" ? registerValue(object as ConfigObject) : 0;
  return `${kind} ${table} ${object.id} ${version} ${data}`;
}

/** What an entry did, as text, equal on all members. */
export function effectText(applied: Applied): string {
  let text = "";
  for (const change of applied.changes) text += `${changeText(change)};`;
  for (const { clientId, sequence, refusal } of applied.outcomes) {
    text += `${clientId}.${sequence} ${refusal?.code ?? "ok"};`;
  }
  return text;
}

/** The number a register holds. */
export function registerValue(config: ConfigObject | undefined): number {
  const data = config?.spec?.data;
  if (data === undefined || data.length < 4) return 0;
  return new DataView(data.buffer, data.byteOffset, data.length).getUint32(0);
}

/** A register as it is stored. */
export function registerOf(key: number, value: number): ConfigObject {
  const data = new Uint8Array(4 + (value % 7) * 16);
  new DataView(data.buffer).setUint32(0, value);
  const annotations = { name: `key${key}`, labels: {} };
  return Config.create({ id: keyId(key), spec: { annotations, data, templating: undefined } });
}

/** Id of the object that stands for a key. */
export function keyId(key: number): string {
  return `key${key}`.padEnd(25, "0");
}
