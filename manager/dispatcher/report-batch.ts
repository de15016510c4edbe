/**
 * Collects what this manager learns of its agents and hands it to the leader in batches.
 *
 * Reports are kept until the leader has taken them (the newest per node, merged), signs of life only until the next batch.
 */
import { type NodeReport, NodeReportBatch } from "../../src/common/api/generated/api.ts";
import { Alarm } from "../../src/common/clock/alarm.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";

/** Longest a report waits for company, milliseconds. */
const batchDelayMs = 100;
/** Signs of life travel this often when nothing else does, milliseconds; well below any heartbeat period. */
const aliveIntervalMs = 1000;
/** Reports in one message: as many descriptions of the largest size stay below the message limit. */
const batchReportsMax = 200;

/** Takes one batch to the leader, wherever it is. */
export type DeliverBatch = (batch: NodeReportBatch, signal: AbortSignal) => Promise<void>;

/** The queue of one manager. */
export class ReportBatch {
  readonly #deliver: DeliverBatch;
  readonly #tools: { readonly clock: Clock; readonly log: Log };
  #reports = new Map<string, NodeReport>();
  #alive = new Set<string>();
  readonly #alarm: Alarm;

  constructor(deliver: DeliverBatch, tools: { readonly clock: Clock; readonly log: Log }) {
    this.#deliver = deliver;
    this.#tools = tools;
    this.#alarm = new Alarm(tools.clock);
  }

  add(report: NodeReport): void {
    this.#reports.set(report.nodeId, mergeReports(this.#reports.get(report.nodeId), report));
    this.#alarm.ring();
  }

  alive(nodeId: string): void {
    this.#alive.add(nodeId);
  }

  /** Delivers until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#pause(signal);
      if (signal.aborted) return;
      await this.#flush(signal);
    }
  }

  async #flush(signal: AbortSignal): Promise<void> {
    if (this.#reports.size === 0 && this.#alive.size === 0) return;
    const reports = [...this.#reports.values()].slice(0, batchReportsMax);
    for (const { nodeId } of reports) this.#reports.delete(nodeId);
    const liveNodeIds = [...this.#alive];
    this.#alive.clear();
    try {
      await this.#deliver(NodeReportBatch.create({ reports, liveNodeIds }), signal);
    } catch (error) {
      if (signal.aborted) return;
      for (const report of reports) {
        this.#reports.set(report.nodeId, mergeReports(report, this.#reports.get(report.nodeId)));
      }
      this.#tools.log.debug("node reports not delivered", { err: errorText(error) });
      await this.#tools.clock.sleep(batchDelayMs, signal).catch(() => {
        // Aborted: `run` ends.
      });
    }
  }

  /** Waits until a report is there and its batch delay is over, or until signs of life are due. */
  async #pause(signal: AbortSignal): Promise<void> {
    if (this.#reports.size === 0) await this.#alarm.pause(aliveIntervalMs, signal);
    if (this.#reports.size > 0 && !signal.aborted) {
      await this.#tools.clock.sleep(batchDelayMs, signal).catch(() => {
        // Stopped.
      });
    }
  }
}

/** The newer report with what only the older one said. */
export function mergeReports(
  older: NodeReport | undefined,
  newer: NodeReport | undefined,
): NodeReport {
  if (older === undefined || newer === undefined) {
    const only = older ?? newer;
    if (only === undefined) throw new Error("mergeReports needs a report");
    return only;
  }
  return {
    ...newer,
    address: newer.address === "" ? older.address : newer.address,
    description: newer.description ?? older.description,
    dataPathAddress: newer.dataPathAddress === "" ? older.dataPathAddress : newer.dataPathAddress,
    outerAddress: newer.outerAddress === "" ? older.outerAddress : newer.outerAddress,
  };
}
