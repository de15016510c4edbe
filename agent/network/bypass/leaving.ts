/**
 * The program where packets leave, of those that lead streams past rules; see `programs.ts`. Pure.
 */
import { streamHoldNs, streamPacketsMin } from "../../../src/common/limits/network.ts";
import {
  add,
  addRegister,
  call,
  copy,
  exit,
  go,
  goIfEqual,
  goIfGreater,
  goUnlessSame,
  load,
  mark,
  type Step,
  set,
  setMap,
  store,
  subtractRegister,
} from "../bpf/assembler.ts";
import { fate, frame, goOn, hopsMax, kernel, noted, packet, stack, stream } from "./layout.ts";
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
} from "./steps.ts";

/**
 * Where packets leave: keeps what has become of the one that was noted.
 *
 * @param jumps Whether packets are put right into the namespace behind this device, past its link.
 */
export function leaving(jumps: boolean): Step[] {
  const value = stack.fate;
  return [
    copy(6, 1),
    ...lookUpNoted(),
    copy(7, 0),
    load(4, 1, 7, noted.isNoted),
    goIfEqual(1, 0, "long way"),
    ...readPacket(9),
    ...plainTcp(9),
    // Another one may leave before the next comes in.
    ...samePacket(),
    set(1, 0),
    store(4, 7, noted.isNoted, 1),
    // The kernel takes no value of which a part was never written.
    ...Array.from({ length: fate.bytes / 8 }, (_, at) => store(8, 10, value + 8 * at, 1)),
    ...copyPlaces({ from: 9, of: packet }, { to: 10, base: value, of: fate }),
    ...copyMacs({ from: 9, offset: packet.macs }, { to: 10, offset: value + fate.macs }),
    load(4, 1, 6, frame.device),
    store(4, 10, value + fate.device, 1),
    // A link to another namespace takes it off.
    jumps ? set(1, 0) : load(4, 1, 6, frame.mark),
    store(4, 10, value + fate.mark, 1),
    set(1, jumps ? 1 : 0),
    store(4, 10, value + fate.jumps, 1),
    ...sizeOfSegments(9),
    store(4, 10, value + fate.largest, 1),
    load(4, 8, 7, noted.hops),
    load(1, 1, 9, packet.hops),
    subtractRegister(8, 1),
    set(1, hopsMax),
    goIfGreater(8, 1, "long way"),
    store(4, 10, value + fate.hops, 8),
    ...differences(),
    ...lookUpChange(),
    load(8, 1, 0, 0),
    store(8, 10, value + fate.change, 1),
    call(kernel.clock),
    add(0, streamHoldNs),
    store(8, 10, value + fate.until, 0),
    ...countPacket(),
    copy(2, 7),
    copy(3, 10),
    add(3, value),
    set(4, 0),
    setMap(1, "streams"),
    call(kernel.update),
    mark("long way"),
    set(0, goOn),
    exit(),
  ];
}

/** Whether the packet at register 9 is the one that was noted. */
function samePacket(): Step[] {
  return ofPacket.flatMap(({ read, at }) => [
    ...read,
    load(4, 1, 7, at),
    goUnlessSame(1, 5, "long way"),
  ]);
}

/** How many packets of the stream have gone the long way within the time for which a fate is kept, and until when that is. */
function countPacket(): Step[] {
  const value = stack.fate;
  return [
    copy(2, 7),
    setMap(1, "streams"),
    call(kernel.lookUp),
    goIfEqual(0, 0, "first"),
    load(8, 1, 0, fate.change),
    load(8, 2, 10, value + fate.change),
    goUnlessSame(1, 2, "first"),
    load(4, 8, 0, fate.packets),
    set(3, streamPacketsMin),
    load(8, 1, 0, fate.until),
    load(8, 2, 10, value + fate.until),
    add(2, -streamHoldNs),
    goIfGreater(2, 1, "time is over"),
    add(8, 1),
    goIfGreater(8, 3, "counted"),
    // Its time ends when it would have.
    store(8, 10, value + fate.until, 1),
    go("counted"),
    mark("time is over"),
    goIfGreater(8, 3, "counted"),
    mark("first"),
    set(8, 1),
    mark("counted"),
    store(4, 10, value + fate.packets, 8),
  ];
}

/** By what checksums differ between the packet that was noted and the one that leaves, whose fate is on the stack. */
function differences(): Step[] {
  const value = stack.fate;
  const difference = (from: number, to: number, bytes: number): Step[] => [
    copy(1, 7),
    add(1, from),
    set(2, bytes),
    copy(3, 10),
    add(3, value + to),
    set(4, bytes),
    set(5, 0),
    call(kernel.difference),
  ];
  return [
    ...difference(stream.ports, fate.ports, 4),
    store(4, 10, value + fate.portsBy, 0),
    ...difference(stream.source, fate.source, 8),
    store(4, 10, value + fate.addressesBy, 0),
    // The header's own sum covers the hops, too, in the lower half of their 16 bits.
    load(4, 3, 10, value + fate.addressesBy),
    ...fold(),
    set(1, 0xffff),
    load(4, 2, 10, value + fate.hops),
    subtractRegister(1, 2),
    addRegister(3, 1),
    ...fold(),
    store(4, 10, value + fate.headBy, 3),
  ];
}
