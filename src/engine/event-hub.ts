/**
 * Keeps the latest events and hands new ones to whoever listens.
 *
 * Fed by `EventsPort`. The latest ones are kept for `--since`. A reader that does not keep up is cut rather than let grow.
 */
import type { Clock } from "../common/clock/clock.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { eventsKeptMax, eventsWaitingMax } from "../common/limits/limits.ts";
import type { EventsPort } from "./ports.ts";
import { type EventMessage, eventFromChange } from "./translate/event.ts";

/** One reader: what waits for it and how to wake it. */
interface Listener {
  readonly waiting: EventMessage[];
  wake: () => void;
}

/** Source of events for `GET /events`. */
export class EventHub {
  readonly #port: EventsPort;
  readonly #clock: Clock;
  readonly #kept: EventMessage[] = [];
  readonly #listeners = new Set<Listener>();

  constructor(port: EventsPort, clock: Clock) {
    this.#port = port;
    this.#clock = clock;
  }

  /** Takes changes from the port until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const changes of this.#port.changes(signal)) {
      for (const change of changes) {
        const event = eventFromChange(change, this.#clock.now());
        if (event !== undefined) this.publish(event);
      }
    }
  }

  /** Adds an event. */
  publish(event: EventMessage): void {
    this.#kept.push(event);
    if (this.#kept.length > eventsKeptMax) this.#kept.shift();
    for (const listener of this.#listeners) {
      listener.waiting.push(event);
      listener.wake();
    }
  }

  /** The kept events, oldest first. */
  kept(): readonly EventMessage[] {
    return [...this.#kept];
  }

  /**
   * New events from the moment of the call on, until the signal aborts. Listening starts with the call, not with the
   * first read, so that nothing falls between `kept` and this.
   * @throws ClusterError `resource-exhausted` while iterating, when the reader falls too far behind.
   */
  follow(signal: AbortSignal): AsyncIterable<EventMessage> {
    const listener: Listener = { waiting: [], wake: () => {} };
    const stop = () => {
      this.#listeners.delete(listener);
      listener.wake();
    };
    if (!signal.aborted) {
      this.#listeners.add(listener);
      signal.addEventListener("abort", stop, { once: true });
    }
    return drain(listener, signal, () => {
      stop();
      signal.removeEventListener("abort", stop);
    });
  }
}

async function* drain(
  listener: Listener,
  signal: AbortSignal,
  stop: () => void,
): AsyncIterable<EventMessage> {
  try {
    while (!signal.aborted) {
      if (listener.waiting.length > eventsWaitingMax)
        throw new ClusterError("resource-exhausted", "events are read too slowly; read them again");
      yield* listener.waiting.splice(0);
      if (listener.waiting.length > 0 || signal.aborted) continue;
      await new Promise<void>((resolve) => {
        listener.wake = resolve;
      });
    }
  } finally {
    stop();
  }
}
