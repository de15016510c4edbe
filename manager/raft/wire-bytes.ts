/**
 * Writing protobuf by hand (the wire format of protobuf.dev, "Encoding"), where a message is mostly the data of many entries.
 *
 * Pure. The generated code knows the length of a part only once it is written, and then moves the part to make room for it;
 * here lengths come first, so that all goes to its place at once. What is written reads back with the generated code.
 */

/** Wire type of bytes, strings and messages: a length, then as many bytes. */
const wireTypeLength = 2;

/** Tag of field `number` that holds a whole number. */
export function numberTag(number: number): number {
  return number << 3;
}

/** Tag of field `number` that holds bytes or a message. */
export function bytesTag(number: number): number {
  return (number << 3) | wireTypeLength;
}

/** How many bytes `value`, a whole number from 0 to 2^53, takes. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** Writes `value` at `at`; gives where it ends. */
export function putVarint(to: Uint8Array, at: number, value: number): number {
  let rest = value;
  let end = at;
  while (rest >= 128) {
    to[end++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  to[end] = rest;
  return end + 1;
}

/** How many bytes a field of `length` bytes takes, with its length and a tag of one byte. */
export function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

/** Writes a field of bytes at `at`; gives where it ends. */
export function putField(to: Uint8Array, at: number, tag: number, bytes: Uint8Array): number {
  to[at] = tag;
  const start = putVarint(to, at + 1, bytes.length);
  to.set(bytes, start);
  return start + bytes.length;
}
