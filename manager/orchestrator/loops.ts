/**
 * The loops that make, replace and remove tasks; each follows the store under one leadership.
 */
import type { Follower } from "../state/follow.ts";
import { CronLoop } from "./cron/loop.ts";
import { EnforcerLoop } from "./enforcer/loop.ts";
import { GlobalLoop } from "./global/loop.ts";
import { HandoverLoop } from "./handover/loop.ts";
import { JobLoop } from "./jobs/loop.ts";
import type { Leadership, Tools } from "./leadership.ts";
import { ReaperLoop } from "./reaper/loop.ts";
import { RebalanceLoop } from "./rebalance/loop.ts";
import { ReplicatedLoop } from "./replicated/loop.ts";
import { RestartSupervisor } from "./restart/supervisor.ts";
import { UpdateSupervisor } from "./update/supervisor.ts";

/** All of them, in the order in which they begin. */
export function orchestratorLoops(leadership: Leadership, tools: Tools): Follower[] {
  return [
    new ReplicatedLoop(leadership, tools),
    new GlobalLoop(leadership, tools),
    new CronLoop(leadership, tools),
    new JobLoop(leadership, tools),
    new EnforcerLoop(leadership, tools),
    new HandoverLoop(leadership, tools),
    new RebalanceLoop(leadership, tools),
    new RestartSupervisor(leadership, tools),
    new UpdateSupervisor(leadership, tools),
    new ReaperLoop(leadership, tools),
  ];
}
