/**
 * The write side of the user API: validates a request, fills in defaults, and commits it in one store transaction.
 *
 * `call` is what the Engine API (through `src/node`) uses on any manager: on the leader it runs the method here, elsewhere
 * it hands the request to the leader. `handle` is what the RPC server of the leader uses for forwarded requests; it never
 * forwards again. Reads are not here: the engine reads the local tables after a read barrier.
 *
 * Errors are `ClusterError` with the texts of Docker's manager; the `rpc error: …` prefix users know is added by
 * `src/engine/errors.ts`.
 */
import {
  ControlService,
  type MethodDescriptor,
  type ObjectId,
  type RemoveRequest,
  type UpdateSecretRequest,
} from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { maySafelyRetry, noLeader } from "../../src/common/errors/no-leader.ts";
import { newId } from "../../src/common/ids/ids.ts";
import { leaderPollMs, leaderWaitMs } from "../../src/common/limits/limits.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { Store } from "../state/store.ts";
import type { Tx } from "../state/transaction.ts";
import { updateCluster } from "./cluster.ts";
import type { Environment, GroupMember } from "./environment.ts";
import { createNetwork, removeNetwork } from "./networks.ts";
import { orphanTasks, removeNode, updateNode } from "./nodes.ts";
import {
  createConfig,
  createSecret,
  keepBeforeUpdate,
  removeConfig,
  removeSecret,
  updateConfig,
  updateSecret,
} from "./payloads.ts";
import { createService, removeService, updateService } from "./services.ts";

/** The Raft group as control needs it; `RaftHost` has this form. */
export interface ManagerGroup {
  leadership(): { readonly leaderNodeId: string | undefined; readonly isLeader: boolean };
  members(): readonly GroupMember[];
}

/**
 * Passes a request on to the leader, once: when the connection breaks before the answer it is not known whether it was
 * carried out. @throws ClusterError as the leader threw it, or `unavailable`.
 */
export type Forward = <Q, R>(
  method: MethodDescriptor<Q, R>,
  request: Q,
  signal: AbortSignal,
) => Promise<R>;

/** What control is made of. */
export interface ControlOptions {
  readonly store: Pick<Store, "update">;
  readonly group: ManagerGroup;
  readonly forward: Forward;
  /** Node id of this manager. */
  readonly selfId: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** One write: what to change, and what to answer. */
export type Decision<Q, R> = (tx: Tx, request: Q, environment: Environment) => R;

/** Runs the methods of `ControlService`. */
export class Control {
  readonly #options: ControlOptions;

  constructor(options: ControlOptions) {
    this.#options = options;
  }

  /**
   * Runs a method here when this manager leads, else on the leader. While there is none, or leadership moves before
   * anything was committed, it waits a little and tries again. A create whose outcome is not known is tried again too: its
   * id, chosen here, makes it one object all the same.
   * @throws ClusterError
   */
  async call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal): Promise<R> {
    const { group, forward, clock, random } = this.#options;
    const isCreate = createdTables.has(method.path);
    const named = isCreate ? { ...request, id: newId(random) } : request;
    const end = clock.monotonic() + leaderWaitMs;
    for (;;) {
      await this.#awaitLeader(end, signal);
      try {
        if (group.leadership().isLeader) return await this.handle(method, named, signal);
        return await forward(method, named, signal);
      } catch (error) {
        const isRepeatable = maySafelyRetry(error) || (isCreate && isLeaderChange(error));
        if (!isRepeatable || clock.monotonic() >= end) throw error;
      }
      await clock.sleep(leaderPollMs, signal);
    }
  }

  /** Runs a method on this manager. @throws ClusterError `unavailable` when it does not lead. */
  async handle<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal): Promise<R> {
    if (!this.#options.group.leadership().isLeader) throw noLeader();
    const decide = decisionOf(method);
    const table = createdTables.get(method.path);
    const objectId = (request as Partial<ObjectId>).id || newId(this.#options.random);
    const payload = updatedPayloads.get(method.path);
    if (payload !== undefined)
      await this.#options.store.update(
        (tx) => keepBeforeUpdate(tx, payload, request as UpdateSecretRequest),
        { signal },
      );
    const answer = await this.#options.store.update(
      (tx) => {
        // Made by an earlier try whose answer was lost.
        if (table !== undefined && tx.get(table, objectId) !== undefined) {
          return method.response.create({ id: objectId } as unknown as Partial<R>);
        }
        return decide(tx, request, { ...this.#environment(), objectId });
      },
      { signal },
    );
    if (method.path === ControlService.removeNode.path)
      await this.#orphanTheRest(request as RemoveRequest, signal);
    return answer;
  }

  #environment(): Omit<Environment, "objectId"> {
    const { clock, random, group, selfId } = this.#options;
    return { now: clock.now(), random, members: group.members(), selfId };
  }

  /** A node may have had more tasks than one transaction holds. */
  async #orphanTheRest({ id }: RemoveRequest, signal: AbortSignal): Promise<void> {
    let left: number;
    do {
      left = await this.#options.store.update(
        (tx) => orphanTasks(tx, id, { ...this.#environment(), objectId: "" }),
        { signal },
      );
    } while (left > 0);
  }

  /** Resolves once there is a leader. @throws ClusterError `unavailable` when none came until `end`. */
  async #awaitLeader(end: number, signal: AbortSignal): Promise<void> {
    const { group, clock, selfId } = this.#options;
    for (;;) {
      const { leaderNodeId, isLeader } = group.leadership();
      // A leader that has not caught up with its predecessor is not one yet.
      if (isLeader || (leaderNodeId !== undefined && leaderNodeId !== selfId)) return;
      if (clock.monotonic() >= end || signal.aborted) throw noLeader();
      await clock.sleep(leaderPollMs, signal);
    }
  }
}

/** Methods that make an object, and the table it goes to. */
const createdTables: ReadonlyMap<string, "secret" | "config" | "network" | "service"> = new Map([
  [ControlService.createSecret.path, "secret"],
  [ControlService.createConfig.path, "config"],
  [ControlService.createNetwork.path, "network"],
  [ControlService.createService.path, "service"],
] as const);

/** Methods that may give the data of an object another revision, and its table. */
const updatedPayloads: ReadonlyMap<string, "secret" | "config"> = new Map([
  [ControlService.updateSecret.path, "secret"],
  [ControlService.updateConfig.path, "config"],
] as const);

/** Whether leadership changed while a request was under way, so that it may or may not have been carried out. */
function isLeaderChange(error: unknown): boolean {
  return error instanceof ClusterError && error.fields["leaderChanged"] === true;
}

/** The one table from method to decision. */
const decisions = new Map<string, unknown>();
bind(ControlService.createSecret, createSecret);
bind(ControlService.updateSecret, updateSecret);
bind(ControlService.removeSecret, removeSecret);
bind(ControlService.createConfig, createConfig);
bind(ControlService.updateConfig, updateConfig);
bind(ControlService.removeConfig, removeConfig);
bind(ControlService.createNetwork, createNetwork);
bind(ControlService.removeNetwork, removeNetwork);
bind(ControlService.createService, createService);
bind(ControlService.updateService, updateService);
bind(ControlService.removeService, removeService);
bind(ControlService.updateNode, updateNode);
bind(ControlService.removeNode, removeNode);
bind(ControlService.updateCluster, updateCluster);

function bind<Q, R>(method: MethodDescriptor<Q, R>, decide: Decision<Q, R>): void {
  decisions.set(method.path, decide);
}

/** What a method decides, for those that try it without writing. @throws ClusterError `unimplemented` */
export function decisionOf<Q, R>(method: MethodDescriptor<Q, R>): Decision<Q, R> {
  const decide = decisions.get(method.path);
  if (decide === undefined)
    throw new ClusterError("unimplemented", `${method.path} is not a method of control`);
  return decide as Decision<Q, R>;
}
