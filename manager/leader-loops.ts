/**
 * What runs on the leader only: started when this manager is elected and caught up, stopped when it is not leader any more.
 */
import { setMaxListeners } from "node:events";
import { ClusterError, errorText } from "../src/common/errors/cluster-error.ts";
import type { Log } from "../src/common/log/log.ts";

/** One loop of a leadership; returns when its signal aborts. */
export type LeaderLoop = (signal: AbortSignal) => Promise<void>;

/** What one loop may wait for at a time; more is a leak, which Node then warns of. */
const loopListenersMax = 10;

/** The loops of at most one leadership at a time. */
export class LeaderLoops {
  readonly #log: Log;
  #stop: AbortController | undefined;
  #running: Promise<unknown> = Promise.resolve();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Starts the loops of a term; those of an earlier one are told to stop first. */
  start(term: number, loops: Readonly<Record<string, LeaderLoop>>): void {
    this.stop();
    const stop = new AbortController();
    // A loop waits for more than one thing at a time: Node's warning is meant for fewer.
    setMaxListeners(loopListenersMax * Object.keys(loops).length, stop.signal);
    this.#stop = stop;
    this.#running = this.#running.then(async () => {
      // Over before its turn, while the loops of an earlier term cleaned up.
      if (stop.signal.aborted) return;
      await Promise.all(
        Object.entries(loops).map(async ([component, loop]) => {
          try {
            await loop(stop.signal);
          } catch (error) {
            if (stop.signal.aborted) return;
            const fields = { component, "raft.term": term, err: errorText(error) };
            this.#log.error("leader loop ended", fields);
          }
        }),
      );
    });
  }

  /** Tells the loops to stop; `stopped` waits for them. */
  stop(): void {
    this.#stop?.abort(new ClusterError("aborted", "this manager does not lead any more"));
    this.#stop = undefined;
  }

  async stopped(): Promise<void> {
    this.stop();
    await this.#running;
  }
}
