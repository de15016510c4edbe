/**
 * The blobs of the node: what containerd's content store holds, read and written.
 *
 * A blob is written under a reference (`ref`) and becomes content when it is committed under its digest, which containerd
 * checks. What was written before a cut stays under the reference and is gone on with. All writes belong to a lease, so that
 * the collector spares them until something else refers to them.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../../src/common/clock/clock.ts";
import type { ContainerdClient } from "../../src/common/containerd/client.ts";
import {
  type ContentRecord,
  ContentService,
  ContentWriteRequest,
  type ContentWriteResponse,
} from "../../src/common/containerd/generated/protocol.ts";
import { ClusterError, hasCode } from "../../src/common/errors/cluster-error.ts";
import {
  contentMessageBytes,
  contentMessagesUnderWayMax,
  imageBlobBytesMax,
} from "../../src/common/limits/runtime.ts";
import { digestOf } from "../../src/common/registry/repository.ts";
import type { ClientStream } from "../../src/common/rpc/channel.ts";
import { diskFull } from "./disk-full.ts";

/** Labels of a blob. */
export type BlobLabels = Readonly<Record<string, string>>;

/** What is to be written. */
export interface BlobWish {
  readonly digest: string;
  readonly sizeBytes: number;
  readonly lease: string;
  readonly signal: AbortSignal;
}

const abortAttemptsMax = 20;
const abortPauseMs = 25;

/** The content store through one client. @throws ClusterError of containerd's from every method */
export class ContentStore {
  readonly #client: ContainerdClient;
  readonly #clock: Clock;

  constructor(client: ContainerdClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /** undefined when it is not there. */
  async info(digest: string): Promise<ContentRecord | undefined> {
    try {
      return (await this.#client.call(ContentService.info, { digest })).info;
    } catch (error) {
      if (hasCode(error, "not-found")) return undefined;
      throw error;
    }
  }

  /** All blobs, by digest. */
  async all(): Promise<ReadonlyMap<string, ContentRecord>> {
    const found = new Map<string, ContentRecord>();
    for await (const { info } of this.#client.list(ContentService.list, {})) {
      for (const record of info) found.set(record.digest, record);
    }
    return found;
  }

  /** A blob as it is stored, from an offset on. */
  async *read(digest: string, offset = 0): AsyncGenerator<Uint8Array, void, void> {
    for await (const { data } of this.#client.list(ContentService.read, { digest, offset })) {
      yield data;
    }
  }

  /** A small blob whole: a manifest or a configuration. */
  async readWhole(digest: string): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of this.read(digest)) {
      length += piece.length;
      if (length > imageBlobBytesMax)
        throw new ClusterError("failed-precondition", `${digest} is too long for a manifest`);
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  /** Adds labels to a blob that is there. */
  async label(digest: string, labels: BlobLabels): Promise<void> {
    const paths = Object.keys(labels).map((name) => `labels.${name}`);
    if (paths.length === 0) return;
    await this.#client.call(ContentService.update, {
      info: { digest, size: 0, createdAt: undefined, updatedAt: undefined, labels },
      updateMask: { paths },
    });
  }

  /** Writes a small blob, or finds it there, and labels it. Resolves with its digest. */
  async put(
    body: Uint8Array,
    o: { readonly lease: string; readonly labels: BlobLabels; readonly signal: AbortSignal },
  ): Promise<string> {
    const digest = digestOf(body);
    const wish = { digest, sizeBytes: body.length, lease: o.lease, signal: o.signal };
    const ingest = await this.ingest(wish, `blob-${digest}`);
    if (ingest === undefined) {
      await this.label(digest, o.labels);
      return digest;
    }
    try {
      if (ingest.offsetBytes < body.length) await ingest.write(body.subarray(ingest.offsetBytes));
      await ingest.commit(o.labels);
    } finally {
      ingest.close();
    }
    return digest;
  }

  /**
   * Begins to write, or goes on with what an earlier writer left; undefined when the blob is there, now also for the lease.
   *
   * @param wish With an empty digest for content that is not known yet.
   * @throws ClusterError `unavailable` while another writer holds the reference.
   */
  async ingest(wish: BlobWish, ref: string): Promise<Ingest | undefined> {
    const stream = this.#client.stream(ContentService.write, {
      lease: wish.lease,
      signal: wish.signal,
    });
    const ingest = new Ingest(stream, { ...wish, ref });
    try {
      await ingest.begin();
      return ingest;
    } catch (error) {
      ingest.close();
      if (hasCode(error, "already-exists")) return undefined;
      throw diskFull(error);
    }
  }

  /** Forgets what was written under a reference. */
  async abort(ref: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#client.call(ContentService.abort, { ref });
        return;
      } catch (error) {
        if (hasCode(error, "not-found")) return;
        // A write that was just given up still closes its files, and their folder then cannot be removed.
        if (attempt >= abortAttemptsMax) throw error;
        await this.#clock.sleep(abortPauseMs);
      }
    }
  }

  /** References of all that is not committed. */
  async ingests(): Promise<readonly string[]> {
    const { statuses } = await this.#client.call(ContentService.listStatuses, {});
    return statuses.map(({ ref }) => ref);
  }
}

/** One write that goes on. */
export class Ingest {
  readonly #stream: ClientStream<ContentWriteRequest, ContentWriteResponse>;
  readonly #wish: BlobWish & { readonly ref: string };
  readonly #hash = createHash("sha256");
  /** Only content that is new from its first byte on can be hashed on the way. */
  readonly #hashes: boolean;
  #offset = 0;
  #answered = 0;
  #sent = 0;
  #failure: unknown;
  #committed: string | undefined;
  #wake: (() => void) | undefined;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;

  constructor(
    stream: ClientStream<ContentWriteRequest, ContentWriteResponse>,
    wish: BlobWish & { readonly ref: string },
  ) {
    this.#stream = stream;
    this.#wish = wish;
    this.#hashes = wish.digest === "";
  }

  /** Bytes that are there or on their way. */
  get offsetBytes(): number {
    return this.#offset + this.#waitingBytes;
  }

  /** Asks where to go on. */
  async begin(): Promise<void> {
    const { ref, sizeBytes, digest } = this.#wish;
    await this.#send({ action: "stat", ref, total: sizeBytes, expected: digest });
    const { value, done } = await this.#stream[Symbol.asyncIterator]().next();
    if (done === true) throw new ClusterError("unavailable", "containerd ended the write");
    this.#offset = value.offset;
    void this.#readAnswers();
  }

  /** Takes bytes in; resolves when there is room for more. */
  async write(data: Uint8Array): Promise<void> {
    this.#throwIfFailed();
    if (this.#hashes) this.#hash.update(data);
    this.#waiting.push(data);
    this.#waitingBytes += data.length;
    while (this.#waitingBytes >= contentMessageBytes) await this.#flush(contentMessageBytes);
  }

  /** Resolves when containerd has all of it, so that it outlasts the write: what is on its way goes with the stream. */
  async flush(): Promise<void> {
    await this.#handOn();
    await this.#until(() => this.#answered >= this.#sent);
  }

  /**
   * Makes it content. Resolves with its digest.
   *
   * @throws ClusterError `failed-precondition` when the digest is another one than was wished for.
   */
  async commit(labels: BlobLabels): Promise<string> {
    await this.#handOn();
    const expected = this.#hashes ? `sha256:${this.#hash.digest("hex")}` : this.#wish.digest;
    const { ref } = this.#wish;
    const total = this.#offset;
    await this.#send({
      ...{ action: "commit", ref, total, expected, labels },
      offset: total,
    });
    try {
      await this.#until(() => this.#committed !== undefined);
    } catch (error) {
      // Somebody else brought the same blob meanwhile.
      if (!hasCode(error, "already-exists")) throw error;
    }
    return expected;
  }

  /** Ends the stream; what was written stays under the reference. */
  close(): void {
    this.#failure ??= new ClusterError("cancelled", "the write is over");
    if (this.#committed === undefined) this.#stream.cancel();
    else this.#stream.end();
  }

  /** Sends what waits for more to come. */
  async #handOn(): Promise<void> {
    if (this.#waitingBytes > 0) await this.#flush(this.#waitingBytes);
  }

  /** Sends that many of the bytes that wait. */
  async #flush(length: number): Promise<void> {
    const all = this.#waiting.length === 1 ? this.#waiting[0] : Buffer.concat(this.#waiting);
    const data = (all ?? new Uint8Array(0)).subarray(0, length);
    const rest = (all ?? new Uint8Array(0)).subarray(length);
    this.#waiting = rest.length === 0 ? [] : [rest];
    this.#waitingBytes = rest.length;
    const { ref, sizeBytes, digest } = this.#wish;
    const offset = this.#offset;
    this.#offset += data.length;
    await this.#send({
      ...{ action: "write", ref, total: sizeBytes, expected: digest },
      ...{ offset, data },
    });
    await this.#until(() => this.#sent - this.#answered < contentMessagesUnderWayMax);
  }

  async #send(request: Partial<ContentWriteRequest>): Promise<void> {
    this.#sent++;
    try {
      await this.#stream.write(ContentWriteRequest.create(request));
    } catch (error) {
      throw diskFull(this.#failure ?? error);
    }
  }

  async #readAnswers(): Promise<void> {
    this.#answered++;
    try {
      for await (const answer of this.#stream) {
        this.#answered++;
        if (answer.action === "commit") this.#committed = answer.digest;
        this.#wake?.();
      }
      this.#failure ??= new ClusterError("unavailable", "containerd ended the write");
    } catch (error) {
      this.#failure ??= error;
    }
    this.#wake?.();
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      this.#throwIfFailed();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw diskFull(this.#failure);
  }
}
