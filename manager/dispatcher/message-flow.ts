/**
 * Says to one agent what it has to know: everything first, then what changes.
 *
 * One message is on its way at a time, so that a slow agent holds up nothing but itself: what changes meanwhile is said
 * together, as it is by then.
 */

/** Knows what there is to say. */
export interface Speaker<M> {
  /** Whether something changed since it was last said. */
  hasNews(): boolean;
  /** Everything; called when this manager is up to date. Undefined when it has to be asked again. */
  full(number: number): Promise<Messages<M>> | Messages<M>;
  /** What changed; undefined when everything has to be said. */
  increments(number: number): Promise<Messages<M>> | Messages<M>;
}

type Messages<M> = readonly M[] | undefined;

/** What a flow needs of its session. */
export interface FlowPorts<M> {
  /** Resolves once the next message may follow. */
  send(message: M): Promise<void>;
  /** Resolves once this manager knows all that was committed so far. */
  upToDate(): Promise<void>;
  /** The flow cannot go on; the session ends. */
  failed(error: unknown): void;
}

/** One kind of messages of one session. */
export class MessageFlow<M extends { readonly number: number }> {
  readonly #speaker: Speaker<M>;
  readonly #ports: FlowPorts<M>;
  #isFullDue = false;
  #hasBegun = false;
  /** Ends when everything is said. */
  #running: Promise<void> | undefined;
  #isClosed = false;
  #number = 1;

  constructor(speaker: Speaker<M>, ports: FlowPorts<M>) {
    this.#speaker = speaker;
    this.#ports = ports;
  }

  /** Says everything (again). */
  restart(): void {
    this.#isFullDue = true;
    this.#hasBegun = true;
    this.wake();
  }

  /** Something changed. */
  wake(): void {
    if (this.#running !== undefined || this.#isClosed || !this.#hasBegun) return;
    this.#running = this.#flow().catch((error: unknown) => this.#ports.failed(error));
  }

  /** Number of the last message that was said; 0 before the first. */
  get said(): number {
    return this.#number - 1;
  }

  /** Resolves once everything is said; undefined when it is. */
  saying(): Promise<void> | undefined {
    return this.#running;
  }

  /** The session is over. */
  close(): void {
    this.#isClosed = true;
  }

  async #flow(): Promise<void> {
    // Changes of one commit come one by one: they are said together.
    await Promise.resolve();
    while (!this.#isClosed && (this.#isFullDue || this.#speaker.hasNews())) {
      for (const message of await this.#next()) {
        if (this.#isClosed) return;
        this.#number = message.number + 1;
        await this.#ports.send(message);
      }
    }
    // At once: what changes from here on wakes it again.
    this.#running = undefined;
  }

  async #next(): Promise<readonly M[]> {
    const isFull = this.#isFullDue;
    this.#isFullDue = false;
    // What an older state lacks would be taken for removed.
    if (isFull) await this.#ports.upToDate();
    if (this.#isClosed) return [];
    const speaker = this.#speaker;
    const messages = await (isFull ? speaker.full(this.#number) : speaker.increments(this.#number));
    if (messages === undefined) this.#isFullDue = true;
    return messages ?? [];
  }
}
