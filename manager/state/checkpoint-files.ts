/**
 * The files of the checkpoint: one LevelDB per generation, and a file that names the generation in force.
 *
 * `<dir>/current` holds the name of a sub-folder (`g1`, `g2`, ...). A checkpoint that is written anew (after a snapshot, or
 * after a rotation of keys) goes into the next folder and comes into force by the rename of `current`; whatever else lies
 * there is removed. So there is a whole checkpoint at every moment.
 */
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Level } from "level";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";

/** The database of one generation. */
export type Database = Level<string, Uint8Array>;

/** Name of the generation in force; undefined when there is none yet. */
export async function currentGeneration(dir: string): Promise<string | undefined> {
  try {
    const name = (await readFile(join(dir, "current"), "utf8")).trim();
    return /^g[1-9]\d*$/.test(name) ? name : "damaged";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The name after `name`. */
export function nextGeneration(name: string | undefined): string {
  const number = Number(name?.slice(1));
  return `g${Number.isFinite(number) ? number + 1 : 1}`;
}

/** Makes a generation the one in force, durably. */
export async function makeCurrent(dir: string, name: string): Promise<void> {
  const temporary = join(dir, "current.new");
  const file = await open(temporary, "w", 0o600);
  try {
    await file.writeFile(`${name}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, join(dir, "current"));
  await syncDirectory(dir);
}

/** Removes every generation but this one, and unfinished files. */
export async function removeOthers(dir: string, keep: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (name === keep || name === "current") continue;
    if (/^g\d+$/.test(name) || name === "current.new") {
      await rm(join(dir, name), { recursive: true, force: true });
    }
  }
}

/** Opens a fresh, empty database for a generation, in place of remains of the same name. */
export async function createDatabase(dir: string, name: string): Promise<Database> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await rm(join(dir, name), { recursive: true, force: true });
  const database = await openDatabase(dir, name, true);
  await syncDirectory(dir);
  return database;
}

/**
 * Opens the database of a generation.
 *
 * @throws ClusterError unavailable when another process has it open; any other error means that it cannot be used.
 */
export async function openDatabase(dir: string, name: string, make = false): Promise<Database> {
  const database: Database = new Level(join(dir, name), {
    keyEncoding: "utf8",
    valueEncoding: "view",
  });
  try {
    await database.open({
      createIfMissing: make,
      errorIfExists: make,
      // Sealed values do not compress.
      compression: false,
    });
  } catch (error) {
    if (causeCode(error) === "LEVEL_LOCKED") {
      throw new ClusterError("unavailable", `${join(dir, name)} is in use by another process`, {
        cause: error,
      });
    }
    throw error;
  }
  return database;
}

/** Text of a database error, with what is behind it. */
export function databaseErrorText(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause === undefined ? errorText(error) : `${errorText(error)}: ${errorText(cause)}`;
}

function causeCode(error: unknown): unknown {
  return ((error as Error).cause as { code?: unknown } | undefined)?.code;
}

async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
