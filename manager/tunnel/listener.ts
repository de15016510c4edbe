/**
 * Notices that the far end of a tunnel has fallen silent: agents send something over every tunnel all the time.
 *
 * Only silence while a frame is waited for counts. A reader that takes its time holds back the beats with the bytes.
 */
import type { TunnelFrame } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { tunnelBeatMs, tunnelDeadMs, tunnelSilentMs } from "../../src/common/limits/tunnel.ts";
import type { MessageStream } from "../../src/common/rpc/handler.ts";

/** Listens to one tunnel. */
export class Listener {
  /** The frames, to be read instead of those it was made with. */
  readonly frames: MessageStream<TunnelFrame, TunnelFrame>;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #listeners = new Set<() => void>();
  #waitingSinceMs: number | undefined;
  #isSilent = false;

  constructor(frames: MessageStream<TunnelFrame, TunnelFrame>, clock: Clock) {
    this.#clock = clock;
    this.frames = {
      write: (frame) => frames.write(frame),
      [Symbol.asyncIterator]: () => this.#read(frames),
    };
  }

  /** Calls `listener` once, when the tunnel falls silent; at once when it is. */
  onSilent(listener: () => void): void {
    if (this.#isSilent) listener();
    else this.#listeners.add(listener);
  }

  /** Looks until `close`; calls `onDead` when the silence lasts. Never rejects. */
  async run(onDead: () => void): Promise<void> {
    for (;;) {
      try {
        await this.#clock.sleep(tunnelBeatMs / 4, this.#stop.signal);
      } catch {
        // Closed.
        return;
      }
      const since = this.#waitingSinceMs;
      const silentMs = since === undefined ? 0 : this.#clock.monotonic() - since;
      if (silentMs >= tunnelDeadMs) return onDead();
      if (silentMs >= tunnelSilentMs) this.#tell();
    }
  }

  close(): void {
    this.#stop.abort();
  }

  #tell(): void {
    this.#isSilent = true;
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }

  async *#read(frames: AsyncIterable<TunnelFrame>): AsyncGenerator<TunnelFrame> {
    this.#waitingSinceMs = this.#clock.monotonic();
    for await (const frame of frames) {
      this.#waitingSinceMs = undefined;
      this.#isSilent = false;
      yield frame;
      this.#waitingSinceMs = this.#clock.monotonic();
    }
    this.#waitingSinceMs = undefined;
  }
}
