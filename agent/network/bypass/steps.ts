/**
 * Steps of both programs that lead streams past rules: what they look for in packets, and how they copy it. Pure.
 */
import {
  add,
  addRegister,
  and,
  call,
  copy,
  fromNetwork,
  goIfEqual,
  goIfGreater,
  goUnlessEqual,
  load,
  mark,
  type Register,
  type Step,
  set,
  setMap,
  shiftDown,
  shiftUp,
  store,
} from "../bpf/assembler.ts";
import {
  frame,
  headBytes,
  ipv4,
  isPart,
  kernel,
  noted,
  packet,
  plainHeader,
  stack,
  tcp,
} from "./layout.ts";

/** Register 0 points to the packet that this processor carries. */
export function lookUpNoted(): Step[] {
  return lookUp("noted");
}

/** Register 0 points to the number of the last change. */
export function lookUpChange(): Step[] {
  return lookUp("changes");
}

function lookUp(map: string): Step[] {
  return [
    set(1, 0),
    store(4, 10, stack.index, 1),
    copy(2, 10),
    add(2, stack.index),
    setMap(1, map),
    call(kernel.lookUp),
    goIfEqual(0, 0, "long way"),
  ];
}

/** Registers 1 and 2 are `streams` and the key on the stack. */
export function withStream(): Step[] {
  return [copy(2, 10), add(2, stack.stream), setMap(1, "streams")];
}

/** A register points to the packet; one that is too short goes the long way. */
export function readPacket(to: Register, otherwise = "long way"): Step[] {
  return [
    load(4, to, 6, frame.data),
    load(4, 3, 6, frame.dataEnd),
    copy(4, to),
    add(4, packet.bytes),
    goIfGreater(4, 3, otherwise),
  ];
}

/** All others go the long way. */
export function plainTcp(at: Register): Step[] {
  return [
    load(4, 5, 6, frame.vlan),
    goUnlessEqual(5, 0, "long way"),
    load(2, 5, at, packet.type),
    goUnlessEqual(5, ipv4, "long way"),
    load(1, 5, at, packet.version),
    goUnlessEqual(5, plainHeader, "long way"),
    load(1, 5, at, packet.protocol),
    goUnlessEqual(5, tcp, "long way"),
    load(2, 5, at, packet.part),
    and(5, isPart),
    goUnlessEqual(5, 0, "long way"),
  ];
}

/** Register 1 is the size of the packet, or of each of those it is to be cut into. */
export function sizeOfSegments(at: Register): Step[] {
  return [
    load(2, 1, at, packet.length),
    fromNetwork(1),
    load(4, 2, 6, frame.segment),
    goIfEqual(2, 0, "whole"),
    load(1, 1, at, packet.tcpLength),
    and(1, 0xf0),
    shiftDown(1, 2),
    add(1, headBytes),
    addRegister(1, 2),
    mark("whole"),
  ];
}

/** Register 3 becomes a sum of 16 bits: what is above is added below, and once more if that carries. */
export function fold(): Step[] {
  const once = [copy(4, 3), and(3, 0xffff), shiftDown(4, 16), addRegister(3, 4)];
  return [...once, ...once];
}

/** By two bytes: where hardware addresses begin in a frame, larger values may not be read on every machine. */
export function copyMacs(
  { from, offset }: { readonly from: Register; readonly offset: number },
  target: { readonly to: Register; readonly offset: number },
): Step[] {
  return [0, 2, 4, 6, 8, 10].flatMap((pair) => [
    load(2, 5, from, offset + pair),
    store(2, target.to, target.offset + pair, 5),
  ]);
}

/** Where in a packet, a stream or a fate the addresses and ports are. */
interface Places {
  readonly source: number;
  readonly destination: number;
  readonly ports: number;
}

/** Addresses and ports, from one of these to another. */
export function copyPlaces(
  { from, of }: { readonly from: Register; readonly of: Places },
  target: { readonly to: Register; readonly base: number; readonly of: Places },
): Step[] {
  return (["source", "destination", "ports"] as const).flatMap((place) => [
    load(4, 5, from, of[place]),
    store(4, target.to, target.base + target.of[place], 5),
  ]);
}

/** What of a packet stays as it is on the long way, read to register 5, and where it is in a note. */
export const ofPacket: readonly { readonly read: readonly Step[]; readonly at: number }[] = [
  { read: [load(4, 5, 9, packet.sequence)], at: noted.sequence },
  { read: [load(4, 5, 9, packet.answered)], at: noted.answered },
  {
    read: [
      load(2, 5, 9, packet.id),
      load(1, 4, 9, packet.service),
      shiftUp(4, 16),
      addRegister(5, 4),
    ],
    at: noted.id,
  },
  { read: [load(2, 5, 9, packet.length)], at: noted.length },
];
