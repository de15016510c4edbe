/**
 * Registries that nobody reached a moment ago: a task whose image is here does not wait for one of them again.
 *
 * On a network that is cut off each task would wait until the connection is given up, some ten seconds, and then run the image
 * that is here all the same.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import { connectTimeout } from "../../../src/common/registry/http.ts";
import { parseReference } from "../../../src/common/registry/reference.ts";

/** How long a registry is left alone, milliseconds. */
const silenceMs = 60_000;

/** The registries as one node finds them. */
export class SilentRegistries {
  readonly #clock: Pick<Clock, "monotonic">;
  /** Until when, monotonic, by domain. */
  readonly #until = new Map<string, number>();

  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
  }

  /** Takes note of how a pull ended; undefined: well. */
  note(reference: string, error: unknown): void {
    const { domain } = parseReference(reference);
    if (error === undefined) this.#until.delete(domain);
    else if (errorText(error).includes(connectTimeout)) {
      this.#until.set(domain, this.#clock.monotonic() + silenceMs);
    }
  }

  /** Whether the registry of an image is to be left alone. */
  has(reference: string): boolean {
    const { domain } = parseReference(reference);
    return this.#clock.monotonic() < (this.#until.get(domain) ?? 0);
  }
}
