/**
 * The programs that lead a TCP connection from a service address to a backend where it is opened, at `connect` of the sockets
 * of containers, so that its packets need no translation; and those that go on telling the service address as its peer. Pure.
 *
 * They run for all sockets of the control group, those of others and of other daemons too, and leave alone all but those in
 * the network namespaces they were told of. Whatever they do not know is left to the rules of nftables, which know
 * everything.
 */
import { connectBackendsMax, connectSpacesMax } from "../../../src/common/limits/network.ts";
import {
  add,
  call,
  copy,
  exit,
  go,
  goIfEqual,
  goUnlessEqual,
  load,
  mark,
  modulo,
  type Step,
  set,
  setMap,
  store,
} from "../bpf/assembler.ts";
import type { MapShape } from "../bpf/map-shape.ts";

/** IPv4 addresses are those of IPv6 that stand for them, as sockets of IPv6 call them. */
export const addressBytes = 16;
/** In place of a slot: the entry has the number of slots. */
export const countSlot = 0xffff_ffff;
/** BPF_MAP_TYPE_HASH and _SK_STORAGE, with BPF_F_NO_PREALLOC. */
const hash = { type: 1, flags: 1 } as const;
const ofSockets = { type: 24, flags: 1 } as const;

/** The maps of a node's programs, by name. */
export const maps = {
  /** Number of the table of a network namespace, by its cookie. */
  spaces: { ...hash, key: 8, value: 4, entriesMax: connectSpacesMax },
  /** Address of a backend, by table, service address and slot; how many there are, by `countSlot`. */
  backends: { ...hash, key: 8 + addressBytes, value: addressBytes, entriesMax: connectBackendsMax },
  /** The service address that a socket has called, while it does. */
  called: { ...ofSockets, key: 4, value: addressBytes, entriesMax: 0 },
} as const satisfies Readonly<Record<string, MapShape>>;

/** What programs call of the kernel (linux/bpf.h). */
const kernel = {
  lookUp: 1,
  random: 7,
  ofSocket: 107,
  deleteOfSocket: 108,
  namespaceCookie: 122,
} as const;
/** Of `struct bpf_sock_addr`. */
const context = { address4: 4, address6: 8, protocol: 36, socket: 64 } as const;
const tcp = 6;
/** The call goes on. */
const allowed = 1;
/** BPF_SK_STORAGE_GET_F_CREATE. */
const create = 1;

/** On the stack, from its end: key of `backends` with its parts, key of `spaces`. */
const stack = { key: -32, address: -28, slot: -12, cookie: -8 } as const;
/** Words of an address, and the one of an IPv4 address in one of IPv6; before it are zeros and this. */
const words = [0, 1, 2, 3] as const;
const word4 = 3;
const mapped4 = 0xffff_0000 | 0;

/** Where a socket connects: to a backend in place of a service address. */
export function connecting(family: 4 | 6): Step[] {
  return [
    copy(6, 1),
    load(4, 1, 6, context.protocol),
    goUnlessEqual(1, tcp, "go on"),
    copy(1, 6),
    call(kernel.namespaceCookie),
    store(8, 10, stack.cookie, 0),
    ...lookUp("spaces", stack.cookie, "go on"),
    load(4, 5, 0, 0),
    store(4, 10, stack.key, 5),
    ...calledAddress(family),
    set(5, countSlot | 0),
    store(4, 10, stack.slot, 5),
    ...lookUp("backends", stack.key, "other"),
    load(4, 7, 0, 0),
    call(kernel.random),
    modulo(0, 7),
    store(4, 10, stack.slot, 0),
    // A slot that goes just now: the rules lead elsewhere.
    ...lookUp("backends", stack.key, "other"),
    copy(7, 0),
    ...ofSocket(create),
    goIfEqual(0, 0, "go on"),
    ...words.flatMap((word) => [
      load(4, 5, 10, stack.address + 4 * word),
      store(4, 0, 4 * word, 5),
    ]),
    ...tell(family, 7),
    go("go on"),
    // A socket may have had another peer before.
    mark("other"),
    setMap(1, "called"),
    load(8, 2, 6, context.socket),
    call(kernel.deleteOfSocket),
    mark("go on"),
    set(0, allowed),
    exit(),
  ];
}

/** Where a socket's peer is asked for: the service address that was called. */
export function naming(family: 4 | 6): Step[] {
  return [
    copy(6, 1),
    ...ofSocket(0),
    goIfEqual(0, 0, "go on"),
    ...tell(family, 0),
    mark("go on"),
    set(0, allowed),
    exit(),
  ];
}

/** Register 0 points to the entry. */
function lookUp(map: keyof typeof maps, key: number, otherwise: string): Step[] {
  return [
    copy(2, 10),
    add(2, key),
    setMap(1, map),
    call(kernel.lookUp),
    goIfEqual(0, 0, otherwise),
  ];
}

/** The address that is called, into the key. */
function calledAddress(family: 4 | 6): Step[] {
  const put = (word: number) => store(4, 10, stack.address + 4 * word, 5);
  if (family === 6) {
    return words.flatMap((word) => [load(4, 5, 6, context.address6 + 4 * word), put(word)]);
  }
  return [
    ...[set(5, 0), put(0), put(1)],
    ...[set(5, mapped4), put(2)],
    ...[load(4, 5, 6, context.address4), put(word4)],
  ];
}

/** Register 0 points to what is kept of the socket, or is 0. */
function ofSocket(flags: number): Step[] {
  return [
    setMap(1, "called"),
    load(8, 2, 6, context.socket),
    set(3, 0),
    set(4, flags),
    call(kernel.ofSocket),
  ];
}

/** The address at a register is the one of the call. */
function tell(family: 4 | 6, from: 0 | 7): Step[] {
  if (family === 4) return [load(4, 5, from, 4 * word4), store(4, 6, context.address4, 5)];
  return words.flatMap((word) => [
    load(4, 5, from, 4 * word),
    store(4, 6, context.address6 + 4 * word, 5),
  ]);
}
