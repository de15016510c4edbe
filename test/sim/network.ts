/**
 * The simulated network: every ordered pair of machines is a link that may lose, double, delay and reorder what it
 * carries, or be cut. Without those faults a link keeps the order, as a stream does.
 */
import type { Random } from "../../src/common/random/random.ts";
import type { FaultCounts } from "./faults.ts";
import { between, type Parameters } from "./parameters.ts";
import { type EventQueue, milliseconds } from "./queue.ts";

/** The links between machines; machines are numbered from 0. */
export class Network {
  readonly #queue: EventQueue;
  readonly #random: Random;
  readonly #parameters: Parameters;
  readonly #faults: FaultCounts;
  /** Ordered pairs that carry nothing, as `from * 1000 + to`. */
  readonly #cut = new Set<number>();
  /** When the last message of a link arrives. */
  readonly #lastArrival = new Map<number, number>();
  #healthy = false;

  constructor(parts: {
    queue: EventQueue;
    random: Random;
    parameters: Parameters;
    faults: FaultCounts;
  }) {
    this.#queue = parts.queue;
    this.#random = parts.random;
    this.#parameters = parts.parameters;
    this.#faults = parts.faults;
  }

  /** Whether a message could pass now. */
  isOpen(from: number, to: number): boolean {
    return !this.#cut.has(from * 1000 + to);
  }

  /** Cuts one direction of a link. */
  cut(from: number, to: number): void {
    this.#cut.add(from * 1000 + to);
  }

  /** Mends all links; losses and delays go on. */
  mend(): void {
    this.#cut.clear();
  }

  /** From now on nothing is lost, doubled, delayed or reordered. */
  heal(): void {
    this.mend();
    this.#healthy = true;
  }

  /**
   * Carries one message: `deliver` runs when and as often as it arrives.
   *
   * @param extraDelay Time it takes on top, for what is large.
   */
  send(from: number, to: number, deliver: () => void, extraDelay = 0): void {
    if (!this.isOpen(from, to)) return;
    const { lossRate, doubleRate } = this.#parameters;
    if (!this.#healthy) {
      if (lossRate > 0 && this.#random.float() < lossRate) {
        this.#faults.struck("message lost");
        return;
      }
      if (doubleRate > 0 && this.#random.float() < doubleRate) {
        this.#faults.struck("message doubled");
        this.#deliverAt(this.#arrival(from, to, extraDelay), deliver, from, to);
      }
    }
    this.#deliverAt(this.#arrival(from, to, extraDelay), deliver, from, to);
  }

  #arrival(from: number, to: number, extraDelay: number): number {
    const { networkDelay, reorderRate, delayRate } = this.#parameters;
    const link = from * 1000 + to;
    let time = this.#queue.now + networkDelay * between(this.#random, 0.5, 1.5) + extraDelay;
    if (!this.#healthy && delayRate > 0 && this.#random.float() < delayRate) {
      this.#faults.struck("message delayed");
      return Math.round(time + milliseconds(between(this.#random, 10, 2_000)));
    }
    if (!this.#healthy && reorderRate > 0 && this.#random.float() < reorderRate) {
      this.#faults.struck("message reordered");
      return Math.round(time + networkDelay * between(this.#random, 0, 10));
    }
    time = Math.max(Math.round(time), (this.#lastArrival.get(link) ?? 0) + 1);
    this.#lastArrival.set(link, time);
    return time;
  }

  #deliverAt(time: number, deliver: () => void, from: number, to: number): void {
    this.#queue.at(Math.max(time, this.#queue.now), () => {
      // Of what was on the way when the link was cut, some is lost as well.
      if (this.isOpen(from, to) || this.#random.float() < 0.5) deliver();
    });
  }
}
