/**
 * Measures the dispatcher (issue B6): thousands of hollow agents, in processes of their own, with real sessions on one
 * manager; then a service of many tasks from its creation to the last RUNNING in the manager's tables.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Child } from "./child.ts";
import type { AgentsRequest } from "./dispatch-agents.ts";
import type { ManagerRequest, Sample, ServiceRun, StartedManager } from "./dispatch-manager.ts";
import type { BenchOptions, BenchResult } from "./main.ts";

/** Processes the agents are spread over. */
const agentProcesses = 2;
/** Tasks of the service, per agent. */
const tasksPerAgent = 4;
/** Time for what the opening left to settle, before memory is read. */
const settleMs = 10_000;

/** Runs the benchmark. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const count = options.quick ? 200 : 5_000;
  const manager = new Child<ManagerRequest>("dispatch-manager", { flags: ["--expose-gc"] });
  const agents = Array.from(
    { length: agentProcesses },
    () => new Child<AgentsRequest>("dispatch-agents"),
  );
  try {
    const started = await manager.ask<StartedManager>({ type: "start", nodes: count });
    const before = await manager.ask<Sample>({ type: "sample" });
    const opening = performance.now();
    await Promise.all(
      agents.map((child, i) => {
        const nodeIds = started.nodeIds.filter((_, at) => at % agentProcesses === i);
        return child.ask({ type: "open", manager: started, nodeIds });
      }),
    );
    const openedMs = performance.now() - opening;
    const whileOpening = await manager.ask<Sample>({ type: "sample" });
    await sleep(options.quick ? 1_000 : settleMs);
    const idle = await manager.ask<Sample>({ type: "sample" });
    const replicas = count * tasksPerAgent;
    const service = await manager.ask<ServiceRun>({ type: "service", replicas });
    const busy = await manager.ask<Sample>({ type: "sample" });
    const mb = 1024 * 1024;
    return {
      dispatch_agents: count,
      dispatch_sessions_per_s: (count * 1000) / openedMs,
      dispatch_session_cpu_ms: whileOpening.cpuMs / count,
      dispatch_open_stall_ms_max: whileOpening.stallMaxMs,
      [`dispatch_${count}_agents_rss_mb`]: idle.rssBytes / mb,
      dispatch_session_kb: (idle.rssBytes - before.rssBytes) / 1024 / count,
      dispatch_tasks: service.tasks,
      dispatch_task_starts_per_s: (service.tasks * 1000) / service.tookMs,
      dispatch_task_cpu_ms: busy.cpuMs / service.tasks,
      dispatch_tasks_stall_ms_max: busy.stallMaxMs,
      dispatch_tasks_stall_ms_p99: busy.stallP99Ms,
      dispatch_tasks_rss_mb: busy.rssBytes / mb,
    };
  } finally {
    for (const child of agents) child.end();
    await manager.ask({ type: "stop" }).finally(() => manager.end());
  }
}
