/**
 * Entries of the maps of the programs at `connect`, as the programs read them, there and back. Pure.
 */
import { formatAddress, parseAddress } from "../../../src/common/spec/cidr.ts";
import { addressBytes, countSlot, maps } from "./programs.ts";

/** Key of `maps.backends`. */
export function backendKey(table: number, address: string, slot: number): Uint8Array {
  const key = Buffer.alloc(8 + addressBytes);
  key.writeUInt32LE(table, 0);
  key.set(addressOf(address), 4);
  key.writeUInt32LE(slot, 4 + addressBytes);
  return key;
}

/** Value of `maps.backends`: how many slots there are. */
export function countOf(slots: number): Uint8Array {
  const value = Buffer.alloc(addressBytes);
  value.writeUInt32LE(slots, 0);
  return value;
}

/** Value of `maps.backends`: a backend, in the order of the network. */
export function addressOf(text: string): Uint8Array {
  const bytes = Buffer.alloc(addressBytes);
  if (text.includes(":")) {
    const digits = (parseAddress(text)?.value ?? 0n).toString(16);
    bytes.write(digits.padStart(2 * addressBytes, "0"), "hex");
    return bytes;
  }
  bytes.fill(0xff, 10, 12);
  text.split(".").forEach((part, at) => {
    bytes[12 + at] = Number(part);
  });
  return bytes;
}

/** Entries with keys and values as text of their bytes. */
export function entriesIn(rows: Uint8Array, { key, value }: (typeof maps)["spaces" | "backends"]) {
  const bytes = Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength);
  const found = new Map<string, string>();
  for (let at = 0; at < bytes.length; at += key + value) {
    found.set(
      bytes.toString("latin1", at, at + key),
      bytes.toString("latin1", at + key, at + key + value),
    );
  }
  return found;
}

/**
 * Where the programs lead service addresses of one namespace, those of slots that are not drawn left out.
 *
 * @param cookie By which they know the namespace.
 * @returns Undefined when they do not know it.
 */
export function ledBy(
  rows: { readonly spaces: Uint8Array; readonly backends: Uint8Array },
  cookie: Uint8Array,
): Map<string, Set<string>> | undefined {
  const space = entriesIn(rows.spaces, maps.spaces).get(Buffer.from(cookie).toString("latin1"));
  if (space === undefined) return undefined;
  const slots = new Map<string, { counted: number; places: [slot: number, backend: string][] }>();
  for (const [key, value] of entriesIn(rows.backends, maps.backends)) {
    if (!key.startsWith(space)) continue;
    const [name, bytes] = [Buffer.from(key, "latin1"), Buffer.from(value, "latin1")];
    const address = addressText(name.subarray(4, 4 + addressBytes));
    const of = slots.get(address) ?? { counted: 0, places: [] };
    slots.set(address, of);
    const slot = name.readUInt32LE(4 + addressBytes);
    if (slot === countSlot) of.counted = bytes.readUInt32LE();
    else of.places.push([slot, addressText(bytes)]);
  }
  return new Map(
    [...slots].map(([address, { counted, places }]) => {
      const drawn = places.filter(([slot]) => slot < counted).map(([, backend]) => backend);
      return [address, new Set(drawn)];
    }),
  );
}

function addressText(bytes: Buffer): string {
  const isFour = bytes.readBigUInt64BE() === 0n && bytes.readUInt32BE(8) === 0xffff;
  if (isFour) return [...bytes.subarray(12)].join(".");
  return formatAddress({ family: 6, value: BigInt(`0x${bytes.toString("hex")}`) });
}
