/**
 * The place of a task as `skep stack` names it. Pure.
 */
import type { ApiObject, Json } from "./client.ts";

/** The slot, or the node's id. The first slot of a replicated job is 0, which the API leaves out. */
export function taskPlace(task: Json, service: ApiObject | undefined): string {
  const mode = service?.spec["Mode"] as Json | undefined;
  const first = mode?.["ReplicatedJob"] === undefined ? undefined : 0;
  return String(task["Slot"] ?? first ?? task["NodeID"] ?? "");
}
