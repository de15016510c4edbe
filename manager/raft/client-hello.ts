/**
 * Reads which server a TLS client asks for, from the first bytes of its connection (RFC 8446 section 4.1.2, RFC 6066
 * section 3).
 *
 * Pure. Used by `front.ts` to send Raft peers and everybody else to different servers behind one port. It only looks:
 * whoever is given the connection parses and judges the same bytes anew.
 */

/** What the first bytes say; `more` while they are not complete, `not-tls` when they never will be. */
export type HelloVerdict =
  | { readonly kind: "more" }
  | { readonly kind: "not-tls" }
  | { readonly kind: "hello"; readonly serverName: string | undefined };

const more: HelloVerdict = { kind: "more" };
const notTls: HelloVerdict = { kind: "not-tls" };

const contentTypeHandshake = 22;
const handshakeClientHello = 1;
const extensionServerName = 0;
const nameTypeHost = 0;
const recordHeaderBytes = 5;
const recordBytesMax = 16_384;

/** Judges the bytes received so far. */
export function readClientHello(bytes: Uint8Array): HelloVerdict {
  const message = handshakeBytes(bytes);
  if (!(message instanceof Uint8Array)) return message;
  if (message.length < 4)
    return message.length > 0 && message[0] !== handshakeClientHello ? notTls : more;
  if (message[0] !== handshakeClientHello) return notTls;
  const length = ((message[1] ?? 0) << 16) | ((message[2] ?? 0) << 8) | (message[3] ?? 0);
  if (message.length < 4 + length) return more;
  try {
    return { kind: "hello", serverName: serverNameOf(message.subarray(4, 4 + length)) };
  } catch {
    // A length that points outside the message: no TLS client sends that.
    return notTls;
  }
}

/** Joins the handshake bytes of the leading TLS records; the last one may be incomplete. */
function handshakeBytes(bytes: Uint8Array): Uint8Array | HelloVerdict {
  const parts: Uint8Array[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] !== contentTypeHandshake) return at === 0 ? notTls : Buffer.concat(parts);
    if (at + 1 < bytes.length && bytes[at + 1] !== 3) return notTls;
    if (at + recordHeaderBytes > bytes.length) break;
    const length = ((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0);
    if (length === 0 || length > recordBytesMax) return notTls;
    parts.push(bytes.subarray(at + recordHeaderBytes, at + recordHeaderBytes + length));
    at += recordHeaderBytes + length;
  }
  return Buffer.concat(parts);
}

function serverNameOf(hello: Uint8Array): string | undefined {
  const reader = new ByteReader(hello);
  reader.skip(2 + 32);
  reader.skip(reader.number(1));
  reader.skip(reader.number(2));
  reader.skip(reader.number(1));
  if (reader.left === 0) return undefined;
  const extensions = new ByteReader(reader.take(reader.number(2)));
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const body = extensions.take(extensions.number(2));
    if (type === extensionServerName) return hostNameOf(new ByteReader(body));
  }
  return undefined;
}

function hostNameOf(list: ByteReader): string | undefined {
  const names = new ByteReader(list.take(list.number(2)));
  while (names.left > 0) {
    const type = names.number(1);
    const name = names.take(names.number(2));
    if (type === nameTypeHost) return Buffer.from(name).toString("latin1").toLowerCase();
  }
  return undefined;
}

/** Reads big-endian numbers and slices, and throws at the end of the bytes. */
class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(length: number): Uint8Array {
    if (length > this.left) throw new RangeError("beyond the end");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  skip(length: number): void {
    this.take(length);
  }

  number(length: number): number {
    let value = 0;
    for (const byte of this.take(length)) value = value * 256 + byte;
    return value;
  }
}
