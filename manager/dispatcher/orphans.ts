/**
 * Gives up the tasks of nodes that have been down for a day: ORPHANED, as nobody will ever tell what became of them.
 *
 * Leader-only. The decision is pure; the loop looks once a minute.
 */
import { type Node, type Task, TaskStatus } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";
import { isBefore, isTerminal } from "../../src/common/task/state.ts";
import type { Store } from "../state/store.ts";

/** As in Docker's swarm. */
export const orphanedAfterMs = 24 * 60 * 60 * 1000;
/** How often the leader looks, milliseconds. */
const lookIntervalMs = 60_000;

/** Ids of the nodes whose tasks are given up at `nowMs`, wall clock. */
export function decideGivenUp(nodes: Iterable<Node>, nowMs: number): string[] {
  const given: string[] = [];
  for (const { id, status, downSinceMs } of nodes) {
    if (status?.state !== "down" || downSinceMs === 0) continue;
    if (nowMs - downSinceMs >= orphanedAfterMs) given.push(id);
  }
  return given;
}

/** Whether a task of a node that is given up becomes ORPHANED. */
export function isToBeOrphaned(task: Task): boolean {
  const state = task.status?.state ?? "new";
  return !isBefore(state, "assigned") && !isTerminal(state);
}

/** Looks until the signal aborts. */
export async function orphanTasks(
  store: Store,
  term: number,
  tools: { readonly clock: Clock; readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  const { clock, log, signal } = tools;
  while (!signal.aborted) {
    try {
      await clock.sleep(lookIntervalMs, signal);
      await look(store, term, tools);
    } catch (error) {
      if (signal.aborted) return;
      log.warn("tasks of lost nodes not given up", { err: errorText(error) });
    }
  }
}

async function look(
  store: Store,
  term: number,
  { clock, log, signal }: Parameters<typeof orphanTasks>[2],
): Promise<void> {
  const view = store.view();
  const nodeIds = decideGivenUp(view.each("node"), clock.now());
  const tasks = nodeIds.flatMap((id) => view.find("task", "node", id).filter(isToBeOrphaned));
  if (tasks.length === 0) return;
  log.info("tasks of lost nodes given up", { tasks: tasks.length });
  await store.batch(
    tasks,
    (tx, { id }) => {
      const task = tx.get("task", id);
      if (task === undefined || !isToBeOrphaned(task)) return;
      const status = TaskStatus.create({
        ...task.status,
        timestampMs: clock.now(),
        state: "orphaned",
        message: "its node has been down for 24 h",
      });
      tx.update("task", { ...task, status });
    },
    { term, signal },
  );
}
