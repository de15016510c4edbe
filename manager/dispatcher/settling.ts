/**
 * Tells when the kernels of all nodes hold what the managers know: what a task that is to stop waits for before it does.
 *
 * Each manager asks the agents of its own sessions, and only those that were told something since they last answered; the manager
 * that is asked sums up. A node that is up and has no session just now keeps the answer back until it has one.
 */
import { aborting } from "../../src/common/clock/aborting.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";

/** How far the kernel of one session's node is. Numbers are those of network messages. */
export class SettlePoint {
  readonly #ask: (number: number) => void;
  #settled = 0;
  #asked = 0;
  #waiting: { readonly number: number; readonly tell: (isSettled: boolean) => void }[] = [];
  #isOver = false;

  /** @param ask Has the agent say so once its kernel holds what was said up to a message. */
  constructor(ask: (number: number) => void) {
    this.#ask = ask;
  }

  /** Whether its kernel holds what was said up to a message. */
  has(number: number): boolean {
    return this.#settled >= number;
  }

  /** Resolves with true once it does, with false when the session is over. */
  reaches(number: number): Promise<boolean> {
    if (this.#isOver || this.has(number)) return Promise.resolve(!this.#isOver);
    return new Promise((resolve) => {
      this.#waiting.push({ number, tell: resolve });
      if (this.#asked >= number) return;
      this.#asked = number;
      this.#ask(number);
    });
  }

  /** The agent's word. */
  answered(number: number): void {
    this.#settled = Math.max(this.#settled, number);
    for (const { tell } of this.#taken((waiter) => this.has(waiter.number))) tell(true);
  }

  /** The session is over. */
  end(): void {
    this.#isOver = true;
    for (const { tell } of this.#taken(() => true)) tell(false);
  }

  #taken(isTaken: (waiter: { readonly number: number }) => boolean) {
    const taken = this.#waiting.filter(isTaken);
    this.#waiting = this.#waiting.filter((waiter) => !isTaken(waiter));
    return taken;
  }
}

/** What the managers are asked. */
export interface SettlingPorts {
  /** Up to which state index the sessions here have heard what was committed. */
  heardIndex(): number;
  /** Resolves with the number of nodes with a session here, once their kernels hold what they were told. */
  settledHere(signal: AbortSignal): Promise<number>;
  /** Asks each of the other managers for the same, from that state index on; those that do not answer count for none. */
  settledElsewhere(index: number, signal: AbortSignal): Promise<number>;
  /** Nodes that count as up. */
  readyNodes(): number;
}

/** Pause before what is not so yet is asked again, milliseconds. */
const settleRetryMs = 100;
/** How often it is looked whether the sessions have heard of a state, milliseconds. */
const heardLookMs = 5;

/** One manager's part. */
export class Settling {
  readonly #ports: SettlingPorts;
  readonly #tools: { readonly clock: Clock; readonly log: Log };

  constructor(ports: SettlingPorts, tools: { readonly clock: Clock; readonly log: Log }) {
    this.#ports = ports;
    this.#tools = tools;
  }

  /**
   * Of the sessions here alone.
   *
   * @returns How many nodes hold what was committed up to a state index. @throws the signal's reason.
   */
  async here(index: number, signal: AbortSignal): Promise<number> {
    while (this.#ports.heardIndex() < index) await this.#tools.clock.sleep(heardLookMs, signal);
    return aborting(this.#ports.settledHere(signal), signal);
  }

  /** Resolves once all nodes that are up hold what was committed before the call. @throws the signal's reason. */
  async everywhere(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#tools;
    const index = this.#ports.heardIndex();
    for (;;) {
      const [here, elsewhere] = await Promise.all([
        this.here(index, signal),
        this.#ports.settledElsewhere(index, signal),
      ]);
      const missing = this.#ports.readyNodes() - here - elsewhere;
      if (missing <= 0) return;
      log.debug("nodes without a session", { count: missing });
      await clock.sleep(settleRetryMs, signal);
    }
  }
}

/** The sum of the answers; what fails counts for none, unless the signal aborted. @throws the signal's reason. */
export async function sumOfAnswers(
  answers: readonly Promise<number>[],
  o: { readonly log: Log; readonly signal: AbortSignal },
): Promise<number> {
  const counts = answers.map((answer) =>
    answer.catch((error: unknown) => {
      if (o.signal.aborted) throw o.signal.reason;
      o.log.debug("a manager did not answer", { err: errorText(error) });
      return 0;
    }),
  );
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}
