/**
 * Messages of netlink(7) and their attributes, to and from bytes (linux/netlink.h). Pure.
 *
 * In the byte order of the machine, which is little-endian on all that Skep runs on; what is in that of the network says so.
 */

const headerBytes = 16;
const attributeHeaderBytes = 4;
/** Flags of an attribute's type: nested, and in network byte order. */
const typeMask = 0x3fff;
const nestedFlag = 0x8000;

/** NLM_F_… of a message. */
export const messageFlags = {
  request: 1,
  acknowledge: 4,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  dump: 0x300,
} as const;

/** Types that all protocols of netlink have. */
export const messageTypes = { error: 2, done: 3 } as const;

/** A message: its type and flags, then the parts of its body, each of whole words. */
export function message(type: number, flags: number, ...body: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(headerBytes);
  const whole = Buffer.concat([header, ...body]);
  whole.writeUInt32LE(whole.length, 0);
  whole.writeUInt16LE(type, 4);
  whole.writeUInt16LE(flags | messageFlags.request, 6);
  return whole;
}

/** An attribute, padded to whole words. */
export function attribute(type: number, value: Buffer): Buffer {
  const length = attributeHeaderBytes + value.length;
  const bytes = Buffer.alloc(aligned(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  value.copy(bytes, attributeHeaderBytes);
  return bytes;
}

/** An attribute that holds others. */
export function nested(type: number, ...parts: readonly Buffer[]): Buffer {
  return attribute(type | nestedFlag, Buffer.concat(parts));
}

/** A text that ends with a zero. */
export function text(type: number, value: string): Buffer {
  return attribute(type, Buffer.from(`${value}\0`));
}

/** One byte. */
export function byte(type: number, value: number): Buffer {
  return attribute(type, Buffer.of(value));
}

/** Two bytes. */
export function short(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return attribute(type, bytes);
}

/** Two bytes in network order, such as a port. */
export function networkShort(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return attribute(type, bytes);
}

/** Four bytes. */
export function word(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return attribute(type, bytes);
}

/** A message as it came. */
export interface Received {
  readonly type: number;
  readonly flags: number;
  readonly body: Buffer;
}

/** The messages of one answer. */
export function messagesIn(answer: Buffer): Received[] {
  const found: Received[] = [];
  for (let at = 0; at + headerBytes <= answer.length; ) {
    const length = answer.readUInt32LE(at);
    if (length < headerBytes) break;
    const type = answer.readUInt16LE(at + 4);
    const flags = answer.readUInt16LE(at + 6);
    found.push({ type, flags, body: answer.subarray(at + headerBytes, at + length) });
    at += aligned(length);
  }
  return found;
}

/** Attributes by type; of several with the same type the last. */
export function attributesIn(bytes: Buffer | undefined): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  if (bytes === undefined) return found;
  for (let at = 0; at + attributeHeaderBytes <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < attributeHeaderBytes) break;
    const type = bytes.readUInt16LE(at + 2) & typeMask;
    found.set(type, bytes.subarray(at + attributeHeaderBytes, at + length));
    at += aligned(length);
  }
  return found;
}

/** The text of an attribute; empty without one. */
export function textIn(value: Buffer | undefined): string {
  return value?.toString("latin1").replace(/\0.*$/s, "") ?? "";
}

/** The number of an attribute of up to four bytes; 0 without one. */
export function numberIn(value: Buffer | undefined): number {
  return value === undefined || value.length === 0
    ? 0
    : value.readUIntLE(0, Math.min(4, value.length));
}

const acknowledgementFlags = { capped: 0x100, attributes: 0x200 } as const;
const wordsOfKernel = 1;

/** What an acknowledgement says: the number of the error, 0 for none, and the kernel's words if it has any. */
export function errorIn({ flags, body }: Received): {
  readonly errno: number;
  readonly words: string;
} {
  const errno = -body.readInt32LE(0);
  if ((flags & acknowledgementFlags.attributes) === 0) return { errno, words: "" };
  const asked = body.readUInt32LE(4);
  const isCapped = (flags & acknowledgementFlags.capped) !== 0;
  const begin = 4 + (isCapped ? headerBytes : aligned(asked));
  return { errno, words: textIn(attributesIn(body.subarray(begin)).get(wordsOfKernel)) };
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}
