/**
 * Programs of the kernel's BPF machine, from steps to bytes (RFC 9669). Pure.
 *
 * Only what our programs need, and in the byte order of the machine, as messages of netlink are.
 */

/** 0 has results, 1 to 5 arguments, which a call destroys; 6 to 9 stay; 10 is the end of the stack. */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;

/** Bytes of a value in memory. */
export type Size = 1 | 2 | 4 | 8;

/** One instruction, or the place that jumps lead to. */
export interface Step {
  readonly code: number;
  readonly to: Register;
  readonly from: Register;
  readonly offset: number;
  readonly value: number;
  /** Name of the place it jumps to. */
  readonly target?: string;
  /** Name of the map whose descriptor it takes. */
  readonly map?: string;
  /** It is no instruction, but the place with this name. */
  readonly mark?: string;
}

/** Bytes of an instruction; the one that takes a map has two. */
const stepBytes = 8;
const loads = { 1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79 } as const;
const stores = { 1: 0x73, 2: 0x6b, 4: 0x63, 8: 0x7b } as const;
const takesMap = 0x18;
/** In place of a register: the number is a map's descriptor. */
const isDescriptor = 1;

const step = (code: number, more: Partial<Step> = {}): Step => ({
  ...{ code, to: 0, from: 0, offset: 0, value: 0 },
  ...more,
});

/** A register is what another one is. */
export const copy = (to: Register, from: Register): Step => step(0xbf, { to, from });
/** A register is a number, 32 bits with a sign. */
export const set = (to: Register, value: number): Step => step(0xb7, { to, value });
/** A register points to a map. */
export const setMap = (to: Register, map: string): Step =>
  step(takesMap, { to, from: isDescriptor, map });
/** A number is added to a register. */
export const add = (to: Register, value: number): Step => step(0x07, { to, value });
/** A register is what is left of it after a division by another one; by none it stays. */
export const modulo = (to: Register, from: Register): Step => step(0x9f, { to, from });
/** Another register is added to one. */
export const addRegister = (to: Register, from: Register): Step => step(0x0f, { to, from });
/** Another register is taken from one. */
export const subtractRegister = (to: Register, from: Register): Step => step(0x1f, { to, from });
/** A register's bits move down by so many. */
export const shiftDown = (to: Register, value: number): Step => step(0x77, { to, value });
/** A register's bits move up by so many. */
export const shiftUp = (to: Register, value: number): Step => step(0x67, { to, value });
/** A register's 16 bits in the order of the network are those of the machine. */
export const fromNetwork = (to: Register): Step => step(0xdc, { to, value: 16 });
/** These bits of a register turn over. */
export const flip = (to: Register, value: number): Step => step(0xa7, { to, value });
/** Of a register only these bits are left. */
export const and = (to: Register, value: number): Step => step(0x57, { to, value });
/** A register is what is in memory, at another one and an offset. */
export const load = (size: Size, to: Register, from: Register, offset: number): Step =>
  step(loads[size], { to, from, offset });
/** What is in memory, at a register and an offset, is another register. */
export const store = (size: Size, to: Register, offset: number, from: Register): Step =>
  step(stores[size], { to, from, offset });
/** Jumps; only forward, so that every program ends. */
export const go = (target: string): Step => step(0x05, { target });
/** Jumps when a register is a number. */
export const goIfEqual = (to: Register, value: number, target: string): Step =>
  step(0x15, { to, value, target });
/** Jumps when a register is another number. */
export const goUnlessEqual = (to: Register, value: number, target: string): Step =>
  step(0x55, { to, value, target });
/** Jumps when two registers differ. */
export const goUnlessSame = (to: Register, from: Register, target: string): Step =>
  step(0x5d, { to, from, target });
/** Jumps when the first register is greater; without signs. */
export const goIfGreater = (to: Register, from: Register, target: string): Step =>
  step(0x2d, { to, from, target });
/** Where jumps lead. */
export const mark = (name: string): Step => step(0, { mark: name });
/** Calls what the kernel offers; the result is in register 0. */
export const call = (helper: number): Step => step(0x85, { value: helper });
/** Ends with what is in register 0. */
export const exit = (): Step => step(0x95);

/**
 * The bytes of a program.
 *
 * @param maps Descriptors of the maps it names.
 * @throws Error for a jump to a place that does not come after it, and for a map that is not given.
 */
export function assemble(steps: readonly Step[], maps: Readonly<Record<string, number>>): Buffer {
  const marks = new Map<string, number>();
  let count = 0;
  for (const { mark: name, code } of steps) {
    if (name !== undefined) marks.set(name, count);
    else count += code === takesMap ? 2 : 1;
  }
  const bytes = Buffer.alloc(count * stepBytes);
  let at = 0;
  for (const one of steps) {
    if (one.mark !== undefined) continue;
    const { code, to, from } = one;
    bytes.writeUInt8(code, at * stepBytes);
    bytes.writeUInt8((from << 4) | to, at * stepBytes + 1);
    bytes.writeInt16LE(offsetOf(one, at, marks), at * stepBytes + 2);
    bytes.writeInt32LE(numberOf(one, maps), at * stepBytes + 4);
    at += code === takesMap ? 2 : 1;
  }
  return bytes;
}

function offsetOf(
  { target, offset }: Step,
  at: number,
  marks: ReadonlyMap<string, number>,
): number {
  if (target === undefined) return offset;
  const place = marks.get(target);
  if (place === undefined || place <= at) throw new Error(`nothing to jump to: ${target}`);
  return place - at - 1;
}

function numberOf({ map, value }: Step, maps: Readonly<Record<string, number>>): number {
  if (map === undefined) return value;
  const descriptor = maps[map];
  if (descriptor === undefined) throw new Error(`no such map: ${map}`);
  return descriptor;
}
