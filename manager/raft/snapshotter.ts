/**
 * Snapshots between members: fetches the stream from the main thread and sends it to a peer, or takes one from a peer and
 * has the main thread install it.
 *
 * In the Raft worker. A transfer is a stream of its own with no limit on the whole; only standing still ends it, and it
 * then starts over when the core asks again. The state sent may be newer than the position the core named, so position
 * and configuration in the message are those of the frozen state.
 */
import { Client, type ClientWritableStream } from "@grpc/grpc-js";
import {
  type RaftHello,
  RaftSnapshotChunk,
  RaftSnapshotReply,
  RaftTransportService,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { snapshotStallMs } from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import { errorFromStatus } from "../../src/common/rpc/status.ts";
import { ChunkReceiver, ChunkSender } from "./chunk-stream.ts";
import type { Message } from "./core/types.ts";
import { errorData, errorFromData, type ToMain, type ToWorker } from "./host-messages.ts";
import { metaFromMembership } from "./membership.ts";
import { asBuffer } from "./peer.ts";
import { dialCredentials, peerDialOptions } from "./peer-tls.ts";
import type { RaftNode } from "./raft-node.ts";
import type { Transport } from "./transport.ts";
import { snapshotFromMeta, wireMessage } from "./wire.ts";

/** What the snapshotter works with; node and transport may be replaced while it lives. */
export interface SnapshotterContext {
  readonly clusterId: string;
  readonly node: () => RaftNode;
  readonly transport: () => Transport;
  readonly hello: (raftId: number) => RaftHello;
  readonly post: (message: ToMain, transfer?: readonly ArrayBuffer[]) => void;
  readonly log: Log;
}

/** A stream that the main thread produces for a peer. */
interface Outgoing {
  readonly chunks: ChunkReceiver;
  readonly begun: (at: { readonly index: number; readonly term: number }) => void;
  readonly failed: (error: unknown) => void;
}

/** A stream that the main thread installs. */
interface Incoming {
  readonly sender: ChunkSender;
  readonly installed: (error: ClusterError | undefined) => void;
}

/** Both directions. */
export class Snapshotter {
  readonly #context: SnapshotterContext;
  readonly #outgoing = new Map<number, Outgoing>();
  readonly #incoming = new Map<number, Incoming>();
  readonly #sendingTo = new Set<number>();
  #nextId = 1;

  constructor(context: SnapshotterContext) {
    this.#context = context;
  }

  /** Sends what the core's `snap` message asks for, and reports to the core how it went. */
  send(message: Message): void {
    const { log, node } = this.#context;
    const sender = node();
    if (this.#sendingTo.has(message.to)) {
      sender.reportSnapshot(message.to, false);
      return;
    }
    this.#sendingTo.add(message.to);
    const fields = { peer: sender.membership.members.get(message.to)?.nodeId };
    this.#send(message)
      .then(
        (index) => {
          log.info("snapshot sent", { ...fields, "raft.index": index });
          return true;
        },
        (error: unknown) => {
          log.warn("snapshot not sent", { ...fields, err: error });
          return false;
        },
      )
      .then((ok) => {
        this.#sendingTo.delete(message.to);
        sender.reportSnapshot(message.to, ok);
      });
  }

  /** Has a received snapshot installed; resolves once state and log are those of the snapshot. */
  async receive(message: Message, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const { snapshot } = message;
    if (snapshot === undefined)
      throw new ClusterError("invalid-argument", "no snapshot in the message");
    await this.#context.node().installSnapshot(message, async () => {
      await this.#install(snapshot, withStallLimit(chunks));
    });
    this.#context.log.info("snapshot installed", { "raft.index": snapshot.index });
  }

  /** Takes the main thread's part of the talk; false when the message is not about snapshots. */
  handle(message: ToWorker): boolean {
    switch (message.type) {
      case "snapshot-begins":
        this.#outgoing.get(message.id)?.begun(message);
        return true;
      case "chunk":
        this.#outgoing.get(message.id)?.chunks.push(message.bytes);
        return true;
      case "chunks-end":
        this.#outgoingEnded(message.id, message.error && errorFromData(message.error));
        return true;
      case "chunk-credit":
        this.#incoming.get(message.id)?.sender.credit();
        return true;
      case "snapshot-installed":
        this.#incoming.get(message.id)?.installed(message.error && errorFromData(message.error));
        return true;
      default:
        return false;
    }
  }

  #outgoingEnded(id: number, error: ClusterError | undefined): void {
    const outgoing = this.#outgoing.get(id);
    if (error !== undefined) outgoing?.failed(error);
    outgoing?.chunks.end(error);
  }

  async #send(message: Message): Promise<number> {
    const id = this.#nextId++;
    try {
      const { index, term, chunks } = await this.#wanted(id, message.snapshot?.index ?? 0);
      const membership = this.#context.node().membershipAt(index);
      if (membership === undefined || !membership.members.has(message.to)) {
        throw new ClusterError(
          "aborted",
          "the members changed too often while the state was frozen",
        );
      }
      // The log knows best; only what it no longer holds is taken on the state machine's word.
      const known = this.#context.node().termAt(index) ?? term;
      const meta = metaFromMembership({ ...membership, index }, known);
      await this.#transfer({ ...message, snapshot: snapshotFromMeta(meta) }, chunks);
      return index;
    } finally {
      this.#outgoing.delete(id);
      this.#context.post({ type: "snapshot-cancelled", id });
    }
  }

  #wanted(
    id: number,
    indexMin: number,
  ): Promise<{ readonly index: number; readonly term: number; readonly chunks: ChunkReceiver }> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new ClusterError("deadline-exceeded", "the state was not frozen in time"));
      }, snapshotStallMs);
      const chunks = new ChunkReceiver(() => this.#context.post({ type: "chunk-credit", id }));
      this.#outgoing.set(id, {
        chunks,
        begun: ({ index, term }) => {
          clearTimeout(timer);
          resolve({ index, term, chunks });
        },
        failed: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.#context.post({ type: "snapshot-wanted", id, indexMin });
    });
  }

  async #transfer(message: Message, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const transport = this.#context.transport();
    const nodeId = this.#context.node().membership.members.get(message.to)?.nodeId;
    const address = transport.addressOf(message.to);
    if (nodeId === undefined || address === undefined) {
      throw new ClusterError("not-found", "the peer is not a member any more");
    }
    const expected = { clusterId: this.#context.clusterId, nodeId };
    const client = new Client(address, dialCredentials(transport.tls, expected), peerDialOptions);
    try {
      const first = { hello: this.#context.hello(message.to), message: wireMessage(message) };
      await streamChunks(client, first, chunks);
    } finally {
      client.close();
    }
  }

  async #install(
    snapshot: { readonly index: number; readonly term: number },
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const id = this.#nextId++;
    const { post } = this.#context;
    const sender = new ChunkSender();
    const installed = new Promise<void>((resolve, reject) => {
      this.#incoming.set(id, {
        sender,
        installed: (error) => {
          if (error === undefined) resolve();
          else {
            sender.cancel(error);
            reject(error);
          }
        },
      });
    });
    post({ type: "snapshot-received", id, index: snapshot.index, term: snapshot.term });
    const sent = sender
      .send(chunks, (bytes) => post({ type: "chunk", id, bytes }, [bytes.buffer as ArrayBuffer]))
      .then(
        () => post({ type: "chunks-end", id, error: undefined }),
        (error: unknown) => post({ type: "chunks-end", id, error: errorData(error) }),
      );
    try {
      await installed;
      await sent;
    } finally {
      this.#incoming.delete(id);
    }
  }
}

/** Sends the first message and all chunks; resolves when the peer has installed them. */
function streamChunks(
  client: Client,
  first: Partial<RaftSnapshotChunk>,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const call: ClientWritableStream<RaftSnapshotChunk> = client.makeClientStreamRequest(
      RaftTransportService.snapshot.path,
      (chunk: RaftSnapshotChunk) => asBuffer(RaftSnapshotChunk.encode(chunk)),
      (bytes: Buffer) => RaftSnapshotReply.decode(bytes),
      (error, reply) => {
        clearTimeout(timer);
        if (error) reject(errorFromStatus(error));
        else if (reply?.accepted) resolve();
        else reject(new ClusterError("aborted", reply?.reason ?? "refused"));
      },
    );
    let timer = setTimeout(stalled, snapshotStallMs);
    function stalled() {
      call.cancel();
    }
    const progress = () => {
      clearTimeout(timer);
      timer = setTimeout(stalled, snapshotStallMs);
    };
    writeAll(call, first, chunks, progress).catch((error: unknown) => {
      clearTimeout(timer);
      call.cancel();
      reject(error);
    });
  });
}

async function writeAll(
  call: ClientWritableStream<RaftSnapshotChunk>,
  first: Partial<RaftSnapshotChunk>,
  chunks: AsyncIterable<Uint8Array>,
  progress: () => void,
): Promise<void> {
  const write = async (chunk: Partial<RaftSnapshotChunk>) => {
    const room = call.write(RaftSnapshotChunk.create(chunk));
    progress();
    if (room) return;
    await new Promise<void>((resolve) => {
      call.once("drain", resolve);
      call.once("close", resolve);
      call.once("error", () => resolve());
    });
    progress();
  };
  await write(first);
  for await (const data of chunks) await write({ data });
  await write({ last: true });
  call.end();
}

/** The same chunks, but a pause that is too long is an error. */
async function* withStallLimit(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await inTime(source.next());
      if (next.done) return;
      yield next.value;
    }
  } finally {
    await source.return?.();
  }
}

function inTime<T>(promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new ClusterError("deadline-exceeded", "the snapshot stands still"));
    }, snapshotStallMs);
    promise.finally(() => clearTimeout(timer)).then(resolve, reject);
  });
}
