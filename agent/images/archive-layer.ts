/**
 * Streams that come from users: which compression they have, told from their first bytes.
 */
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** How a stream is compressed. */
export type Compression = "none" | "gzip" | "zstd";

const magics: readonly { readonly name: string; readonly bytes: readonly number[] }[] = [
  { name: "gzip", bytes: [0x1f, 0x8b] },
  { name: "zstd", bytes: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: "bzip2", bytes: [0x42, 0x5a, 0x68] },
  { name: "xz", bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a] },
];

/** Longest of the marks above. */
const magicLength = 5;

/**
 * Looks at the first bytes; the stream given back has them too.
 *
 * @throws ClusterError `invalid-argument` for an empty stream and for compressions that are not supported
 */
export async function sniff(
  stream: AsyncIterable<Uint8Array>,
): Promise<{ readonly compression: Compression; readonly whole: AsyncIterable<Uint8Array> }> {
  const pieces = stream[Symbol.asyncIterator]();
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < magicLength) {
    const { value, done } = await pieces.next();
    if (done === true) break;
    head = head.length === 0 ? value : Buffer.concat([head, value]);
  }
  if (head.length === 0) throw new ClusterError("invalid-argument", "the archive is empty");
  const found = magics.find(({ bytes }) => bytes.every((byte, i) => head[i] === byte))?.name;
  if (found === "bzip2" || found === "xz") {
    throw new ClusterError(
      "invalid-argument",
      `archives compressed with ${found} are not supported: give it as tar or tar.gz`,
    );
  }
  const whole = (async function* () {
    yield head;
    yield* { [Symbol.asyncIterator]: () => pieces };
  })();
  return { compression: (found ?? "none") as Compression, whole };
}

/** The stream without its compression. @throws ClusterError `invalid-argument` for zstd */
export async function plainTar(stream: AsyncIterable<Uint8Array>): Promise<Readable> {
  const { compression, whole } = await sniff(stream);
  if (compression === "zstd") {
    throw new ClusterError(
      "invalid-argument",
      "archives compressed with zstd are not supported: give it as tar or tar.gz",
    );
  }
  const source = Readable.from(whole, { objectMode: false });
  if (compression === "none") return source;
  const gunzip = createGunzip();
  source.once("error", (error) => gunzip.destroy(error));
  return source.pipe(gunzip);
}
