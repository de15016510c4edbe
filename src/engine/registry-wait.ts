/**
 * Waits for registries that end: one may be silent for as long as its connection lasts.
 */
import { aborting } from "../common/clock/aborting.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import type { EngineContext } from "./context.ts";

/**
 * Does something that a registry may take long for.
 *
 * @throws ClusterError `unavailable` once it has taken as long as `o.withinMs`.
 */
export async function registryInTime<T>(
  { clock }: Pick<EngineContext, "clock">,
  o: { readonly withinMs: number; readonly signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const end = () => stop.abort(o.signal.reason);
  o.signal.addEventListener("abort", end, { once: true });
  const late = clock.sleep(o.withinMs, stop.signal).then(
    () => stop.abort(new ClusterError("unavailable", "the registry did not answer in time")),
    () => undefined, // It has answered.
  );
  try {
    return await aborting(work(stop.signal), stop.signal);
  } finally {
    o.signal.removeEventListener("abort", end);
    stop.abort();
    await late;
  }
}
