/**
 * Collects the statuses that agents report to this manager and brings them to the leader in batches.
 *
 * The first status waits only for what comes in the same moment; while a batch is on its way the next one fills. Each
 * is kept until the leader has committed it; newer statuses of a task replace older ones that have not left yet.
 */
import { RelayedStatus, type TaskStatusReport } from "../../src/common/api/generated/api.ts";
import { Alarm } from "../../src/common/clock/alarm.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import {
  statusBatchBytesMax,
  statusBatchMax,
  taskStatusBytesMax,
} from "../../src/common/limits/agent.ts";
import type { Log } from "../../src/common/log/log.ts";

/** How long a batch waits for company, milliseconds: below what a person notices, and what comes at once shares an entry. */
const batchDelayMs = 10;
/** Pause before a batch that the leader did not take is offered again, milliseconds. */
const retryMs = 100;
/** A pause without end: until the alarm rings. */
const idleMs = 60_000;

/** Takes one batch to the leader; resolves once it is committed. */
export type DeliverStatuses = (
  statuses: readonly RelayedStatus[],
  signal: AbortSignal,
) => Promise<void>;

interface Batch {
  readonly statuses: Map<string, RelayedStatus>;
  bytes: number;
  readonly taken: Promise<void>;
  readonly resolve: () => void;
}

/** The statuses of one manager's sessions. */
export class StatusBatch {
  readonly #deliver: DeliverStatuses;
  readonly #tools: { readonly clock: Clock; readonly log: Log };
  readonly #alarm: Alarm;
  /** The last one is open. */
  readonly #batches: Batch[] = [];

  constructor(deliver: DeliverStatuses, tools: { readonly clock: Clock; readonly log: Log }) {
    this.#deliver = deliver;
    this.#tools = tools;
    this.#alarm = new Alarm(tools.clock);
  }

  /** Takes one report of a node; resolves once the leader has committed, or refused, all of it. */
  async add(nodeId: string, report: TaskStatusReport): Promise<void> {
    const batches = new Set<Batch>();
    for (const { taskId, status } of report.statuses) {
      const relayed = RelayedStatus.create({ nodeId, taskId, status });
      const { length } = RelayedStatus.encode(relayed);
      // One that no transaction takes would keep all others from the leader for ever.
      if (length <= taskStatusBytesMax) batches.add(this.#put(relayed, length));
      else this.#tools.log.warn("task status too large", { "node.id": nodeId, bytes: length });
    }
    this.#alarm.ring();
    for (const { taken } of batches) await taken;
  }

  /** Delivers until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#tools;
    while (!signal.aborted) {
      if (this.#batches.length === 0) await this.#alarm.pause(idleMs, signal);
      if (this.#batches.length === 0 || signal.aborted) continue;
      await clock.sleep(batchDelayMs, signal).catch(() => {
        // Stopped: the loop's condition ends it.
      });
      const batch = this.#batches.shift();
      if (batch !== undefined) await this.#bring(batch, signal);
    }
  }

  #put(status: RelayedStatus, bytes: number): Batch {
    const key = `${status.taskId}/${status.nodeId}`;
    let batch = this.#batches.at(-1);
    const isFull =
      batch !== undefined &&
      (batch.statuses.size >= statusBatchMax || batch.bytes + bytes > statusBatchBytesMax);
    if (batch === undefined || isFull) {
      batch = newBatch();
      this.#batches.push(batch);
    }
    batch.statuses.set(key, status);
    batch.bytes += bytes;
    return batch;
  }

  /** Offers a batch until the leader has it. */
  async #bring(batch: Batch, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#tools;
    while (!signal.aborted) {
      try {
        await this.#deliver([...batch.statuses.values()], signal);
        batch.resolve();
        return;
      } catch (error) {
        if (signal.aborted) return;
        log.debug("task statuses not delivered", { err: errorText(error) });
        await clock.sleep(retryMs, signal).catch(() => {
          // Stopped.
        });
      }
    }
  }
}

function newBatch(): Batch {
  let resolve = () => {};
  const taken = new Promise<void>((done) => {
    resolve = done;
  });
  return { statuses: new Map(), bytes: 0, taken, resolve };
}
