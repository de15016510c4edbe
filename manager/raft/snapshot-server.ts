/**
 * Streams the store's frozen state to the Raft worker when a peer needs it. On the main thread.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { ChunkSender } from "./chunk-stream.ts";
import { errorData, type ToMain, type ToWorker } from "./host-messages.ts";

/** A frozen state: where it stands, and its bytes in chunks of at most 1 MiB. */
export type SnapshotStream = AsyncIterable<Uint8Array> & {
  readonly index: number;
  readonly term: number;
};

/** Freezes the state and gives its stream. */
export type SnapshotSource = () => SnapshotStream | Promise<SnapshotStream>;

/** The server. */
export class SnapshotServer {
  readonly #post: (message: ToWorker, transfer?: readonly ArrayBuffer[]) => void;
  readonly #appliedAtLeast: (index: number) => Promise<void>;
  readonly #senders = new Map<number, ChunkSender>();
  #source: SnapshotSource | undefined;

  constructor(options: {
    readonly post: (message: ToWorker, transfer?: readonly ArrayBuffer[]) => void;
    /** Resolves once the store has applied this much. */
    readonly appliedAtLeast: (index: number) => Promise<void>;
  }) {
    this.#post = options.post;
    this.#appliedAtLeast = options.appliedAtLeast;
  }

  setSource(source: SnapshotSource): void {
    this.#source = source;
  }

  /** Takes the worker's messages that are for the server; false for others. */
  handle(message: ToMain): boolean {
    switch (message.type) {
      case "snapshot-wanted":
        this.#serve(message.id, message.indexMin);
        return true;
      case "chunk-credit":
        this.#senders.get(message.id)?.credit();
        return true;
      case "snapshot-cancelled":
        this.#senders.get(message.id)?.cancel(undefined);
        return true;
      default:
        return false;
    }
  }

  /** Ends all streams. */
  end(error: ClusterError): void {
    for (const sender of this.#senders.values()) sender.cancel(error);
  }

  #serve(id: number, indexMin: number): void {
    const sender = new ChunkSender();
    this.#senders.set(id, sender);
    this.#stream(id, indexMin, sender)
      .then(
        () => this.#post({ type: "chunks-end", id, error: undefined }),
        (error: unknown) => this.#post({ type: "chunks-end", id, error: errorData(error) }),
      )
      .finally(() => this.#senders.delete(id));
  }

  async #stream(id: number, indexMin: number, sender: ChunkSender): Promise<void> {
    await this.#appliedAtLeast(indexMin);
    if (this.#source === undefined) {
      throw new ClusterError("unavailable", "the state cannot be frozen yet");
    }
    const stream = await this.#source();
    this.#post({ type: "snapshot-begins", id, index: stream.index, term: stream.term });
    await sender.send(stream, (bytes) => {
      this.#post({ type: "chunk", id, bytes }, [bytes.buffer as ArrayBuffer]);
    });
  }
}
