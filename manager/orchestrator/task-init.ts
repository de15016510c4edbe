/**
 * What a new leader does first: looks through all tasks there are, in slices, before it relies on being told of changes.
 */
import type { Task } from "../../src/common/api/generated/api.ts";
import type { Store } from "../state/store.ts";
import { nap, slices, type Tools } from "./leadership.ts";

/** Shows every task there is now; tasks that come meanwhile are for the watcher. */
export async function eachTask(
  store: Store,
  { clock }: Pick<Tools, "clock">,
  see: (task: Task) => void,
): Promise<void> {
  const pause = slices(clock);
  for (const task of store.freeze().tables.get("task") ?? []) {
    see(task as Task);
    if (pause()) await nap();
  }
}
