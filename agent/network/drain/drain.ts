/**
 * Waits before a task is stopped, as `decide.ts` says.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { ClusterState } from "../cluster-state.ts";
import { connectionsTaken, openConnections } from "./connections.ts";
import { drainIsSpread, drainTerms, drainWaitMs } from "./decide.ts";

/** What is looked at; each undefined when it cannot be told. */
export interface DrainLook {
  readonly open: (pid: number) => Promise<number | undefined>;
  readonly taken: (pid: number) => Promise<number | undefined>;
}

/** Resolves when the container may be told to stop. @throws the signal's reason. */
export async function drain(
  { config, state }: Pick<Container, "config" | "state">,
  o: { readonly cluster: ClusterState; readonly clock: Clock; readonly signal: AbortSignal },
  look: DrainLook = { open: openConnections, taken: connectionsTaken },
): Promise<void> {
  const { cluster, clock, signal } = o;
  const terms = drainTerms(config.task, cluster);
  if (terms === undefined) return;
  const begin = clock.monotonic();
  let taken = await look.taken(state.pid);
  let cameAt = begin;
  for (;;) {
    const now = clock.monotonic();
    const takenNow = await look.taken(state.pid);
    if (takenNow !== taken) [taken, cameAt] = [takenNow, now];
    const quietMs = now - cameAt;
    // The kernel looks through the sockets of the whole machine for this: not before it matters.
    const connections = drainIsSpread(terms, quietMs) ? await look.open(state.pid) : undefined;
    const waitMs = drainWaitMs(terms, { elapsedMs: now - begin, quietMs, connections });
    if (waitMs === 0) return;
    await clock.sleep(waitMs, signal);
  }
}
