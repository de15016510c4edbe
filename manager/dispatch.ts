/**
 * The dispatcher of a manager as one part: sessions of agents, and both ways in which what they say gets to the leader.
 *
 * Sessions and batches run on every manager; liveness, statuses and orphans are decided under a leadership.
 */
import {
  LivenessRelayService,
  type MethodDescriptor,
  type NodeReportBatch,
  StatusRelayService,
  TaskStatusBatch,
  type WeightedPeer,
} from "../src/common/api/generated/api.ts";
import type { Clock } from "../src/common/clock/clock.ts";
import { noLeader } from "../src/common/errors/no-leader.ts";
import type { Log } from "../src/common/log/log.ts";
import type { Random } from "../src/common/random/random.ts";
import { Liveness } from "./dispatcher/liveness.ts";
import { NetworkIndex } from "./dispatcher/network-index.ts";
import { orphanTasks } from "./dispatcher/orphans.ts";
import { ReportBatch } from "./dispatcher/report-batch.ts";
import { Sessions } from "./dispatcher/sessions.ts";
import { Settling } from "./dispatcher/settling.ts";
import { StatusBatch } from "./dispatcher/status-batch.ts";
import { TaskStatuses } from "./dispatcher/task-statuses.ts";
import type { LeaderLoop } from "./leader-loops.ts";
import { payloadAt } from "./state/payload.ts";
import type { Store } from "./state/store.ts";
import type { WatchItem } from "./state/watch.ts";

/** What the dispatcher needs of its manager. */
export interface DispatchOptions {
  readonly store: Store;
  readonly selfId: string;
  isLeader(): boolean;
  /** Calls the leader, which is another manager. */
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal): Promise<R>;
  managers(): readonly WeightedPeer[];
  /** Nodes with sessions at the other managers, once their kernels hold the state of this index. */
  settledElsewhere(index: number, signal: AbortSignal): Promise<number>;
  /** Resolves once all that was committed before the call is known here. */
  upToDate(signal: AbortSignal): Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Until the cluster object says otherwise, milliseconds. */
const heartbeatPeriodDefaultMs = 5000;

/** Nodes that come or change together are told of together to those that meet them, milliseconds. */
const peersSettleMs = 100;

/** One manager's dispatcher. */
export class Dispatch {
  readonly sessions: Sessions;
  readonly settling: Settling;
  /** Up to which state index the sessions have heard what was committed. */
  #heardIndex: number;
  readonly #o: DispatchOptions;
  readonly #network: NetworkIndex;
  readonly #reports: ReportBatch;
  readonly #statuses: StatusBatch;
  #leading: { readonly liveness: Liveness; readonly statuses: TaskStatuses } | undefined;

  constructor(options: DispatchOptions) {
    this.#o = options;
    const { store, clock, random, log } = options;
    this.#heardIndex = store.appliedIndex();
    this.#reports = new ReportBatch(
      (batch, signal) =>
        options.isLeader()
          ? this.takeReports(batch, signal)
          : options.call(LivenessRelayService.report, batch, signal).then(() => {}),
      { clock, log },
    );
    this.#statuses = new StatusBatch(
      (statuses, signal) => {
        const batch = TaskStatusBatch.create({ managerId: options.selfId, statuses });
        return options.isLeader()
          ? this.takeStatuses(batch, signal)
          : options.call(StatusRelayService.report, batch, signal).then(() => {});
      },
      { clock, log },
    );
    this.#network = new NetworkIndex({
      soon: (run) => void clock.sleep(peersSettleMs).then(run),
      view: () => store.view(),
      taskIds: () => Array.from(store.freeze().tables.get("task") ?? [], ({ id }) => id),
    });
    this.sessions = new Sessions(
      {
        node: (id) => store.view().get("node", id),
        managers: () => options.managers(),
        heartbeatPeriodMs: () => this.#heartbeatPeriodMs(),
        roots: () => this.#cluster()?.rootCa?.caCert ?? new Uint8Array(0),
        stateIndex: () => store.appliedIndex(),
        report: (report) => this.#reports.add(report),
        alive: (nodeId) => this.#reports.alive(nodeId),
        assignments: {
          tasksOfNode: (nodeId) => store.view().find("task", "node", nodeId),
          secret: (wanted) => payloadAt(store.view(), "secret", wanted),
          config: (wanted) => payloadAt(store.view(), "config", wanted),
        },
        network: this.#network,
        upToDate: (signal) => options.upToDate(signal),
        takeStatuses: (nodeId, report) => this.#statuses.add(nodeId, report),
      },
      { clock, random, log },
    );
    this.settling = new Settling(
      {
        heardIndex: () => this.#heardIndex,
        settledHere: () => this.sessions.settled(),
        settledElsewhere: (index, signal) => options.settledElsewhere(index, signal),
        readyNodes: () =>
          count(store.view().list("node"), (node) => node.status?.state === "ready"),
      },
      { clock, log },
    );
  }

  /** Brings reports and statuses to the leader until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#reports.run(signal), this.#statuses.run(signal)]);
  }

  /** Tells the sessions what was committed. */
  committed(item: WatchItem): void {
    this.#tell(item);
    this.#heardIndex = item.index;
  }

  #tell(item: WatchItem): void {
    if (item.resync) {
      this.#network.reload();
      this.sessions.allChanged();
      this.sessions.clusterChanged();
      return;
    }
    this.#network.committed(item.changes);
    for (const change of item.changes) {
      switch (change.table) {
        case "task":
          if (change.kind === "remove") this.sessions.taskRemoved(change.object);
          else this.sessions.taskChanged(change.old, change.object);
          break;
        case "node":
          this.sessions.nodeChanged(change.object.id);
          break;
        case "secret":
        case "config":
          this.sessions.dependencyChanged(change.object.id);
          break;
        case "cluster":
          this.sessions.clusterChanged();
          break;
      }
    }
  }

  /** This manager leads; what it gives runs until it does not. */
  lead(term: number): Readonly<Record<string, LeaderLoop>> {
    const { store, clock, log } = this.#o;
    const heartbeatPeriodMs = () => this.#heartbeatPeriodMs();
    const liveness = new Liveness(store, { term, heartbeatPeriodMs }, { clock, log });
    this.#leading = { liveness, statuses: new TaskStatuses(store, term, { clock, log }) };
    return {
      liveness: (signal) => liveness.run(signal),
      orphans: (signal) => orphanTasks(store, term, { clock, log, signal }),
    };
  }

  /** This manager does not lead any more. */
  follow(): void {
    this.#leading = undefined;
  }

  /** Takes a manager's word of its agents. @throws ClusterError unavailable when this manager does not lead. */
  async takeReports(batch: NodeReportBatch, signal: AbortSignal): Promise<void> {
    if (this.#leading === undefined) throw noLeader();
    await this.#leading.liveness.take(batch, signal);
  }

  /** Takes the statuses a manager's agents reported. @throws ClusterError unavailable when this manager does not lead. */
  async takeStatuses(batch: TaskStatusBatch, signal: AbortSignal): Promise<void> {
    if (this.#leading === undefined) throw noLeader();
    await this.#leading.statuses.take(batch, signal);
  }

  #cluster() {
    const [cluster] = this.#o.store.view().list("cluster");
    return cluster;
  }

  #heartbeatPeriodMs(): number {
    const ns = this.#cluster()?.spec?.dispatcherHeartbeatNs ?? 0;
    return ns > 0 ? ns / 1e6 : heartbeatPeriodDefaultMs;
  }
}

function count<T>(all: Iterable<T>, isCounted: (one: T) => boolean): number {
  let number = 0;
  for (const one of all) if (isCounted(one)) number += 1;
  return number;
}
