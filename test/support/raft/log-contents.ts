/**
 * What tests of the Raft log's files share: operations by text, and what a database holds.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import type { LogDatabase, LogOperation } from "../../../manager/raft/log-database.ts";
import { recordKey } from "../../../manager/raft/storage-load.ts";

/** Where folders of these tests are: in memory, where the system has a place for it, as they sync thousands of times. */
export const logTestBase = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Keys and values as text. */
export type State = Readonly<Record<string, string>>;

/** A put of text. */
export const put = (key: string, text: string): LogOperation => ({
  type: "put",
  key,
  value: Buffer.from(text),
});
/** A put of the record that begins at an index. */
export const record = (index: number, text: string): LogOperation => put(recordKey(index), text);
/** A deletion. */
export const remove = (key: string): LogOperation => ({ type: "del", key });

/** All that is in a database, read in every way there is. */
export async function contents(database: LogDatabase): Promise<State> {
  const state: Record<string, string> = {};
  for await (const [key, value] of database.range("", "~")) {
    state[key] = Buffer.from(value).toString();
    assert.deepEqual(await database.get(key), value, key);
  }
  assert.deepEqual(Object.keys(state), Object.keys(state).sort());
  return state;
}

/** The state with the operations done, as a map would have it. */
export function applied(state: State, operations: readonly LogOperation[]): State {
  const next = { ...state };
  for (const operation of operations) {
    if (operation.type === "del") delete next[operation.key];
    else next[operation.key] = Buffer.from(operation.value).toString();
  }
  return next;
}
