/**
 * Gives programs and maps to the kernel: bpf(2). What it gives back are file descriptors of this process, whichever thread
 * asked; the kernel keeps what is in use beyond them.
 */
import { createRequire } from "node:module";
import { release } from "node:os";
import { assemble, type Step } from "./assembler.ts";
import { arriving, countsJumps, leaving, type MapShape, maps } from "./programs.ts";
import type { Programs } from "./request.ts";

const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
const c = koffi.load("libc.so.6");
const syscall = c.func("long syscall(long number, int command, void *what, uint32_t bytes)");
/** Node complains of descriptors that it has not opened itself. */
const close = c.func("int close(int fd)");

/** Numbers of bpf(2). */
const numbers: Readonly<Record<string, number>> = { x64: 321, arm64: 280, arm: 386, riscv64: 280 };
const commands = { makeMap: 0, loadProgram: 5 } as const;
/** `union bpf_attr`, as far as it is used; the rest is zero. */
const attributeBytes = 72;
const ofProgram = { type: 0, count: 4, steps: 8, license: 16, name: 48 } as const;
const ofMap = { type: 0, key: 4, value: 8, entriesMax: 12, name: 28 } as const;
/** BPF_PROG_TYPE_SCHED_CLS. */
const classifier = 3;
/** Nothing that is called asks for another one. */
const license = Buffer.from("Apache-2.0\0");

/** Programs with maps of their own. @throws Error where the kernel takes none. */
export function loadPrograms(): Programs {
  const opened: number[] = [];
  try {
    const descriptors: Record<string, number> = {};
    for (const [name, shape] of Object.entries(maps)) {
      descriptors[name] = makeMap(name, shape);
      opened.push(descriptors[name]);
    }
    const load = (name: string, steps: readonly Step[]) => {
      const descriptor = loadProgram(name, assemble(steps, descriptors));
      opened.push(descriptor);
      return descriptor;
    };
    const programs = {
      arriving: load("arriving", arriving()),
      toContainer: load("to_container", leaving(countsJumps(release()))),
      toTunnel: load("to_tunnel", leaving(false)),
    };
    // Programs hold their maps.
    for (const descriptor of Object.values(descriptors)) close(descriptor);
    return programs;
  } catch (error) {
    for (const descriptor of opened) close(descriptor);
    throw error;
  }
}

function makeMap(name: string, { type, key, value, entriesMax }: MapShape): number {
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeUInt32LE(type, ofMap.type);
  attributes.writeUInt32LE(key, ofMap.key);
  attributes.writeUInt32LE(value, ofMap.value);
  attributes.writeUInt32LE(entriesMax, ofMap.entriesMax);
  attributes.write(`skep_${name}`, ofMap.name);
  return ask(commands.makeMap, attributes, `the map ${name}`);
}

function loadProgram(name: string, steps: Buffer): number {
  const attributes = Buffer.alloc(attributeBytes);
  attributes.writeUInt32LE(classifier, ofProgram.type);
  attributes.writeUInt32LE(steps.length / 8, ofProgram.count);
  attributes.writeBigUInt64LE(BigInt(koffi.address(steps)), ofProgram.steps);
  attributes.writeBigUInt64LE(BigInt(koffi.address(license)), ofProgram.license);
  attributes.write(name, ofProgram.name);
  return ask(commands.loadProgram, attributes, `the program ${name}`);
}

function ask(command: number, attributes: Buffer, what: string): number {
  const number = numbers[process.arch];
  if (number === undefined) throw new Error(`no programs on ${process.arch}`);
  const descriptor: number = Number(syscall(number, command, attributes, attributes.length));
  if (descriptor < 0) throw new Error(`the kernel does not take ${what}: error ${koffi.errno()}`);
  return descriptor;
}
