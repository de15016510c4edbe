/**
 * The revisions that secrets and configs have now, out of the tables.
 */
import { presentRevision } from "../../state/payload.ts";
import type { View } from "../../state/view.ts";
import type { PresentRevision } from "./decide.ts";

/** What `decide.ts` asks for, of one view. */
export function presentIn(view: View): PresentRevision {
  return ({ kind, id }) => {
    const object = view.get(kind, id);
    return object === undefined ? undefined : presentRevision(object);
  };
}
