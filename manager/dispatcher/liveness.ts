/**
 * The leader's book of which nodes live: takes the reports of all managers and marks silent nodes down.
 *
 * Leader-only. `take` is called for every batch, the leader's own included; `run` looks once a second. Every write carries
 * the term it was decided in, so that a deposed leader changes nothing.
 */
import type { Node, NodeReport, NodeReportBatch } from "../../src/common/api/generated/api.ts";
import { Node as NodeCodec, NodeDescription } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Store } from "../state/store.ts";
import { decideDown, type NodeLiveness } from "./heartbeat.ts";

/** How often the leader looks for silent nodes, milliseconds. */
const lookIntervalMs = 1000;
/** Node objects changed in one transaction: as many descriptions of the largest size fit into it. */
const nodesPerTransactionMax = 64;

/** Liveness of all nodes under one leadership. */
export class Liveness {
  readonly #store: Store;
  readonly #tools: { readonly clock: Clock; readonly log: Log };
  readonly #term: number;
  readonly #heartbeatPeriodMs: () => number;
  /** Monotonic milliseconds of the last sign of life, by node. */
  readonly #lastSeen = new Map<string, number>();
  /** Monotonic milliseconds when this leader first looked at a node. */
  #knownSince = new Map<string, number>();

  constructor(
    store: Store,
    leadership: { readonly term: number; readonly heartbeatPeriodMs: () => number },
    tools: { readonly clock: Clock; readonly log: Log },
  ) {
    this.#store = store;
    this.#term = leadership.term;
    this.#heartbeatPeriodMs = leadership.heartbeatPeriodMs;
    this.#tools = tools;
  }

  /** Takes one batch: signs of life at once, what changed of the nodes in the store before it resolves. */
  async take(batch: NodeReportBatch, signal?: AbortSignal): Promise<void> {
    const now = this.#tools.clock.monotonic();
    for (const id of batch.liveNodeIds) this.#lastSeen.set(id, now);
    for (const { nodeId } of batch.reports) this.#lastSeen.set(nodeId, now);
    const view = this.#store.view();
    const changed = batch.reports.filter((report) => {
      const node = view.get("node", report.nodeId);
      return node !== undefined && nodeAfterReport(node, report, this.#tools.clock.now()) !== node;
    });
    // A node that was marked down and still beats through its old session is up again; a report says more than a beat
    // before it, that the node has left for one.
    const reported = new Set(batch.reports.map(({ nodeId }) => nodeId));
    const isBack = (id: string) =>
      !reported.has(id) && view.get("node", id)?.status?.state === "down";
    const back = batch.liveNodeIds.filter(isBack);
    const reports = [...changed, ...back.map((nodeId) => ({ nodeId, state: "ready" }) as const)];
    for (let i = 0; i < reports.length; i += nodesPerTransactionMax) {
      await this.#write(reports.slice(i, i + nodesPerTransactionMax), signal);
    }
  }

  /** Looks for silent nodes until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#tools.clock.sleep(lookIntervalMs, signal);
        await this.#look(signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#tools.log.warn("node states not written", { err: errorText(error) });
      }
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const now = this.#tools.clock.monotonic();
    const before = this.#knownSince;
    this.#knownSince = new Map();
    const nodes: NodeLiveness[] = [];
    for (const { id, status } of this.#store.view().each("node")) {
      const knownSinceMs = before.get(id) ?? now;
      this.#knownSince.set(id, knownSinceMs);
      const lastSeenMs = this.#lastSeen.get(id);
      nodes.push({ nodeId: id, state: status?.state ?? "unknown", lastSeenMs, knownSinceMs });
    }
    for (const id of this.#lastSeen.keys()) {
      if (!this.#knownSince.has(id)) this.#lastSeen.delete(id);
    }
    const heartbeatPeriodMs = this.#heartbeatPeriodMs();
    const down = decideDown(nodes, { now, heartbeatPeriodMs });
    for (let i = 0; i < down.length; i += nodesPerTransactionMax) {
      const some = down.slice(i, i + nodesPerTransactionMax);
      for (const nodeId of some) this.#tools.log.info("node down", { "node.id": nodeId });
      await this.#write(
        some.map((nodeId) => ({ nodeId, state: "down", message: "heartbeat failure" }) as const),
        signal,
      );
    }
  }

  async #write(reports: readonly PartialReport[], signal: AbortSignal | undefined): Promise<void> {
    await this.#store.update(
      (tx) => {
        for (const report of reports) {
          const node = tx.get("node", report.nodeId);
          if (node === undefined) continue;
          const after = nodeAfterReport(node, report, this.#tools.clock.now());
          if (after !== node) tx.update("node", after);
        }
      },
      { term: this.#term, ...(signal && { signal }) },
    );
  }
}

type PartialReport = Pick<NodeReport, "nodeId" | "state"> & Partial<NodeReport>;

/** The node with what the report, heard at `nowMs` (wall clock), says; the same object when that is nothing new. Pure. */
export function nodeAfterReport(node: Node, report: PartialReport, nowMs: number): Node {
  const status = {
    state: report.state,
    message: report.message ?? "",
    address:
      report.address === undefined || report.address === ""
        ? (node.status?.address ?? "")
        : report.address,
  };
  const description = report.description ?? node.description;
  const dataPathAddress =
    report.dataPathAddress === undefined || report.dataPathAddress === ""
      ? node.dataPathAddress
      : report.dataPathAddress;
  const outerAddress =
    report.outerAddress === undefined || report.outerAddress === ""
      ? node.outerAddress
      : report.outerAddress.replace(/^-$/, "");
  const same =
    status.state === node.status?.state &&
    status.message === node.status.message &&
    status.address === node.status.address &&
    dataPathAddress === node.dataPathAddress &&
    outerAddress === node.outerAddress &&
    sameDescription(description, node.description);
  if (same) return node;
  const downSinceMs = status.state === "down" ? node.downSinceMs || nowMs : 0;
  const addresses = { dataPathAddress, outerAddress };
  return NodeCodec.create({ ...node, status, description, ...addresses, downSinceMs });
}

function sameDescription(a: NodeDescription | undefined, b: NodeDescription | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  return Buffer.from(NodeDescription.encode(a)).equals(NodeDescription.encode(b));
}
