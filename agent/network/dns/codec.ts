/**
 * The part of npm's dns-packet that is used here, with its types: the package has none of its own.
 */
import { createRequire } from "node:module";

/** A question of a message. */
export interface PacketQuestion {
  readonly name: string;
  /** Upper case; `UNKNOWN_n` for types it does not know. */
  readonly type: string;
  readonly class: string;
}

/** A record of a message. */
export interface PacketRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  readonly data: unknown;
  /** Of type OPT only. */
  readonly udpPayloadSize?: number;
}

/** A message. */
export interface Packet {
  readonly id: number;
  readonly type: "query" | "response";
  readonly rcode: string;
  readonly flag_rd: boolean;
  readonly flag_tc: boolean;
  readonly flag_aa: boolean;
  readonly questions: readonly PacketQuestion[];
  readonly answers: readonly PacketRecord[];
  readonly additionals: readonly PacketRecord[];
}

interface DnsPacket {
  decode(bytes: Uint8Array): Packet;
  encode(packet: object): Buffer;
  readonly name: {
    encode(name: string): Buffer;
    /** Leaves the length of what it read in `bytes`. */
    decode: { (bytes: Uint8Array, offset: number): string; bytes: number };
  };
}

const dnsPacket = createRequire(import.meta.url)("dns-packet") as DnsPacket;

/** Reads a message. @throws Error for bytes that are none. */
export function decode(bytes: Uint8Array): Packet {
  return dnsPacket.decode(bytes);
}

/** Writes a message. */
export function encode(packet: object): Buffer {
  return dnsPacket.encode(packet);
}

/** Writes a name alone. */
export function encodeName(name: string): Buffer {
  return dnsPacket.name.encode(name);
}

/** Where the name ends that begins at an offset. @throws Error when there is none. */
export function nameEnd(bytes: Uint8Array, offset: number): number {
  dnsPacket.name.decode(bytes, offset);
  return offset + dnsPacket.name.decode.bytes;
}
