/**
 * Shows the checks what each core takes and gives, without the members knowing.
 *
 * The doors of `RawNode` are wrapped from outside while a history runs; the class itself is the daemon's, unchanged.
 */
import { RawNode } from "../../manager/raft/core/raw-node.ts";
import {
  type ConfChange,
  type ConfState,
  localAppendThread,
  localApplyThread,
  type Message,
  type Position,
  type Ready,
} from "../../manager/raft/core/types.ts";
import type { Safety } from "./check/safety.ts";

const original = {
  ready: RawNode.prototype.ready,
  step: RawNode.prototype.step,
  learnCommit: RawNode.prototype.learnCommit,
  applyConfChange: RawNode.prototype.applyConfChange,
};

/** Wraps the core for one history. */
export class Observer {
  readonly #safety: Safety;
  /** By member: indexes of the configuration changes that were handed out and are not applied yet. */
  readonly #changes = new Map<number, number[]>();
  readonly #ids = new WeakMap<RawNode, number>();
  readonly #cores = new Map<number, RawNode>();

  constructor(safety: Safety) {
    this.#safety = safety;
  }

  /** The core of the running member `id`, as far as it has been seen. */
  core(id: number): RawNode | undefined {
    return this.#cores.get(id);
  }

  /** Forgets the core of a member whose process ended. */
  ended(id: number): void {
    this.#cores.delete(id);
    this.#changes.delete(id);
  }

  install(): void {
    const observer = this;
    RawNode.prototype.ready = function (this: RawNode): Ready {
      const ready = original.ready.call(this);
      observer.#ready(this, ready);
      return ready;
    };
    RawNode.prototype.step = function (this: RawNode, message: Message) {
      const result = original.step.call(this, message);
      if (message.type === "app-resp") observer.#acknowledged(this, message);
      if (message.type === "pre-vote-resp" && !message.reject) {
        observer.#safety.preVoteGranted(observer.#idOf(this), message.from);
      }
      if (message.type === "timeout-now" && this.status().role === "candidate") {
        observer.#safety.toldToLead(observer.#idOf(this));
      }
      return result;
    };
    RawNode.prototype.learnCommit = function (this: RawNode, position: Position) {
      original.learnCommit.call(this, position);
      const { id, role, commit } = this.status();
      // The answer that brought it may make it leader, which then would seem to have committed it. What a follower learns
      // may be of entries that have not been seen yet.
      if (role !== "follower") observer.#safety.committed(id, commit);
    };
    RawNode.prototype.applyConfChange = function (this: RawNode, change: ConfChange): ConfState {
      const id = observer.#idOf(this);
      try {
        const result = original.applyConfChange.call(this, change);
        observer.#changed(id, change, result);
        return result;
      } catch (error) {
        observer.#changed(id, change, undefined);
        throw error;
      }
    };
  }

  restore(): void {
    Object.assign(RawNode.prototype, original);
  }

  #idOf(core: RawNode): number {
    let id = this.#ids.get(core);
    if (id === undefined) {
      id = core.status().id;
      this.#ids.set(core, id);
      this.#cores.set(id, core);
    }
    return id;
  }

  #ready(core: RawNode, ready: Ready): void {
    const id = this.#idOf(core);
    const { softState, hardState, entries, snapshot } = ready;
    const safety = this.#safety;
    const asks = ready.messages.some(({ type }) => type === "pre-vote");
    safety.workTaken(id, asks || softState?.role === "pre-candidate");
    if (softState !== undefined || hardState !== undefined) {
      safety.changed(id, { role: softState?.role, hard: hardState });
    }
    if (snapshot !== undefined) {
      safety.restored(id, snapshot);
      safety.checkConfiguration(id, core.status().confState, snapshot.index);
    }
    if (entries.length > 0) safety.appended(id, entries);
    if (hardState !== undefined) safety.committed(id, hardState.commit);
    for (const { type, index } of ready.committedEntries) {
      if (type !== "conf-change") continue;
      const indexes = this.#changes.get(id);
      if (indexes === undefined) this.#changes.set(id, [index]);
      else indexes.push(index);
    }
    for (const message of ready.messages) {
      if (message.to === localAppendThread || message.to === localApplyThread) continue;
      // Messages of these kinds wait for a write; they must not be among those that go out at once.
      safety.released(id, message);
    }
  }

  #changed(id: number, change: ConfChange, result: ConfState | undefined): void {
    const index = this.#changes.get(id)?.shift();
    if (index !== undefined) this.#safety.reconfigured(id, index, change, result);
  }

  #acknowledged(core: RawNode, message: Message): void {
    const status = core.status();
    const progress = status.progress.get(message.from);
    if (progress === undefined) return;
    this.#safety.acknowledged(status.id, message.from, progress);
    // It may lose its leadership to the next message before it tells of the commit.
    this.#safety.committed(status.id, status.commit);
  }
}
