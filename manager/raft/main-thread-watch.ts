/**
 * Watches from the Raft worker whether the main thread still answers.
 *
 * A leader whose main thread hangs keeps its office by heartbeats while the cluster does nothing, so leadership is to go
 * elsewhere. Unanswered pings are counted instead of time, so that a machine that slept does not look like a hang.
 */
import { mainThreadSilenceMs } from "../../src/common/limits/limits.ts";

const pingPeriodMs = 1_000;

/** Pings once a period; `onSilent` is called each period from the limit on. */
export class MainThreadWatch {
  readonly #post: (message: { readonly type: "ping" }) => void;
  readonly #onSilent: () => void;
  #unanswered = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: {
    readonly post: (message: { readonly type: "ping" }) => void;
    readonly onSilent: () => void;
  }) {
    this.#post = options.post;
    this.#onSilent = options.onSilent;
  }

  start(): void {
    this.#timer = setInterval(() => this.beat(), pingPeriodMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** One period passed. */
  beat(): void {
    if (this.#unanswered * pingPeriodMs >= mainThreadSilenceMs) this.#onSilent();
    this.#unanswered++;
    this.#post({ type: "ping" });
  }

  /** The main thread answered. */
  answered(): void {
    this.#unanswered = 0;
  }
}
