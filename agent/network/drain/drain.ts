/**
 * Waits before a task is stopped, as `decide.ts` says.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { ClusterState } from "../cluster-state.ts";
import { openConnections } from "./connections.ts";
import { drainTerms, drainWaitMs } from "./decide.ts";

/** Resolves when the container may be told to stop. @throws the signal's reason. */
export async function drain(
  { config, state }: Pick<Container, "config" | "state">,
  o: { readonly cluster: ClusterState; readonly clock: Clock; readonly signal: AbortSignal },
  count: (pid: number) => Promise<number | undefined> = openConnections,
): Promise<void> {
  const { cluster, clock, signal } = o;
  const terms = drainTerms(config.task, cluster);
  if (terms === undefined) return;
  const begin = clock.monotonic();
  for (;;) {
    const elapsedMs = clock.monotonic() - begin;
    const isSpread = elapsedMs >= terms.spreadMs;
    const connections = isSpread ? await count(state.pid) : undefined;
    const waitMs = drainWaitMs(terms, elapsedMs, connections);
    if (waitMs === 0) return;
    await clock.sleep(waitMs, signal);
  }
}
