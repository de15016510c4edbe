/**
 * Waits before a task is stopped, as `decide.ts` says.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { ClusterState } from "../cluster-state.ts";
import { connectionsTaken, openConnections } from "./connections.ts";
import { type DrainTerms, drainIsQuiet, drainTerms, drainWaitMs } from "./decide.ts";

/** What is looked at; each undefined when it cannot be told. */
export interface DrainLook {
  readonly open: (pid: number) => Promise<number | undefined>;
  readonly taken: (pid: number) => Promise<number | undefined>;
}

/** What a drain is made with. */
export interface DrainTools {
  readonly cluster: ClusterState;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Resolves once the kernels of all nodes hold what was committed before; rejects when nobody can tell. */
  readonly settled: (signal: AbortSignal) => Promise<void>;
}

/** Resolves when the container may be told to stop. @throws the signal's reason. */
export async function drain(
  { config, state }: Pick<Container, "config" | "state">,
  o: DrainTools,
  look: DrainLook = { open: openConnections, taken: connectionsTaken },
): Promise<void> {
  const { cluster, clock, signal } = o;
  const terms = drainTerms(config.task, cluster);
  if (terms === undefined) return;
  let taken = await look.taken(state.pid);
  let cameAt = clock.monotonic();
  const isHeard = await allHave(terms, o);
  const begin = clock.monotonic();
  for (;;) {
    const now = clock.monotonic();
    const takenNow = await look.taken(state.pid);
    if (takenNow !== taken) [taken, cameAt] = [takenNow, now];
    const seen = { isHeard, elapsedMs: now - begin, quietMs: now - cameAt };
    // The kernel looks through the sockets of the whole machine for this: not before it matters.
    const connections = drainIsQuiet(seen) ? await look.open(state.pid) : undefined;
    const waitMs = drainWaitMs(terms, { ...seen, connections });
    if (waitMs === 0) return;
    await clock.sleep(waitMs, signal);
  }
}

/** Whether all nodes have heard; false when nobody can tell, or not in time. @throws the signal's reason. */
async function allHave({ hearMs }: DrainTerms, o: DrainTools): Promise<boolean> {
  const stop = new AbortController();
  const end = () => stop.abort(o.signal.reason);
  if (o.signal.aborted) end();
  else o.signal.addEventListener("abort", end, { once: true });
  try {
    const hearing = o.settled(stop.signal).then(
      () => true,
      () => false,
    );
    const late = o.clock.sleep(hearMs, stop.signal).then(() => false);
    return await Promise.race([hearing, late]);
  } finally {
    o.signal.removeEventListener("abort", end);
    stop.abort();
  }
}
