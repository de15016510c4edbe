/**
 * What the programs that lead streams past rules share: maps, where things are in them, in packets and on the stack. Pure.
 */
import type { MapShape } from "../bpf/map-shape.ts";

/** The maps of the programs of one namespace, by name. */
export const maps = {
  /** What becomes of packets, by stream; those not used for the longest time make room. */
  streams: { type: 9, key: 28, value: 80, entriesMax: 16_384 },
  /** The packet that this processor carries. */
  noted: { type: 6, key: 4, value: 56, entriesMax: 1 },
  /** Number of the last change, under 0. */
  changes: { type: 2, key: 4, value: 8, entriesMax: 1 },
} as const satisfies Readonly<Record<string, MapShape>>;

/** What programs call of the kernel (linux/bpf.h). */
export const kernel = {
  lookUp: 1,
  update: 2,
  delete: 3,
  clock: 5,
  replaceSum: 11,
  redirect: 23,
  difference: 28,
  changeType: 32,
  redirectPeer: 155,
} as const;
/** Of `struct __sk_buff`. */
export const frame = {
  ...{ mark: 8, vlan: 20, device: 40, data: 76, dataEnd: 80, segment: 176 },
} as const;
/** Of a packet: hardware addresses, IPv4 without options, TCP. */
export const packet = {
  ...{ macs: 0, type: 12, version: 14, service: 15, length: 16, id: 18, part: 20, hops: 22 },
  protocol: 23,
  ...{ headSum: 24, source: 26, destination: 30, ports: 34, sequence: 38, answered: 42 },
  ...{ tcpLength: 46, tcpFlags: 47, tcpSum: 50, bytes: 54 },
} as const;
/** Bytes of the header of IPv4. */
export const headBytes = 20;
/** In the order of the network, as the machine reads it. */
export const ipv4 = 0x0008;
/** Version 4, and a header without options. */
export const plainHeader = 0x45;
/** Number of the protocol in a header of IPv4. */
export const tcp = 6;
/** Offset of a part of a packet, and that more follow. */
export const isPart = 0xff3f;
/** FIN, SYN and RST. */
export const beginsOrEnds = 7;
/** What a checksum covers beside the packet itself: addresses (BPF_F_PSEUDO_HDR). */
export const ofAddresses = 0x10;
/** Of `streams`: a key. */
export const stream = { device: 0, macs: 4, source: 16, destination: 20, ports: 24 } as const;
/** Of `streams`: what becomes of packets. */
export const fate = {
  ...{ until: 0, device: 8, largest: 12, source: 16, destination: 20, ports: 24, mark: 28 },
  ...{ addressesBy: 32, portsBy: 36, headBy: 40, macs: 44, hops: 56, jumps: 60 },
  ...{ change: 64, packets: 72, bytes: 80 },
} as const;
/** Of `noted`, behind the stream. */
export const noted = {
  isNoted: 28,
  sequence: 32,
  answered: 36,
  id: 40,
  length: 44,
  hops: 48,
} as const;
/** Others may have programs here, too: theirs decide. */
export const goOn = -1;
/** Where a packet was half rewritten. */
export const drop = 2;
/** On the stack, from its end. */
export const stack = { stream: -32, index: -36, segment: -40, fate: -120 } as const;
/** Hops that a packet makes between two programs, at most. */
export const hopsMax = 8;
