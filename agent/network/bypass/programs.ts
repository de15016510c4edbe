/**
 * The programs that let the streams of published ports go past tracking, rules and routes: one where packets come in, one where
 * they leave. Pure.
 *
 * Tracking, rules and routes stay the only ones who know. A packet that comes in is noted; when it leaves, what has become of it
 * is kept for a moment: addresses, ports, hop count, hardware addresses, device. Meanwhile the next ones of the same stream are
 * made the same and handed on at once. After that one packet goes the long way again, and so does everything that begins
 * or ends a stream, that has options of IP or is a part of a larger packet, and that is larger than those that have gone the
 * long way: what does not fit is told so there. So nothing outlives a change by more than that moment, wherever it was made,
 * and changes of the daemon, which raises a number at each, by nothing. Streams that carry little always go the long way.
 *
 * TCP over IPv4 alone. Both hardware addresses belong to a stream, so that those of two nodes with the same addresses and ports
 * stay apart, as zones of tracking keep them.
 */
import { streamPacketsMin } from "../../../src/common/limits/network.ts";
import {
  addRegister,
  and,
  call,
  copy,
  exit,
  flip,
  go,
  goIfEqual,
  goIfGreater,
  goUnlessSame,
  load,
  mark,
  type Step,
  set,
  store,
  subtractRegister,
} from "../bpf/assembler.ts";
import {
  beginsOrEnds,
  drop,
  fate,
  frame,
  goOn,
  kernel,
  noted,
  ofAddresses,
  packet,
  stack,
  stream,
} from "./layout.ts";
import {
  copyMacs,
  copyPlaces,
  fold,
  lookUpChange,
  lookUpNoted,
  ofPacket,
  plainTcp,
  readPacket,
  sizeOfSegments,
  withStream,
} from "./steps.ts";

export { maps } from "./layout.ts";
export { leaving } from "./leaving.ts";

/** Where packets come in: does with those of known streams what was done with the ones before. */
export function arriving(): Step[] {
  return [
    copy(6, 1),
    ...lookUpNoted(),
    copy(7, 0),
    set(1, 0),
    store(4, 7, noted.isNoted, 1),
    ...readPacket(9),
    ...plainTcp(9),
    // The stream, as the key of what is known.
    load(4, 5, 6, frame.device),
    store(4, 10, stack.stream + stream.device, 5),
    ...copyMacs({ from: 9, offset: packet.macs }, { to: 10, offset: stack.stream + stream.macs }),
    ...copyPlaces({ from: 9, of: packet }, { to: 10, base: stack.stream, of: stream }),
    load(1, 5, 9, packet.tcpFlags),
    and(5, beginsOrEnds),
    goIfEqual(5, 0, "goes on"),
    // What comes with the same addresses and ports may be another stream.
    ...withStream(),
    call(kernel.delete),
    go("long way"),
    mark("goes on"),
    ...sizeOfSegments(9),
    store(4, 10, stack.segment, 1),
    ...withStream(),
    call(kernel.lookUp),
    goIfEqual(0, 0, "note"),
    copy(8, 0),
    ...isStillSo(),
    ...rewrite(),
    load(4, 1, 8, fate.mark),
    store(4, 6, frame.mark, 1),
    ...handOn(),
    mark("note"),
    ...notePacket(),
    mark("long way"),
    set(0, goOn),
    exit(),
  ];
}

/** Of the stream at register 8: it carries much, that was not too long ago, nothing has changed since, and the packet fits. */
function isStillSo(): Step[] {
  return [
    load(4, 1, 8, fate.packets),
    set(2, streamPacketsMin),
    goIfGreater(1, 2, "carries much"),
    go("note"),
    mark("carries much"),
    call(kernel.clock),
    load(8, 1, 8, fate.until),
    goIfGreater(0, 1, "note"),
    load(4, 1, 10, stack.segment),
    load(4, 2, 8, fate.largest),
    goIfGreater(1, 2, "note"),
    load(1, 1, 9, packet.hops),
    load(4, 2, 8, fate.hops),
    goIfGreater(1, 2, "has hops left"),
    go("note"),
    mark("has hops left"),
    ...lookUpChange(),
    load(8, 1, 0, 0),
    load(8, 2, 8, fate.change),
    goUnlessSame(1, 2, "note"),
  ];
}

/** Makes the packet what the ones before were made. Nothing goes the long way half changed. */
function rewrite(): Step[] {
  const replaceSum = (by: number, what: number): Step[] => [
    copy(1, 6),
    set(2, packet.tcpSum),
    set(3, 0),
    load(4, 4, 8, by),
    set(5, what),
    call(kernel.replaceSum),
  ];
  return [
    ...replaceSum(fate.addressesBy, ofAddresses),
    ...replaceSum(fate.portsBy, 0),
    ...readPacket(9, "lost"),
    ...copyMacs({ from: 8, offset: fate.macs }, { to: 9, offset: packet.macs }),
    ...copyPlaces({ from: 8, of: fate }, { to: 9, base: 0, of: packet }),
    load(2, 3, 9, packet.headSum),
    flip(3, 0xffff),
    load(4, 4, 8, fate.headBy),
    addRegister(3, 4),
    ...fold(),
    flip(3, 0xffff),
    store(2, 9, packet.headSum, 3),
    load(1, 3, 9, packet.hops),
    load(4, 4, 8, fate.hops),
    subtractRegister(3, 4),
    store(1, 9, packet.hops, 3),
  ];
}

function handOn(): Step[] {
  return [
    load(4, 9, 8, fate.device),
    load(4, 1, 8, fate.jumps),
    goIfEqual(1, 0, "device"),
    // It is not for this namespace's own address, but it is for the one behind (0 is PACKET_HOST).
    copy(1, 6),
    set(2, 0),
    call(kernel.changeType),
    copy(1, 9),
    set(2, 0),
    call(kernel.redirectPeer),
    exit(),
    mark("device"),
    copy(1, 9),
    set(2, 0),
    call(kernel.redirect),
    exit(),
    mark("lost"),
    set(0, drop),
    exit(),
  ];
}

/** Of the packet at register 9, whose stream is on the stack, in the note at register 7. */
function notePacket(): Step[] {
  const words = Array.from({ length: noted.isNoted / 4 }, (_, at) => 4 * at);
  return [
    ...words.flatMap((at) => [load(4, 1, 10, stack.stream + at), store(4, 7, at, 1)]),
    ...ofPacket.flatMap(({ read, at }) => [...read, store(4, 7, at, 5)]),
    load(1, 1, 9, packet.hops),
    store(4, 7, noted.hops, 1),
    set(1, 1),
    store(4, 7, noted.isNoted, 1),
  ];
}
