/**
 * A new Raft log in the place of an old one, all or nothing, whenever the process ends in between.
 *
 * `storage.ts` writes the new database aside, as `log.new`, and then the floor. From the moment the floor names the new
 * log's member that log counts, and a start that finds it aside still puts it in place; until then the old one counts and
 * what lies aside is removed. The old database stays as `log.lost`, for a person to look at and for `--force-new-cluster`.
 */
import { existsSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { RaftLogFormat } from "../../src/common/api/generated/api.ts";
import type { FloorState } from "./floor.ts";
import {
  isDamage,
  type LogOperation,
  openLogDatabase,
  type StalledListener,
} from "./log-database.ts";
import { syncFolder } from "./log-files.ts";

/** Where the log is, and how its database is opened. */
export interface LogPlace {
  readonly dir: string;
  readonly onStalled: StalledListener;
  readonly openDatabase?: typeof openLogDatabase;
}

/** Folder of the log that was set aside, below the storage's. */
export const lostLogName = "log.lost";

/** Whether a folder holds a Raft log, be it one that has yet to be put in place. */
export function holdsLog(dir: string): boolean {
  return existsSync(join(dir, "log")) || existsSync(join(dir, "log.new"));
}

/** Writes a whole new log aside; durable when resolved. */
export async function writeAside(
  place: LogPlace,
  operations: readonly LogOperation[],
): Promise<void> {
  const path = join(place.dir, "log.new");
  await rm(path, { recursive: true, force: true });
  const database = await (place.openDatabase ?? openLogDatabase)(path, place.onStalled);
  try {
    await database.batch(operations, true);
  } finally {
    await database.close();
  }
  await syncFolder(place.dir);
}

/** Puts the log that lies aside in place. @param keep Whether the one there now is worth keeping as `log.lost`. */
export async function putInPlace(dir: string, keep: boolean): Promise<void> {
  const path = join(dir, "log");
  if (!keep) await rm(path, { recursive: true, force: true });
  else if (existsSync(path)) {
    await rm(join(dir, lostLogName), { recursive: true, force: true });
    await rename(path, join(dir, lostLogName));
  }
  await rename(join(dir, "log.new"), path);
  await syncFolder(dir);
}

/** Ends what an earlier life of the process began; called before the log is opened. */
export async function finishSwap(place: LogPlace, floor: FloorState | undefined): Promise<void> {
  const path = join(place.dir, "log.new");
  if (!existsSync(path)) return;
  if (floor !== undefined && (await memberOf(path, place)) === floor.raftId) {
    await putInPlace(place.dir, true);
  } else {
    await rm(path, { recursive: true, force: true });
  }
}

/** The member a log was begun for; 0 when it cannot be read, as when it was not written to its end. */
async function memberOf(path: string, place: LogPlace): Promise<number> {
  try {
    const database = await (place.openDatabase ?? openLogDatabase)(path, place.onStalled);
    try {
      const format = await database.get("format");
      return format === undefined ? 0 : RaftLogFormat.decode(format).raftId;
    } finally {
      await database.close();
    }
  } catch (error) {
    // What cannot be had now may be there the next time.
    if (!isDamage(error)) throw error;
    // Not whole: it was never put in force, or is damaged, and then the floor tells of the loss.
    return 0;
  }
}
