/**
 * The one door to the Raft core: feed it messages, ticks and proposals, take work out with `ready()`.
 *
 * Used by `manager/raft/raft-node.ts` in the daemon and by the simulator. Not re-entrant; owns no time, disk or network.
 */
import type {
  ConfChange,
  ConfState,
  Message,
  Position,
  RaftConfig,
  RaftStatus,
  Ready,
  StepResult,
} from "./types.ts";

/** One member of a Raft group. */
export class RawNode {
  /** @throws ClusterError `invalid-argument` when the settings contradict each other. */
  constructor(config: RaftConfig) {
    void config;
  }

  /** Lets one tick pass: counts towards the next heartbeat or election. */
  tick(): void {
    unfinished();
  }

  /** Starts an election now, if this member may lead. */
  campaign(): void {
    unfinished();
  }

  /**
   * Appends `data` to the log if this member leads, or sends it on to the leader.
   *
   * @returns Where it was appended; index 0 when it was sent on, in which case it may get lost silently.
   * @throws ClusterError `unavailable` without a leader or during a transfer, `resource-exhausted` when too much is uncommitted.
   */
  propose(data: Uint8Array): Position {
    return unfinished(data);
  }

  /** Like `propose` for several entries at once, all or none; their indexes follow each other. */
  proposeBatch(list: readonly Uint8Array[]): {
    readonly firstIndex: number;
    readonly term: number;
  } {
    return unfinished(list);
  }

  /**
   * Proposes a configuration change, encoded by the driver; empty data means "leave the joint phase".
   *
   * @returns As `propose`; `refused` says why the change was replaced by a no-op (another one is pending, or it does not
   *   fit the present configuration).
   * @throws ClusterError as `propose`.
   */
  proposeConfChange(data: Uint8Array): Position & { readonly refused: string | undefined } {
    return unfinished(data);
  }

  /**
   * Puts a committed configuration change into force; the driver calls it when it applies the entry.
   *
   * @throws ClusterError `failed-precondition` when it does not fit the present configuration; nothing has changed then,
   *   and as all members see the same configuration at that entry, all refuse it alike.
   */
  applyConfChange(change: ConfChange): ConfState {
    return unfinished(change);
  }

  /** Takes a message of another member, or of the local threads. */
  step(message: Message): StepResult {
    return unfinished(message);
  }

  /** Whether `ready()` would return anything. */
  hasReady(): boolean {
    return unfinished();
  }

  /** Takes the outstanding work; it must all be done. */
  ready(): Ready {
    return unfinished();
  }

  /** Says that the last `Ready` is stored, sent and applied; not used with asynchronous storage writes. */
  advance(): void {
    unfinished();
  }

  /**
   * Asks for a point from which a read is linearizable; the answer is a `readStates` item with this `context`.
   *
   * There may be no answer (no leader, lost messages, change of leader): the caller needs a deadline and asks again.
   */
  readIndex(context: Uint8Array): void {
    unfinished(context);
  }

  /** Hands leadership to member `to`; given up after an election timeout. On a follower the request is sent on. */
  transferLeader(to: number): void {
    unfinished(to);
  }

  /** Makes a follower forget its leader, so that it grants votes; it stays a follower. */
  forgetLeader(): void {
    unfinished();
  }

  /** Says that a message to `id` could not be sent: the leader goes back to probing it. */
  reportUnreachable(id: number): void {
    unfinished(id);
  }

  /** Says how sending a snapshot to `id` ended; every `snap` message needs this report. */
  reportSnapshot(id: number, ok: boolean): void {
    unfinished(id, ok);
  }

  /** The state of this member; allocates, so not for hot paths. */
  status(): RaftStatus {
    return unfinished();
  }
}

function unfinished(..._args: unknown[]): never {
  throw new Error("not built yet");
}
