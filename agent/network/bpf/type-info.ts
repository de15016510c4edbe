/**
 * Types of a map's keys and values as the kernel wants to be told them (BTF): numbers of 32 bits, and a row of them. Pure.
 */

/** Ids of the types in `wordTypes`, from 1 in their order. */
export const typeIds = { word: 1, row: 2 } as const;

const head = { magic: 0xeb9f, version: 1, bytes: 24 } as const;
const kinds = { number: 1, row: 3 } as const;
const names = Buffer.from("\0int\0");
const wordBytes = 4;
/** A number with a sign, of so many bits. */
const signedBits = (1 << 24) | 32;

/** A number, and a row of so many. */
export function wordTypes(count: number): Buffer {
  const word = words(1, kinds.number << 24, wordBytes, signedBits);
  const row = words(0, kinds.row << 24, 0, typeIds.word, typeIds.word, count);
  const header = Buffer.alloc(head.bytes);
  header.writeUInt16LE(head.magic, 0);
  header.writeUInt8(head.version, 2);
  header.writeUInt32LE(head.bytes, 4);
  // Where types and names begin behind the header, and how long they are.
  header.writeUInt32LE(word.length + row.length, 12);
  header.writeUInt32LE(word.length + row.length, 16);
  header.writeUInt32LE(names.length, 20);
  return Buffer.concat([header, word, row, names]);
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * wordBytes);
  values.forEach((value, at) => {
    bytes.writeUInt32LE(value, at * wordBytes);
  });
  return bytes;
}
