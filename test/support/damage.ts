/**
 * Damage to files of a daemon that is not running: what a bad disk or a careless hand does.
 */
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Overwrites the middle third of every data file of a log or a checkpoint with other bytes. */
export function corruptDatabase(folder: string): void {
  for (const path of dataFiles(folder)) {
    const bytes = readFileSync(path);
    const third = Math.floor(bytes.length / 3);
    for (let i = third; i < 2 * third; i++) bytes[i] = (bytes[i] ?? 0) ^ 0x5a;
    writeFileSync(path, bytes);
  }
}

/** Cuts every data file of a log or a checkpoint to half its length. */
export function truncateDatabase(folder: string): void {
  for (const path of dataFiles(folder)) truncateSync(path, Math.floor(statSync(path).size / 2));
}

function dataFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map(String)
    .filter((name) => /\.(log|ldb)$/.test(name))
    .map((name) => join(folder, name));
}
