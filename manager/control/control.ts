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
import type { MethodDescriptor } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { ControlStore } from "./store.ts";

/** The Raft group as control needs it; `RaftHost` has this form. */
export interface ManagerGroup {
  leadership(): { readonly leaderNodeId: string | undefined; readonly isLeader: boolean };
  members(): readonly {
    readonly raftId: number;
    readonly nodeId: string;
    readonly reachable: boolean;
    readonly learner: boolean;
  }[];
}

/** Makes the secrets a cluster object holds; from `src/common/identity`. */
export interface SecretMaker {
  /** A join token that carries the digest of this root certificate (PEM). */
  joinToken(rootCertificate: Uint8Array): string;
  /** A new unlock key, raw bytes. */
  unlockKey(): Uint8Array;
}

/** Passes a request on to the leader; rejects with `unavailable` when there is none. */
export type Forward = <Q, R>(
  method: MethodDescriptor<Q, R>,
  request: Q,
  signal: AbortSignal,
) => Promise<R>;

/** What control is made of. */
export interface ControlOptions {
  readonly store: ControlStore;
  readonly group: ManagerGroup;
  readonly secrets: SecretMaker;
  readonly forward: Forward;
  readonly clock: Clock;
  readonly random: Random;
}

/** Runs the methods of `ControlService`. */
export class Control {
  readonly #options: ControlOptions;

  constructor(options: ControlOptions) {
    this.#options = options;
  }

  /** Runs a method here when this manager leads, else on the leader. @throws ClusterError */
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal): Promise<R> {
    if (this.#options.group.leadership().isLeader) return this.handle(method, request, signal);
    return this.#options.forward(method, request, signal);
  }

  /** Runs a method on this manager, which must lead. @throws ClusterError */
  async handle<Q, R>(
    method: MethodDescriptor<Q, R>,
    _request: Q,
    _signal: AbortSignal,
  ): Promise<R> {
    throw new ClusterError("unimplemented", `control method ${method.path} is not there yet`);
  }
}
