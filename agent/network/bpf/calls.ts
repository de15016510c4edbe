/**
 * Calls of bpf(2), and what programs tell namespaces by. What the kernel gives back are file descriptors of this process,
 * whichever thread asked; it keeps what is in use beyond them.
 */
import { createRequire } from "node:module";
import { assemble, type Step } from "./assembler.ts";
import type { MapShape } from "./map-shape.ts";

const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
const c = koffi.load("libc.so.6");
const syscall = c.func("long syscall(long number, int command, void *what, uint32_t bytes)");
const closeNow = c.func("int close(int fd)");
const socket = c.func("int socket(int domain, int type, int protocol)");
const getOption = c.func("int getsockopt(int fd, int level, int name, void *value, void *length)");

/** Numbers of bpf(2). */
const numbers: Readonly<Record<string, number>> = { x64: 321, arm64: 280, arm: 386, riscv64: 280 };
/** BPF_… of linux/bpf.h. */
const commands = {
  makeMap: 0,
  updateEntry: 2,
  deleteEntry: 3,
  loadProgram: 5,
  describe: 15,
  loadTypes: 18,
  readEntries: 24,
  link: 28,
} as const;
/** `union bpf_attr`, as far as it is used; the rest is zero. */
const attributeBytes = 72;
const ofProgram = { type: 0, count: 4, steps: 8, license: 16, name: 48, attach: 68 } as const;
const ofMap = {
  ...{ type: 0, key: 4, value: 8, entriesMax: 12, flags: 16, name: 28 },
  ...{ types: 48, keyType: 52, valueType: 56 },
} as const;
const ofEntry = { map: 0, key: 8, value: 16 } as const;
const ofTypes = { bytes: 0, length: 16 } as const;
const ofLink = { program: 0, target: 4, attach: 8 } as const;
const ofBatch = { from: 0, to: 8, keys: 16, values: 24, count: 32, map: 36 } as const;
const ofDescription = { descriptor: 0, length: 4, bytes: 8 } as const;
/** `struct bpf_link_info`: what all links tell, then the number of the control group. */
const linkBytes = 32;
const groupAt = 16;
/** Nothing that is called asks for another one. */
const license = Buffer.from("Apache-2.0\0");
const noEntry = 2;

/** What the kernel is told of a map's keys and values, where it wants to know: see `type-info.ts`. */
export interface MapTypes {
  readonly descriptor: number;
  readonly key: number;
  readonly value: number;
}

/** @throws Error where the kernel makes none. */
export function makeMap(name: string, shape: MapShape, types?: MapTypes): number {
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeUInt32LE(shape.type, ofMap.type);
  attributes.writeUInt32LE(shape.key, ofMap.key);
  attributes.writeUInt32LE(shape.value, ofMap.value);
  attributes.writeUInt32LE(shape.entriesMax, ofMap.entriesMax);
  attributes.writeUInt32LE(shape.flags ?? 0, ofMap.flags);
  attributes.write(`skep_${name}`, ofMap.name);
  if (types !== undefined) {
    attributes.writeUInt32LE(types.descriptor, ofMap.types);
    attributes.writeUInt32LE(types.key, ofMap.keyType);
    attributes.writeUInt32LE(types.value, ofMap.valueType);
  }
  return ask(commands.makeMap, attributes, `the map ${name}`);
}

/** A program and where it is to be. */
export interface ProgramShape {
  /** Of 15 letters at most. */
  readonly name: string;
  /** BPF_PROG_TYPE_… */
  readonly type: number;
  /** BPF_…, where the type asks for it. */
  readonly attach?: number;
  readonly steps: readonly Step[];
}

/** @param maps Descriptors of the maps it names. @throws Error where the kernel takes it not. */
export function loadProgram(
  { name, type, attach = 0, steps }: ProgramShape,
  maps: Readonly<Record<string, number>>,
): number {
  const bytes = assemble(steps, maps);
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeUInt32LE(type, ofProgram.type);
  attributes.writeUInt32LE(bytes.length / 8, ofProgram.count);
  attributes.writeBigUInt64LE(addressOf(bytes), ofProgram.steps);
  attributes.writeBigUInt64LE(addressOf(license), ofProgram.license);
  attributes.write(name, ofProgram.name);
  attributes.writeUInt32LE(attach, ofProgram.attach);
  return ask(commands.loadProgram, attributes, `the program ${name}`);
}

/** Types of values: BTF. @throws Error where the kernel takes none. */
export function loadTypes(bytes: Buffer): number {
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeBigUInt64LE(addressOf(bytes), ofTypes.bytes);
  attributes.writeUInt32LE(bytes.length, ofTypes.length);
  return ask(commands.loadTypes, attributes, "the types of values");
}

/** Has a program run beside others for all of a control group; it ends with the descriptor. @throws Error at a refusal. */
export function linkToGroup(program: number, group: number, attach: number): number {
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeUInt32LE(program, ofLink.program);
  attributes.writeUInt32LE(group, ofLink.target);
  attributes.writeUInt32LE(attach, ofLink.attach);
  return ask(commands.link, attributes, "a program at the control group");
}

/** Keys and values one after the other. @throws Error where the map is full; entries before that are there. */
export function updateEntries(map: number, bytes: Uint8Array, shape: MapShape): void {
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeUInt32LE(map, ofEntry.map);
  const begin = addressOf(bytes);
  for (let at = 0; at < bytes.length; at += shape.key + shape.value) {
    attributes.writeBigUInt64LE(begin + BigInt(at), ofEntry.key);
    attributes.writeBigUInt64LE(begin + BigInt(at + shape.key), ofEntry.value);
    ask(commands.updateEntry, attributes, "an entry of a map");
  }
}

/** Keys one after the other; fine when there is no such entry. @throws Error at a refusal. */
export function deleteEntries(map: number, keys: Uint8Array, shape: MapShape): void {
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeUInt32LE(map, ofEntry.map);
  const begin = addressOf(keys);
  for (let at = 0; at < keys.length; at += shape.key) {
    attributes.writeBigUInt64LE(begin + BigInt(at), ofEntry.key);
    if (call(commands.deleteEntry, attributes) >= 0 || koffi.errno() === noEntry) continue;
    throw new Error(`the kernel does not delete an entry of a map: error ${koffi.errno()}`);
  }
}

/** How many at a time: some hundred kilobytes. */
const batchMax = 4_096;

/** Every entry, key and value one after the other, in no order. Linux 5.6 and later. @throws Error at a refusal. */
export function readEntries(map: number, shape: MapShape): Uint8Array {
  const keys = Buffer.alloc(batchMax * shape.key);
  const values = Buffer.alloc(batchMax * shape.value);
  const place = Buffer.alloc(8);
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeBigUInt64LE(addressOf(place), ofBatch.to);
  attributes.writeBigUInt64LE(addressOf(keys), ofBatch.keys);
  attributes.writeBigUInt64LE(addressOf(values), ofBatch.values);
  attributes.writeUInt32LE(map, ofBatch.map);
  const rows: Uint8Array[] = [];
  for (let isMore = true; isMore; ) {
    attributes.writeUInt32LE(batchMax, ofBatch.count);
    isMore = call(commands.readEntries, attributes) >= 0;
    if (!isMore && koffi.errno() !== noEntry) {
      throw new Error(`the kernel does not tell entries of a map: error ${koffi.errno()}`);
    }
    // It goes on where it was.
    attributes.writeBigUInt64LE(addressOf(place), ofBatch.from);
    const count = attributes.readUInt32LE(ofBatch.count);
    const some = Buffer.alloc(count * (shape.key + shape.value));
    for (let at = 0; at < count; at++) {
      const row = at * (shape.key + shape.value);
      keys.copy(some, row, at * shape.key, (at + 1) * shape.key);
      values.copy(some, row + shape.key, at * shape.value, (at + 1) * shape.value);
    }
    rows.push(some);
  }
  return Buffer.concat(rows);
}

/** Whether a link still keeps its program at the control group: others may have taken it away. @throws Error at a refusal. */
export function isLinked(link: number): boolean {
  const told = Buffer.alloc(linkBytes);
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeUInt32LE(link, ofDescription.descriptor);
  attributes.writeUInt32LE(linkBytes, ofDescription.length);
  attributes.writeBigUInt64LE(addressOf(told), ofDescription.bytes);
  ask(commands.describe, attributes, "a question for a link");
  return told.readBigUInt64LE(groupAt) !== 0n;
}

/** Node complains of descriptors that it has not opened itself. */
export function close(descriptor: number): void {
  closeNow(descriptor);
}

const inet = 2;
/** SOCK_DGRAM and SOCK_CLOEXEC. */
const datagram = 2 | 0o2000000;
/** SOL_SOCKET and SO_NETNS_COOKIE. */
const ofSocket = 1;
const cookie = 71;

/** By what programs tell the network namespace this thread is in: 8 bytes. @throws Error before Linux 5.14. */
export function namespaceCookie(): Buffer {
  const value = Buffer.alloc(8);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  const descriptor: number = socket(inet, datagram, 0);
  const told = descriptor < 0 ? -1 : getOption(descriptor, ofSocket, cookie, value, length);
  const error = koffi.errno();
  if (descriptor >= 0) closeNow(descriptor);
  if (told !== 0) throw new Error(`network namespaces cannot be told apart: error ${error}`);
  return value;
}

function ask(command: number, attributes: Buffer, what: string): number {
  const descriptor = call(command, attributes);
  if (descriptor < 0) throw new Error(`the kernel does not take ${what}: error ${koffi.errno()}`);
  return descriptor;
}

function call(command: number, attributes: Buffer): number {
  const number = numbers[process.arch];
  if (number === undefined) throw new Error(`no programs on ${process.arch}`);
  return Number(syscall(number, command, attributes, attributes.length));
}

function addressOf(bytes: Uint8Array): bigint {
  return BigInt(koffi.address(bytes));
}
