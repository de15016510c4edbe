/**
 * The programs that let frames of overlay networks go past their bridges: one where frames come in at a port, one where they
 * leave. Pure.
 *
 * The bridge stays the only one who knows. A frame that comes in is noted; when it leaves by another port, it was the bridge that
 * led it there, and for a moment frames with the same destination from the same port are handed on at once. So whatever changes
 * in the bridge counts a moment later without anybody telling the programs, and where no program is, or the kernel takes none,
 * frames pass the bridge as ever.
 *
 * Only unicast frames of IPv4 and IPv6 are led past: ARP and ICMPv6, which finds neighbours, are answered by the bridge and
 * the VXLAN device.
 */
import { routeHoldNs } from "../../../src/common/limits/network.ts";
import {
  add,
  and,
  call,
  copy,
  exit,
  go,
  goIfEqual,
  goIfGreater,
  goUnlessEqual,
  goUnlessSame,
  load,
  mark,
  type Register,
  type Step,
  set,
  setMap,
  store,
} from "../bpf/assembler.ts";
import type { MapShape } from "../bpf/map-shape.ts";

/** The maps of a node's programs, by name. */
export const maps = {
  /** Where frames lead, by port and destination: until when (nanoseconds since boot), port, whether past its link. */
  routes: { type: 9, key: 12, value: 16, entriesMax: 8_192 },
  /** The frame that this processor carries through the bridge: port (0 for none), destination, source, length, whether it left. */
  carried: { type: 6, key: 4, value: 24, entriesMax: 1 },
} as const satisfies Readonly<Record<string, MapShape>>;

/** What programs call of the kernel (linux/bpf.h). */
const kernel = {
  lookUp: 1,
  update: 2,
  delete: 3,
  clock: 5,
  redirect: 23,
  changeType: 32,
  redirectPeer: 155,
} as const;
/** Of `struct __sk_buff`. */
const frame = { length: 0, vlan: 20, device: 40, data: 76, dataEnd: 80 } as const;
/** Of a frame: addresses, type, and the protocol in a header of IPv6. */
const ether = { destination: 0, source: 6, type: 12, protocol6: 20, bytes: 21 } as const;
/** In the order of the network, as the machine reads them. */
const types = { ipv4: 0x0008, ipv6: 0xdd86 } as const;
const icmp6 = 58;
/** Of `carried` and of `routes`. */
const carried = { device: 0, destination: 4, source: 10, length: 16, left: 20 } as const;
const route = { until: 0, device: 8, jumps: 12 } as const;
/** Others may have programs here, too: theirs decide. */
const goOn = -1;

/** On the stack, from its end: key of `routes`, its value, key of `carried`, source of the frame. */
const stack = { key: -16, value: -32, zero: -36, source: -44 } as const;

/** Where frames come in: hands on those whose way is known. */
export function arriving(): Step[] {
  return [
    copy(6, 1),
    ...lookUpCarried(),
    // Nothing is carried yet; register 7 points to the note.
    copy(7, 0),
    set(1, 0),
    store(4, 7, carried.device, 1),
    load(4, 2, 6, frame.vlan),
    goUnlessEqual(2, 0, "bridge"),
    ...packet(ether.bytes),
    load(1, 5, 2, ether.destination),
    and(5, 1),
    goUnlessEqual(5, 0, "bridge"),
    load(2, 5, 2, ether.type),
    goIfEqual(5, types.ipv4, "ip"),
    goUnlessEqual(5, types.ipv6, "bridge"),
    load(1, 5, 2, ether.protocol6),
    goIfEqual(5, icmp6, "bridge"),
    mark("ip"),
    load(4, 5, 6, frame.device),
    store(4, 10, stack.key, 5),
    ...copyAddress({ from: 2, offset: ether.destination }, { to: 10, offset: stack.key + 4 }),
    set(5, 0),
    store(2, 10, stack.key + 10, 5),
    ...copyAddress({ from: 2, offset: ether.source }, { to: 10, offset: stack.source }),
    copy(2, 10),
    add(2, stack.key),
    setMap(1, "routes"),
    call(kernel.lookUp),
    goIfEqual(0, 0, "unknown"),
    copy(8, 0),
    call(kernel.clock),
    load(8, 1, 8, route.until),
    goIfGreater(0, 1, "unknown"),
    load(4, 9, 8, route.device),
    load(4, 1, 8, route.jumps),
    goIfEqual(1, 0, "port"),
    // It is not for this namespace's own address, but it is for the container's (0 is PACKET_HOST).
    copy(1, 6),
    set(2, 0),
    call(kernel.changeType),
    copy(1, 9),
    set(2, 0),
    call(kernel.redirectPeer),
    exit(),
    mark("port"),
    copy(1, 9),
    set(2, 0),
    call(kernel.redirect),
    exit(),
    mark("unknown"),
    ...copyAddress({ from: 10, offset: stack.key + 4 }, { to: 7, offset: carried.destination }),
    ...copyAddress({ from: 10, offset: stack.source }, { to: 7, offset: carried.source }),
    load(4, 1, 6, frame.length),
    store(4, 7, carried.length, 1),
    set(1, 0),
    store(4, 7, carried.left, 1),
    load(4, 1, 10, stack.key),
    store(4, 7, carried.device, 1),
    mark("bridge"),
    set(0, goOn),
    exit(),
  ];
}

/**
 * Where frames leave: keeps the way of the one that is carried, unless it leaves by several ports.
 *
 * @param jumps Whether frames are put right into the namespace behind this port, past its link.
 */
export function leaving(jumps: boolean): Step[] {
  return [
    copy(6, 1),
    ...lookUpCarried(),
    copy(7, 0),
    load(4, 8, 7, carried.device),
    goIfEqual(8, 0, "bridge"),
    // Another one may leave before the next comes in.
    load(4, 1, 6, frame.length),
    load(4, 2, 7, carried.length),
    goUnlessSame(1, 2, "bridge"),
    ...packet(ether.type),
    ...sameAddress(ether.destination, carried.destination),
    ...sameAddress(ether.source, carried.source),
    store(4, 10, stack.key, 8),
    ...copyAddress({ from: 7, offset: carried.destination }, { to: 10, offset: stack.key + 4 }),
    set(1, 0),
    store(2, 10, stack.key + 10, 1),
    load(4, 1, 7, carried.left),
    goUnlessEqual(1, 0, "flooded"),
    set(1, 1),
    store(4, 7, carried.left, 1),
    call(kernel.clock),
    add(0, routeHoldNs),
    store(8, 10, stack.value + route.until, 0),
    load(4, 1, 6, frame.device),
    store(4, 10, stack.value + route.device, 1),
    set(1, jumps ? 1 : 0),
    store(4, 10, stack.value + route.jumps, 1),
    copy(2, 10),
    add(2, stack.key),
    copy(3, 10),
    add(3, stack.value),
    set(4, 0),
    setMap(1, "routes"),
    call(kernel.update),
    go("bridge"),
    mark("flooded"),
    copy(2, 10),
    add(2, stack.key),
    setMap(1, "routes"),
    call(kernel.delete),
    mark("bridge"),
    set(0, goOn),
    exit(),
  ];
}

/**
 * Whether the kernel counts frames that are put right into a container's namespace; before 6.7 the container's own device
 * told of none, so that they go through it there.
 */
export function countsJumps(kernel: string): boolean {
  const [major = 0, minor = 0] = kernel.split(".").map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 7);
}

/** Register 0 points to what this processor carries. */
function lookUpCarried(): Step[] {
  return [
    set(1, 0),
    store(4, 10, stack.zero, 1),
    copy(2, 10),
    add(2, stack.zero),
    setMap(1, "carried"),
    call(kernel.lookUp),
    goIfEqual(0, 0, "bridge"),
  ];
}

/** Register 2 points to so many bytes of the frame; a shorter one is the bridge's. */
function packet(bytes: number): Step[] {
  return [
    load(4, 2, 6, frame.data),
    load(4, 3, 6, frame.dataEnd),
    copy(4, 2),
    add(4, bytes),
    goIfGreater(4, 3, "bridge"),
  ];
}

/** By two bytes: where an address begins in a frame, larger values may not be read on every machine. */
const pairs = [0, 2, 4] as const;

function copyAddress(
  { from, offset }: { readonly from: Register; readonly offset: number },
  target: { readonly to: Register; readonly offset: number },
): Step[] {
  return pairs.flatMap((pair) => [
    load(2, 5, from, offset + pair),
    store(2, target.to, target.offset + pair, 5),
  ]);
}

/** Of the frame at register 2 and what is carried at register 7. */
function sameAddress(inFrame: number, inCarried: number): Step[] {
  return pairs.flatMap((pair) => [
    load(2, 4, 2, inFrame + pair),
    load(2, 5, 7, inCarried + pair),
    goUnlessSame(4, 5, "bridge"),
  ]);
}
