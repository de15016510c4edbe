/**
 * Maps and links of BPF that this process holds, for tests that change what the kernel has behind the back of those who made
 * them.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { MapShape } from "../../agent/network/bpf/map-shape.ts";

const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
const syscall = koffi
  .load("libc.so.6")
  .func("long syscall(long number, int command, void *what, uint32_t bytes)");
/** Numbers of bpf(2). */
const numbers: Readonly<Record<string, number>> = { x64: 321, arm64: 280 };
/** BPF_LINK_DETACH. */
const detach = 34;

/** Descriptors of maps of this shape. */
export function mapsHere({ key, value, entriesMax }: MapShape): number[] {
  const wanted = [`key_size:\t${key}`, `value_size:\t${value}`, `max_entries:\t${entriesMax}`];
  return descriptors((lines) => wanted.every((line) => lines.includes(line)));
}

/** Descriptors of links. */
export function linksHere(): number[] {
  return descriptors((lines) => lines.some((line) => line.startsWith("link_id:")));
}

/** Takes the program of a link away, as an operator can by its number. @throws Error at a refusal. */
export function detachLink(link: number): void {
  const attributes = Buffer.alloc(4);
  attributes.writeUInt32LE(link);
  const result = Number(syscall(numbers[process.arch] ?? 0, detach, attributes, 4));
  if (result < 0) throw new Error(`error ${koffi.errno()}`);
}

function descriptors(isWanted: (lines: readonly string[]) => boolean): number[] {
  return readdirSync("/proc/self/fdinfo")
    .filter((name) => {
      try {
        return isWanted(readFileSync(`/proc/self/fdinfo/${name}`, "utf8").split("\n"));
      } catch {
        return false; // The one of the listing itself.
      }
    })
    .map(Number);
}
