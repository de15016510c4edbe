/**
 * Reads an image archive once, from its beginning: large files go straight into the content store, small ones into memory.
 *
 * What the files mean is for `load.ts`, when all are there: archives have their list of contents at the end.
 */
import { posix } from "node:path";
import { extract } from "tar-stream";
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import { archiveFilesBytesMax, imageBlobBytesMax } from "../../src/common/limits/runtime.ts";
import { plainTar, sniff } from "./archive-layer.ts";
import type { ContentStore } from "./content.ts";

/** A file of the archive, which is in the content store now. */
export interface StoredFile {
  readonly digest: string;
  readonly sizeBytes: number;
  readonly isGzip: boolean;
}

/** What was in the archive. */
export interface ArchiveContents {
  /** Whole, by path. */
  readonly small: ReadonlyMap<string, Uint8Array>;
  /** In the content store, by path; links to a file have its path's entry too. */
  readonly stored: ReadonlyMap<string, StoredFile>;
}

/** Where it is read to. */
export interface ArchivePlace {
  readonly content: ContentStore;
  readonly lease: string;
  /** Different for every archive. */
  readonly name: string;
  readonly signal: AbortSignal;
}

/**
 * Reads the archive to its end; nothing that was begun is left when that fails.
 *
 * @throws ClusterError `invalid-argument` when it is no tar file or not whole, `failed-precondition` when a blob is not what
 *   its name says, `resource-exhausted` when the disk is full
 */
export async function readArchive(
  place: ArchivePlace,
  archive: AsyncIterable<Uint8Array>,
): Promise<ArchiveContents> {
  const source = await plainTar(archive);
  const tar = extract();
  // The reader of the entries hears of it.
  source.once("error", (error) => tar.destroy(error));
  source.pipe(tar);
  const reader = new Reader(place);
  try {
    for await (const entry of tar) {
      const { name, type, linkname, size } = entry.header;
      const path = posix.normalize(name).replace(/^\/+/, "");
      const data = entry as AsyncIterable<Uint8Array>;
      if (type === "file" || type === "contiguous-file") await reader.file(path, size ?? 0, data);
      else {
        if (type === "link" || type === "symlink")
          reader.link(path, linkname ?? "", { isHard: type === "link" });
        entry.resume();
      }
    }
  } catch (error) {
    await reader.giveUp();
    if (error instanceof ClusterError) throw error;
    throw new ClusterError("invalid-argument", `the archive cannot be read: ${errorText(error)}`, {
      cause: error,
    });
  } finally {
    source.destroy();
  }
  return reader.contents();
}

class Reader {
  readonly #place: ArchivePlace;
  readonly #small = new Map<string, Uint8Array>();
  readonly #stored = new Map<string, StoredFile>();
  readonly #links = new Map<string, string>();
  readonly #refs = new Set<string>();
  #smallBytes = 0;

  constructor(place: ArchivePlace) {
    this.#place = place;
  }

  async file(path: string, sizeBytes: number, data: AsyncIterable<Uint8Array>): Promise<void> {
    const blob = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (blob !== undefined) {
      await this.#store(path, { digest: `sha256:${blob}`, sizeBytes }, data);
    } else if (isSmall(path) && sizeBytes <= imageBlobBytesMax) await this.#keep(path, data);
    else await this.#store(path, { digest: "", sizeBytes }, data);
  }

  link(path: string, target: string, o: { readonly isHard: boolean }): void {
    const from = o.isHard ? "" : posix.dirname(path);
    this.#links.set(path, posix.normalize(posix.join(from, target)).replace(/^\/+/, ""));
  }

  contents(): ArchiveContents {
    const stored = new Map(this.#stored);
    for (const [path, target] of this.#links) {
      const file = this.#stored.get(this.#links.get(target) ?? target);
      if (file !== undefined) stored.set(path, file);
    }
    return { small: this.#small, stored };
  }

  /** Forgets what is half written. */
  async giveUp(): Promise<void> {
    for (const ref of this.#refs) {
      await this.#place.content.abort(ref).catch(() => {
        // The end of the lease takes it too, only later.
      });
    }
  }

  async #keep(path: string, data: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = [];
    for await (const piece of data) {
      this.#smallBytes += piece.length;
      if (this.#smallBytes > archiveFilesBytesMax) {
        throw new ClusterError(
          "invalid-argument",
          `the archive has more than ${archiveFilesBytesMax} bytes in files that are no layers`,
        );
      }
      pieces.push(piece);
    }
    this.#small.set(path, Buffer.concat(pieces));
  }

  async #store(
    path: string,
    o: { readonly digest: string; readonly sizeBytes: number },
    data: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    if (o.sizeBytes === 0) return;
    const { content, lease, signal, name } = this.#place;
    const ref = `${name}-${this.#stored.size}`;
    const { compression, whole } = await sniff(data);
    const ingest = await content.ingest({ ...o, lease, signal }, ref);
    this.#refs.add(ref);
    let { digest } = o;
    if (ingest === undefined) for await (const _ of whole);
    else {
      try {
        for await (const piece of whole) await ingest.write(piece);
        digest = await ingest.commit({});
      } catch (error) {
        if (!hasCode(error, "failed-precondition")) throw error;
        throw new ClusterError("failed-precondition", `${path} is not what its name says`, {
          cause: error,
        });
      } finally {
        ingest.close();
      }
    }
    this.#refs.delete(ref);
    this.#stored.set(path, { digest, sizeBytes: o.sizeBytes, isGzip: compression === "gzip" });
  }
}

/** Lists and configurations; all else is a layer. */
function isSmall(path: string): boolean {
  return /\.json$|(?:^|\/)(?:repositories|oci-layout|VERSION|json)$/.test(path);
}
