/**
 * Whether the program of a container has begun. Until then its first process is the runtime's own, which makes everything ready and
 * then becomes the program, a moment after containerd has told of the start.
 *
 * crun's passes over signals, as every first process does that expects none. runc's is a program of Go and ends itself with code 2,
 * as if the user's program had failed.
 */
import { readFileSync } from "node:fs";
import type { Clock } from "../../../src/common/clock/clock.ts";

/** Pause between two looks, and how long it is waited for, milliseconds: a busy board takes some tenths of a second. */
const look = { everyMs: 5, withinMs: 5_000 } as const;

/** Resolves once a signal reaches the program, or it has taken too long. */
export async function programBegan(
  pid: number,
  o: { readonly clock: Clock; readonly nameOf?: (pid: number) => string },
): Promise<void> {
  const nameOf = o.nameOf ?? processName;
  const end = o.clock.monotonic() + look.withinMs;
  while (nameOf(pid).startsWith("runc:[") && o.clock.monotonic() < end)
    await o.clock.sleep(look.everyMs);
}

/** Empty for one that has ended. */
function processName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "latin1");
  } catch {
    return "";
  }
}
