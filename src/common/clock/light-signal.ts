/**
 * An abort signal and its controller in one object that costs next to nothing to make.
 *
 * Node's own pair costs as much as all the rest of a small request: an event target whose prototype is changed, weak
 * references, an event. This one holds a list of listeners. It serves whatever listens for "abort", reads `aborted` and
 * `reason`, and takes its listener away again; `AbortSignal.any` alone wants Node's own: `asAbortSignal` makes that.
 */

type Listener = Parameters<AbortSignal["addEventListener"]>[1];

/** The signal; whoever made it aborts it. */
export class LightSignal implements AbortSignal {
  onabort: AbortSignal["onabort"] = null;
  #aborted = false;
  #reason: unknown;
  #listeners: Listener[] = [];

  get aborted(): boolean {
    return this.#aborted;
  }

  get reason(): unknown {
    return this.#reason;
  }

  /** Aborts, once; listeners are called before it returns, and one that throws does not keep it from the others. */
  abort(reason: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    const event = new Event("abort");
    for (const listener of [...this.#listeners]) {
      // The one before may have taken it away.
      if (this.#listeners.includes(listener)) tell(listener, event);
    }
    this.#listeners = [];
    this.onabort?.call(this, event);
  }

  throwIfAborted(): void {
    if (this.#aborted) throw this.#reason;
  }

  /** A signal aborts once, so every listener is called once at most, whatever the options say. */
  addEventListener(type: string, listener: Listener): void {
    if (type !== "abort" || this.#aborted || this.#listeners.includes(listener)) return;
    this.#listeners.push(listener);
  }

  removeEventListener(type: string, listener: Listener): void {
    if (type !== "abort") return;
    const at = this.#listeners.indexOf(listener);
    if (at >= 0) this.#listeners.splice(at, 1);
  }

  /** Nobody but `abort` tells the listeners. */
  dispatchEvent(): boolean {
    return true;
  }
}

function tell(listener: Listener, event: Event): void {
  try {
    if (typeof listener === "function") listener(event);
    else listener.handleEvent(event);
  } catch (error) {
    // As an event target does it: nobody who aborts is to suffer from who listens.
    process.nextTick(() => {
      throw error;
    });
  }
}

/** A signal of Node's own that aborts with this one. */
export function asAbortSignal(light: LightSignal): AbortSignal {
  const controller = new AbortController();
  if (light.aborted) controller.abort(light.reason);
  else light.addEventListener("abort", () => controller.abort(light.reason));
  return controller.signal;
}
