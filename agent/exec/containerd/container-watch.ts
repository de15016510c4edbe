/**
 * Word of what happens to single containers, out of the one stream of events of all: what controllers wait with.
 *
 * Says only "look again"; whoever waits reads the container's state itself, so that a lost event loses nothing.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Containers } from "../../../src/common/container/containers.ts";

/** Pause before a stream of events that broke is opened again, milliseconds. */
const reopenMs = 200;

/** Wakes those who wait for a change of a container; listens while there are any. */
export class ContainerWatch {
  readonly #containers: Containers;
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Set<() => void>>();
  #listening: AbortController | undefined;

  constructor(containers: Containers, clock: Clock) {
    this.#containers = containers;
    this.#clock = clock;
  }

  /**
   * Resolves once `look` gives a value; it is called now, and after every event of the container.
   *
   * @throws what `look` throws, and the signal's reason.
   */
  until<T>(containerId: string, look: () => T | undefined, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const end = () => {
        signal.removeEventListener("abort", stop);
        this.#remove(containerId, again);
      };
      const again = () => {
        try {
          const found = look();
          if (found === undefined) return;
          end();
          resolve(found);
        } catch (error) {
          end();
          reject(error);
        }
      };
      const stop = () => {
        end();
        reject(signal.reason);
      };
      signal.addEventListener("abort", stop, { once: true });
      this.#add(containerId, again);
      again();
    });
  }

  #add(containerId: string, again: () => void): void {
    const set = this.#waiting.get(containerId) ?? new Set();
    set.add(again);
    this.#waiting.set(containerId, set);
    if (this.#listening !== undefined) return;
    this.#listening = new AbortController();
    void this.#listen(this.#listening.signal);
  }

  #remove(containerId: string, again: () => void): void {
    const set = this.#waiting.get(containerId);
    set?.delete(again);
    if (set?.size === 0) this.#waiting.delete(containerId);
    if (this.#waiting.size > 0) return;
    this.#listening?.abort();
    this.#listening = undefined;
  }

  async #listen(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const { container } of this.#containers.events(signal)) {
          for (const again of [...(this.#waiting.get(container.id) ?? [])]) again();
        }
      } catch {
        // Cut off as too slow, or the runtime is away: everybody looks again, and it is opened anew.
      }
      if (signal.aborted) return;
      for (const set of [...this.#waiting.values()]) for (const again of [...set]) again();
      await this.#clock.sleep(reopenMs, signal).catch(() => {
        // Nobody waits any more.
      });
    }
  }
}
