/**
 * Proposals on their way to the Raft worker: those of one turn of the event loop travel as one message.
 *
 * On the main thread. Counts the bytes that wait for commitment and pushes back beyond the limit, so that writers cannot
 * outrun the group.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { ToWorker } from "./host-messages.ts";

/** Where a proposal was appended. */
export interface Appended {
  readonly index: number;
  readonly term: number;
}

interface Proposal {
  readonly data: Uint8Array;
  readonly resolve: (at: Appended) => void;
  readonly reject: (error: unknown) => void;
}

/** Proposals of one message. */
interface Group {
  readonly proposals: readonly Proposal[];
  readonly bytes: number;
}

/** The queue. */
export class ProposalQueue {
  readonly #post: (message: ToWorker, transfer: readonly ArrayBuffer[]) => void;
  readonly #limits: { readonly itemMax: number; readonly totalMax: number };
  readonly #groups = new Map<number, Group>();
  #next: Proposal[] = [];
  #nextBytes = 0;
  #nextId = 1;
  #waitingBytes = 0;
  #scheduled = false;
  /** Appended and not yet applied here, in order. */
  #appended: { readonly lastIndex: number; readonly term: number; readonly bytes: number }[] = [];

  constructor(
    post: (message: ToWorker, transfer: readonly ArrayBuffer[]) => void,
    limits: { readonly itemMax: number; readonly totalMax: number },
  ) {
    this.#post = post;
    this.#limits = limits;
  }

  /** @throws ClusterError invalid-argument or resource-exhausted, by rejection. */
  propose(data: Uint8Array): Promise<Appended> {
    if (data.length > this.#limits.itemMax) {
      const text = `a change of ${data.length} bytes is larger than ${this.#limits.itemMax}`;
      return Promise.reject(new ClusterError("invalid-argument", text));
    }
    if (this.#waitingBytes + data.length > this.#limits.totalMax) {
      return Promise.reject(
        new ClusterError(
          "resource-exhausted",
          "too many changes wait to be committed: try again later",
        ),
      );
    }
    this.#waitingBytes += data.length;
    this.#nextBytes += data.length;
    return new Promise((resolve, reject) => {
      this.#next.push({ data, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      // After all that runs in this turn, and before the loop looks for input again. With nothing under way nobody else
      // goes on in this turn: then after the promise reactions that are due.
      const isIdle = this.#groups.size === 0 && this.#appended.length === 0;
      if (isIdle) process.nextTick(() => this.#send());
      else setImmediate(() => this.#send());
    });
  }

  /** The worker appended a group. */
  proposed(at: { readonly id: number; readonly firstIndex: number; readonly term: number }): void {
    const group = this.#groups.get(at.id);
    if (group === undefined) return;
    this.#groups.delete(at.id);
    let index = at.firstIndex;
    for (const proposal of group.proposals) proposal.resolve({ index: index++, term: at.term });
    this.#appended.push({ lastIndex: index - 1, term: at.term, bytes: group.bytes });
  }

  /** The worker refused a group. */
  failed(id: number, error: ClusterError): void {
    const group = this.#groups.get(id);
    if (group === undefined) return;
    this.#groups.delete(id);
    this.#waitingBytes -= group.bytes;
    for (const proposal of group.proposals) proposal.reject(error);
  }

  /** Everything up to `index` is applied here. */
  applied(index: number): void {
    let count = 0;
    for (const group of this.#appended) {
      if (group.lastIndex > index) break;
      this.#waitingBytes -= group.bytes;
      count++;
    }
    if (count > 0) this.#appended.splice(0, count);
  }

  /** Another term began: what an earlier one appended is either committed by others or gone. */
  termBegan(term: number): void {
    this.#appended = this.#appended.filter((group) => {
      if (group.term >= term) return true;
      this.#waitingBytes -= group.bytes;
      return false;
    });
  }

  /** Rejects all that is under way. */
  end(error: ClusterError): void {
    for (const proposal of this.#next.splice(0)) proposal.reject(error);
    for (const group of this.#groups.values()) {
      for (const proposal of group.proposals) proposal.reject(error);
    }
    this.#groups.clear();
  }

  #send(): void {
    this.#scheduled = false;
    const proposals = this.#next;
    if (proposals.length === 0) return;
    // Slow means: not of the pool, whose memory could not be moved. All of it is written.
    const bytes = Buffer.allocUnsafeSlow(this.#nextBytes);
    const lengths = new Uint32Array(proposals.length);
    let at = 0;
    proposals.forEach(({ data }, i) => {
      bytes.set(data, at);
      lengths[i] = data.length;
      at += data.length;
    });
    const id = this.#nextId++;
    this.#groups.set(id, { proposals, bytes: this.#nextBytes });
    this.#next = [];
    this.#nextBytes = 0;
    this.#post({ type: "propose", id, lengths, bytes }, [bytes.buffer, lengths.buffer]);
  }
}
