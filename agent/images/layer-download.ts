/**
 * Brings one layer from a registry into the content store: goes on after cuts, checks the digest, forgets what is false.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError, hasCode } from "../../src/common/errors/cluster-error.ts";
import {
  layerAttemptsMax,
  layerRetryMs,
  progressPeriodMs,
} from "../../src/common/limits/runtime.ts";
import type { Descriptor } from "../../src/common/registry/manifest.ts";
import type { Repository } from "../../src/common/registry/repository.ts";
import type { ContentStore, Ingest } from "./content.ts";
import type { Report } from "./shared-work.ts";

/** One download. */
export interface LayerDownload {
  readonly repository: Repository;
  readonly content: ContentStore;
  readonly layer: Descriptor;
  readonly lease: string;
  readonly clock: Clock;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/** Reference under which a layer is written. */
export function layerRef(digest: string): string {
  return `layer-${digest}`;
}

/** First twelve characters of a digest, as Docker shows layers. */
export function shortDigest(digest: string): string {
  return digest.slice(digest.indexOf(":") + 1, digest.indexOf(":") + 13);
}

/**
 * Resolves when the layer is content, checked.
 *
 * @throws ClusterError `failed-precondition` when the registry's content is not what its digest says, `unavailable` when
 *   several attempts in a row brought nothing, `resource-exhausted` when the disk is full.
 */
export async function downloadLayer(d: LayerDownload): Promise<void> {
  const attempts = new Attempts(d);
  let mayBeStale = true;
  for (;;) {
    const ingest = await openIngest(d, attempts);
    if (ingest === undefined) return;
    const isResumed = ingest.offsetBytes > 0;
    try {
      await fill(d, ingest, attempts);
      progress(d, "Verifying Checksum");
      await ingest.commit({});
      progress(d, "Download complete");
      return;
    } catch (error) {
      ingest.close();
      d.signal.throwIfAborted();
      if (hasCode(error, "failed-precondition") || hasCode(error, "out-of-range")) {
        // Kept, it would be gone on with for ever.
        await d.content.abort(layerRef(d.layer.digest));
        // What an earlier attempt left may have been the false part.
        if (!isResumed || !mayBeStale) throw isFalse(d, error);
        mayBeStale = false;
      } else if (hasCode(error, "unavailable")) await attempts.failed(error);
      else throw error;
    } finally {
      ingest.close();
    }
  }
}

/** Counts attempts that brought nothing, and pauses between them. */
class Attempts {
  readonly #d: LayerDownload;
  #inVain = 0;

  constructor(d: LayerDownload) {
    this.#d = d;
  }

  broughtSomething(): void {
    this.#inVain = 0;
  }

  /** @throws the error when it was the last attempt */
  async failed(error: unknown): Promise<void> {
    this.#d.signal.throwIfAborted();
    if (++this.#inVain >= layerAttemptsMax) throw error;
    const pauseMs = this.#inVain * layerRetryMs;
    const seconds = Math.ceil(pauseMs / 1000);
    progress(this.#d, `Retrying in ${seconds} second${seconds === 1 ? "" : "s"}`);
    await this.#d.clock.sleep(pauseMs, this.#d.signal);
  }
}

/** undefined when the layer is there. Waits while the reference is held by a write that has just been given up. */
async function openIngest(d: LayerDownload, attempts: Attempts): Promise<Ingest | undefined> {
  const { layer, lease, signal } = d;
  const wish = { digest: layer.digest, sizeBytes: layer.sizeBytes, lease, signal };
  for (;;) {
    try {
      return await d.content.ingest(wish, layerRef(layer.digest));
    } catch (error) {
      signal.throwIfAborted();
      if (!hasCode(error, "unavailable")) throw error;
      await attempts.failed(error);
    }
  }
}

/** Writes what is missing. Failures of the registry are got over here, those of containerd are thrown. */
async function fill(d: LayerDownload, ingest: Ingest, attempts: Attempts): Promise<void> {
  const { digest, sizeBytes } = d.layer;
  let reportedMs = Number.NEGATIVE_INFINITY;
  while (ingest.offsetBytes < sizeBytes) {
    const before = ingest.offsetBytes;
    let isWriting = false;
    try {
      const blob = await d.repository.blob(digest, before);
      // A registry without ranges begins anew.
      let skip = before - blob.offsetBytes;
      for await (const piece of blob.chunks) {
        const data = piece.subarray(Math.min(skip, piece.length));
        skip -= piece.length - data.length;
        if (data.length === 0) continue;
        if (ingest.offsetBytes + data.length > sizeBytes) throw tooLong(d);
        isWriting = true;
        await ingest.write(data);
        isWriting = false;
        if (d.clock.monotonic() - reportedMs < progressPeriodMs) continue;
        reportedMs = d.clock.monotonic();
        progress(d, "Downloading", ingest.offsetBytes);
      }
      if (ingest.offsetBytes < sizeBytes)
        throw new ClusterError("unavailable", `the registry sent too little of ${digest}`);
    } catch (error) {
      const mayPass = hasCode(error, "unavailable") || hasCode(error, "resource-exhausted");
      if (isWriting || !mayPass) throw error;
      d.signal.throwIfAborted();
      await ingest.flush();
      if (ingest.offsetBytes > before) attempts.broughtSomething();
      else await attempts.failed(error);
    }
  }
}

function progress(d: LayerDownload, status: string, currentBytes = 0): void {
  const totalBytes = currentBytes === 0 ? 0 : d.layer.sizeBytes;
  d.report({ id: shortDigest(d.layer.digest), status, currentBytes, totalBytes });
}

function tooLong(d: LayerDownload): ClusterError {
  return new ClusterError(
    "failed-precondition",
    `more than the ${d.layer.sizeBytes} bytes that the manifest says`,
  );
}

function isFalse(d: LayerDownload, cause: unknown): ClusterError {
  const { digest } = d.layer;
  return new ClusterError(
    "failed-precondition",
    `filesystem layer verification failed for digest ${digest}: registry ${d.repository.domain} sent something else`,
    { cause },
  );
}
