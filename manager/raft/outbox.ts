/**
 * What the worker posts to the main thread: at once, or together with the next message that cannot wait.
 *
 * Each message that finds the other thread asleep costs a wake-up, on a small machine more than the work it brings, and each
 * one on its way costs as much as some small ones in one.
 * The order of messages is kept.
 */
import type { ToMain } from "./host-messages.ts";

/** Posts to the main thread; `transfer` lists the buffers that are moved. */
export type PostToMain = (message: ToMain, transfer?: readonly ArrayBuffer[]) => void;

/** How long a message may wait for another one. */
const delayMs = 10;

/** The outbox. */
export class Outbox {
  readonly #send: PostToMain;
  #later: { readonly message: ToMain; readonly transfer?: readonly ArrayBuffer[] | undefined }[] =
    [];
  #timed = false;

  constructor(send: PostToMain) {
    this.#send = send;
  }

  /** Posts what waited, and then this, all in one. */
  post(message: ToMain, transfer?: readonly ArrayBuffer[]): void {
    if (this.#later.length === 0) this.#send(message, transfer);
    else {
      this.#later.push({ message, transfer });
      this.#flush();
    }
  }

  /** Posts this with the next message, or a little later. */
  postLater(message: ToMain, transfer?: readonly ArrayBuffer[]): void {
    this.#later.push({ message, transfer });
    if (this.#timed) return;
    this.#timed = true;
    setTimeout(() => {
      this.#timed = false;
      this.#flush();
    }, delayMs).unref();
  }

  #flush(): void {
    if (this.#later.length === 0) return;
    const posts = this.#later;
    this.#later = [];
    const messages = posts.map(({ message }) => message);
    this.#send(
      { type: "several", messages },
      posts.flatMap(({ transfer }) => transfer ?? []),
    );
  }
}
