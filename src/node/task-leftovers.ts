/**
 * What tasks leave on a node that is in no swarm any more: after it left, or when its state was lost.
 */
import type { Executor } from "../../agent/exec/executor.ts";
import type { NetworkPort } from "../../agent/network/state.ts";
import { errorText } from "../common/errors/cluster-error.ts";
import type { Log } from "../common/log/log.ts";

/** Longest the runtime is waited for by a request to leave, milliseconds: it runs already. */
const leaveReadyMs = 5_000;
/** The same at a start of the daemon, which nobody waits for: containerd takes its time on a small or busy machine. */
const startReadyMs = 120_000;

/**
 * Removes the containers of all tasks, and then their networks. Never rejects: what is left is found by the next start.
 *
 * @param isOutside At a start of the daemon: whether the node is in no swarm still. A new membership removes by itself what is
 *   none of its own.
 */
export async function discardTasks(
  o: { readonly executor: Executor; readonly network: NetworkPort; readonly log: Log },
  isOutside?: () => boolean,
): Promise<void> {
  const withinMs = isOutside === undefined ? leaveReadyMs : startReadyMs;
  try {
    await o.executor.ready(AbortSignal.timeout(withinMs));
    if (isOutside?.() === false) return;
    await Promise.all(o.executor.taskIds().map((id) => o.executor.discard(id)));
  } catch (error) {
    o.log.warn("containers of tasks not removed", { err: errorText(error) });
  }
  if (isOutside?.() !== false) o.network.left();
}
