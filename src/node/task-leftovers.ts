/**
 * What tasks leave on a node that is in no swarm any more: after it left, or when its state was lost.
 */
import type { Executor } from "../../agent/exec/executor.ts";
import type { NetworkPort } from "../../agent/network/state.ts";
import { errorText } from "../common/errors/cluster-error.ts";
import type { Log } from "../common/log/log.ts";

/** Longest the runtime is waited for, milliseconds. */
const readyTimeoutMs = 5000;

/** Removes the containers of all tasks, and then their networks. Never rejects: what is left is found by the next start. */
export async function discardTasks(o: {
  readonly executor: Executor;
  readonly network: NetworkPort;
  readonly log: Log;
}): Promise<void> {
  try {
    await o.executor.ready(AbortSignal.timeout(readyTimeoutMs));
    await Promise.all(o.executor.taskIds().map((id) => o.executor.discard(id)));
  } catch (error) {
    o.log.warn("containers of tasks not removed", { err: errorText(error) });
  }
  o.network.left();
}
