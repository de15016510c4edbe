/**
 * What arrives at the state machine, in order: committed batches and received snapshots, one after the other.
 *
 * On the main thread. Nothing is taken before a taker is there; a batch that cannot be applied is a bug and ends the host.
 */
import type { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { committedBytesMax } from "../../src/common/limits/limits.ts";
import { ChunkReceiver } from "./chunk-stream.ts";
import { errorData, errorFromData, type ToMain, type ToWorker } from "./host-messages.ts";

/** Consecutive committed entries; the data of configuration changes and no-ops is empty. */
export interface CommittedBatch {
  readonly entries: readonly {
    readonly index: number;
    readonly term: number;
    readonly data: Uint8Array;
  }[];
  readonly lastIndex: number;
}

/** A state that replaces the present one. */
export interface ReceivedSnapshot {
  readonly index: number;
  readonly term: number;
  readonly chunks: AsyncIterable<Uint8Array>;
}

type Committed = Extract<ToMain, { type: "committed" }>;
type Received = Extract<ToMain, { type: "snapshot-received" }>;

/** What an inbox works with. */
export interface InboxOptions {
  readonly appliedIndex: number;
  readonly post: (message: ToWorker) => void;
  readonly onApplied: (index: number) => void;
  readonly onFailed: (error: unknown) => void;
}

/** Bytes applied before the worker is told at once, a small part of what it hands over on credit; and how long it may wait for fewer. */
const untoldBytesMax = committedBytesMax / 16;
const tellDelayMs = 20;

/** The inbox. */
export class CommittedInbox {
  readonly #options: InboxOptions;
  readonly #receivers = new Map<number, ChunkReceiver>();
  #queue: (Committed | Received)[] = [];
  #take: ((batch: CommittedBatch) => void | Promise<void>) | undefined;
  #install: ((snapshot: ReceivedSnapshot) => Promise<void>) | undefined;
  #appliedIndex: number;
  #waiters: {
    readonly index: number;
    readonly resolve: () => void;
    readonly reject: (e: unknown) => void;
  }[] = [];
  #untoldBytes = 0;
  #tellTimer: NodeJS.Timeout | undefined;
  #running = false;
  #ended: ClusterError | undefined;

  constructor(options: InboxOptions) {
    this.#options = options;
    this.#appliedIndex = options.appliedIndex;
  }

  /** What was applied. */
  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  setTaker(take: (batch: CommittedBatch) => void | Promise<void>): void {
    this.#take = take;
    this.#start();
  }

  setInstaller(install: (snapshot: ReceivedSnapshot) => Promise<void>): void {
    this.#install = install;
    this.#start();
  }

  /** Resolves once everything up to `index` is applied. @throws the signal's reason, and what ended the inbox. */
  async reached(index: number, signal?: AbortSignal): Promise<void> {
    if (index <= this.#appliedIndex) return;
    if (this.#ended !== undefined) throw this.#ended;
    const stop = { now: () => {} };
    try {
      await new Promise<void>((resolve, reject) => {
        const waiter = { index, resolve, reject };
        this.#waiters.push(waiter);
        stop.now = () => {
          this.#waiters = this.#waiters.filter((other) => other !== waiter);
          reject(signal?.reason);
        };
        if (signal?.aborted) stop.now();
        else signal?.addEventListener("abort", stop.now, { once: true });
      });
    } finally {
      signal?.removeEventListener("abort", stop.now);
    }
  }

  /** How many wait for an index to be applied. */
  get waiting(): number {
    return this.#waiters.length;
  }

  /** Takes the worker's messages that are for the inbox; false for others. */
  handle(message: ToMain): boolean {
    switch (message.type) {
      case "committed":
        this.#queue.push(message);
        this.#start();
        return true;
      case "snapshot-received": {
        const { id } = message;
        const credit = () => this.#options.post({ type: "chunk-credit", id });
        this.#receivers.set(id, new ChunkReceiver(credit));
        this.#queue.push(message);
        this.#start();
        return true;
      }
      case "chunk":
        this.#receivers.get(message.id)?.push(message.bytes);
        return true;
      case "chunks-end":
        this.#receivers.get(message.id)?.end(message.error && errorFromData(message.error));
        return true;
      default:
        return false;
    }
  }

  /** Ends all waits. */
  end(error: ClusterError): void {
    this.#ended = error;
    clearTimeout(this.#tellTimer);
    this.#queue = [];
    for (const receiver of this.#receivers.values()) receiver.end(error);
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#run().catch((error: unknown) => this.#options.onFailed(error));
  }

  async #run(): Promise<void> {
    try {
      await this.#takeAll();
    } finally {
      this.#running = false;
    }
  }

  async #takeAll(): Promise<void> {
    for (;;) {
      const next = this.#queue[0];
      if (next === undefined || this.#ended !== undefined) return;
      if (next.type === "committed") {
        if (this.#take === undefined) return;
        this.#queue.shift();
        const taken = this.#take(batchOf(next));
        if (taken !== undefined) await taken;
        this.#applied(next.lastIndex, next.bytes.length);
      } else {
        if (this.#install === undefined) return;
        this.#queue.shift();
        await this.#installOne(this.#install, next);
      }
    }
  }

  #applied(index: number, bytes: number): void {
    if (this.#ended !== undefined) return;
    this.#appliedIndex = Math.max(this.#appliedIndex, index);
    this.#wake();
    this.#options.onApplied(index);
    this.#untoldBytes += bytes;
    if (this.#untoldBytes >= untoldBytesMax) this.#tell();
    else this.#tellTimer ??= setTimeout(() => this.#tell(), tellDelayMs);
  }

  /** Tells the worker how far the state machine is; not for every batch, as each message wakes the other thread. */
  #tell(): void {
    clearTimeout(this.#tellTimer);
    this.#tellTimer = undefined;
    this.#untoldBytes = 0;
    if (this.#ended === undefined)
      this.#options.post({ type: "applied", index: this.#appliedIndex });
  }

  #wake(): void {
    if (this.#waiters.length === 0) return;
    const due = this.#waiters.filter((waiter) => waiter.index <= this.#appliedIndex);
    if (due.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.index > this.#appliedIndex);
    for (const waiter of due) waiter.resolve();
  }

  async #installOne(
    install: (snapshot: ReceivedSnapshot) => Promise<void>,
    received: Received,
  ): Promise<void> {
    const { id, index, term } = received;
    const chunks = this.#receivers.get(id);
    if (chunks === undefined) return;
    try {
      await install({ index, term, chunks });
      this.#appliedIndex = index;
      this.#options.post({ type: "snapshot-installed", id, error: undefined });
      this.#wake();
      this.#options.onApplied(index);
    } catch (error) {
      this.#options.post({ type: "snapshot-installed", id, error: errorData(error) });
    } finally {
      this.#receivers.delete(id);
    }
  }
}

function batchOf(message: Committed): CommittedBatch {
  const { meta, bytes, lastIndex } = message;
  const entries = new Array(meta.length / 3);
  let at = 0;
  for (let i = 0; i < entries.length; i++) {
    const length = meta[3 * i + 2] ?? 0;
    entries[i] = {
      index: meta[3 * i] ?? 0,
      term: meta[3 * i + 1] ?? 0,
      data: bytes.subarray(at, at + length),
    };
    at += length;
  }
  return { entries, lastIndex };
}
