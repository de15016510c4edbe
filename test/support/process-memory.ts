/**
 * Looks for a text in the memory of a process, as its kernel shows it.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

/** Read at a time; a region is gone through in pieces that overlap by the length of the text. */
const pieceBytes = 4 * 1024 * 1024;

/** Whether any readable memory of a process has the text. @param folder Its folder in /proc. */
export function memoryHas(folder: string, text: string): boolean {
  const wanted = Buffer.from(text);
  let memory: number;
  try {
    memory = openSync(`${folder}/mem`, "r");
  } catch {
    // It has ended, or is the kernel's.
    return false;
  }
  try {
    return regionsOf(folder).some((region) => regionHas(memory, region, wanted));
  } finally {
    closeSync(memory);
  }
}

interface Region {
  readonly from: number;
  readonly to: number;
}

function regionsOf(folder: string): Region[] {
  return readFileSync(`${folder}/maps`, "utf8")
    .split("\n")
    .flatMap((line) => {
      const [, from = "", to = "", rest = ""] = /^([0-9a-f]+)-([0-9a-f]+) r(.*)$/.exec(line) ?? [];
      // What the kernel lends to every process is not its memory.
      if (from === "" || /\[v(?:var|syscall)/.test(rest)) return [];
      return { from: Number.parseInt(from, 16), to: Number.parseInt(to, 16) };
    });
}

function regionHas(memory: number, { from, to }: Region, wanted: Buffer): boolean {
  const piece = Buffer.alloc(pieceBytes + wanted.length);
  for (let at = from; at < to; at += pieceBytes) {
    let count = 0;
    try {
      count = readSync(memory, piece, 0, Math.min(piece.length, to - at), at);
    } catch {
      // Never written to, or gone since.
      continue;
    }
    if (piece.subarray(0, count).includes(wanted)) return true;
  }
  return false;
}
