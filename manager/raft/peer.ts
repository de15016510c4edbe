/**
 * One peer as this member reaches it: dials, keeps one outgoing stream, batches what is to be sent.
 *
 * Raft bears loss, so nothing is kept while the stream is down: messages are dropped and the peer is reported
 * unreachable. Addresses are hints, tried in turn; who answers is decided by the certificate alone.
 */
import {
  RaftFrame,
  RaftFrameReply,
  type RaftHello,
  type RaftMember,
} from "../../src/common/api/generated/api.ts";
import {
  ClusterError,
  type ErrorCode,
  errorText,
  hasCode,
} from "../../src/common/errors/cluster-error.ts";
import type { TlsMaterial } from "../../src/common/identity/types.ts";
import {
  peerDialPauseMaxMs,
  peerDialPauseMs,
  peerFrameBytesMax,
  peerQueueBytesMax,
} from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { Message } from "./core/types.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { framed, PeerStream } from "./peer-stream.ts";
import { dialStream } from "./peer-tls.ts";
import { messageBytes } from "./wire.ts";

/** What a peer needs of the transport around it. */
export interface PeerContext {
  readonly clusterId: string;
  readonly tls: () => TlsMaterial;
  /** The hello to open a stream with. */
  readonly hello: (raftId: number) => RaftHello;
  readonly onUnreachable: (raftId: number) => void;
  /** The peer answered under this address. */
  readonly onConnected: (raftId: number, address: string) => void;
  /** The peer said where it would reach the others. */
  readonly onOthers: (others: readonly RaftMember[]) => void;
  /** The peer says that this member was removed from the group. */
  readonly onRemoved: () => void;
  readonly frames: FrameWriter;
  readonly random: Random;
  readonly log: Log;
}

/** The first reply must come within this; a connection that hangs is given up and dialled again. */
const answerTimeoutMs = 3_000;

/** How long followers may learn later what is committed. A read asks with a heartbeat, which says it too. */
const commitNewsDelayMs = 10;

/** The outgoing side of one peer. */
export class Peer {
  readonly raftId: number;
  readonly nodeId: string;
  readonly #context: PeerContext;
  #addresses: string[];
  #dialled = "";
  #queue: Message[] = [];
  #queuedBytes = 0;
  #newsTimer: NodeJS.Timeout | undefined;
  #stream: PeerStream | undefined;
  #answered = false;
  #blocked = false;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #answerTimer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(
    member: { readonly raftId: number; readonly nodeId: string; readonly address: string },
    context: PeerContext,
  ) {
    this.raftId = member.raftId;
    this.nodeId = member.nodeId;
    this.#addresses = [member.address];
    this.#context = context;
    this.#dial();
  }

  /** Whether the stream is up and the peer has answered on it. */
  get connected(): boolean {
    return this.#answered;
  }

  /** The address that is tried next, or in use. */
  get address(): string {
    return this.#addresses[0] ?? "";
  }

  /**
   * Puts addresses in front of those known, best first; dials at once when there is no connection, or when the one there
   * is goes to an address the peer has given up.
   */
  learn(addresses: readonly string[]): void {
    const known = this.#addresses.filter((address) => !addresses.includes(address));
    const isStale = this.#answered && !addresses.includes(this.address);
    if (this.#answered && !isStale) {
      this.#addresses = [this.address, ...addresses.filter((a) => a !== this.address), ...known];
    } else this.#addresses = [...addresses, ...known];
    this.#addresses = [...new Set(this.#addresses)].slice(0, 4);
    if (isStale) this.redial();
    else if (this.#timer !== undefined) this.#dialSoon(0);
  }

  /** Tries an address others reach the peer at, unless it is known or not needed. */
  hint(address: string): void {
    if (!this.#answered && !this.#addresses.includes(address)) this.learn([address]);
  }

  /** Queues a message; `flush` sends. */
  send(message: Message): void {
    if (!this.#answered || this.#queuedBytes > peerQueueBytesMax) {
      // An appended entry that was dropped is found out by its missing answer; the rest is repeated anyway.
      if (message.type === "app") this.#context.onUnreachable(this.raftId);
      return;
    }
    if (message.type === "app") {
      clearTimeout(this.#newsTimer);
      if (message.entries.length === 0) {
        this.#hold(message);
        return;
      }
    }
    this.#enqueue(message);
  }

  /** Sends what is queued, in frames, as far as the stream takes it. */
  flush(): void {
    while (this.#queue.length > 0 && this.#stream !== undefined && !this.#blocked) {
      const frame = this.#context.frames.frame(this.#takeFrame());
      if (!this.#stream.write(frame)) this.#blocked = true;
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  /** Closes the connection and dials again, as when either end has another address now. */
  redial(): void {
    this.#drop();
    this.#dialSoon(0);
  }

  /**
   * Keeps an append without entries, which only tells how far is committed, for a moment: under load the next append
   * says it as well and takes its place, which halves the messages between the members.
   */
  #hold(message: Message): void {
    this.#newsTimer = setTimeout(() => {
      if (!this.#answered) return;
      this.#enqueue(message);
      this.flush();
    }, commitNewsDelayMs);
  }

  #enqueue(message: Message): void {
    this.#queue.push(message);
    this.#queuedBytes += messageBytes(message);
  }

  #takeFrame(): Message[] {
    let bytes = 0;
    let count = 0;
    for (const message of this.#queue) {
      bytes += messageBytes(message);
      if (bytes > peerFrameBytesMax && count > 0) break;
      count++;
    }
    const taken = this.#queue.splice(0, count);
    for (const message of taken) this.#queuedBytes -= messageBytes(message);
    return taken;
  }

  #dialSoon(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#dial();
    }, ms);
  }

  #dial(): void {
    if (this.#closed) return;
    const { clusterId, tls, hello } = this.#context;
    const expected = { clusterId, nodeId: this.nodeId };
    this.#dialled = this.address;
    const stream = new PeerStream(dialStream(this.#dialled, tls(), expected), "dialling", {
      onFrame: (bytes) => {
        if (stream === this.#stream) this.#take(RaftFrameReply.decode(bytes));
      },
      onDrain: () => {
        if (stream !== this.#stream) return;
        this.#blocked = false;
        this.flush();
      },
      onEnd: (error) => {
        if (stream === this.#stream) this.#failed(error);
      },
    });
    this.#stream = stream;
    this.#answerTimer = setTimeout(() => this.#failed(undefined), answerTimeoutMs);
    stream.write(framed(RaftFrame.encode(RaftFrame.create({ hello: hello(this.raftId) }))));
  }

  #take({ hello, refusal }: RaftFrameReply): void {
    if (refusal !== undefined) {
      this.#failed(new ClusterError(refusal.code as ErrorCode, refusal.text));
    } else if (hello !== undefined) this.#connected(hello);
  }

  #connected(hello: RaftHello): void {
    clearTimeout(this.#answerTimer);
    if (this.#answered) return;
    this.#answered = true;
    this.#failures = 0;
    // Another one may have been learned while this one was dialled.
    this.#addresses = [this.#dialled, ...this.#addresses.filter((a) => a !== this.#dialled)];
    this.#context.log.info("raft peer connected", { peer: this.nodeId, address: this.address });
    this.#context.onConnected(this.raftId, this.address);
    this.#context.onOthers(hello.others);
  }

  #failed(error: Error | undefined): void {
    if (this.#closed) return;
    const wasUp = this.#answered;
    this.#drop();
    if (wasUp) {
      this.#context.log.info("raft peer lost", {
        peer: this.nodeId,
        err: error && errorText(error),
      });
      this.#context.onUnreachable(this.raftId);
    } else if (this.#failures === 0 || this.#failures % 60 === 59) {
      const err = error === undefined ? "no answer" : errorText(error);
      this.#context.log.warn("raft peer does not answer", {
        peer: this.nodeId,
        address: this.#dialled,
        err,
      });
    }
    if (hasCode(error, "not-found")) this.#context.onRemoved();
    if (!wasUp && this.address === this.#dialled)
      this.#addresses.push(...this.#addresses.splice(0, 1));
    const longest = Math.min(
      peerDialPauseMs * 2 ** Math.min(this.#failures, 8),
      peerDialPauseMaxMs,
    );
    this.#failures++;
    this.#dialSoon(longest * (0.5 + this.#context.random.float() / 2));
  }

  #drop(): void {
    clearTimeout(this.#answerTimer);
    clearTimeout(this.#newsTimer);
    const stream = this.#stream;
    this.#stream = undefined;
    this.#answered = false;
    this.#blocked = false;
    this.#queue = [];
    this.#queuedBytes = 0;
    stream?.destroy();
  }
}

/** The same bytes as a Buffer, without a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
