/**
 * A plan as the API shows it: what the managers know beside what only the nodes do.
 */
import { deepEqual } from "node:assert/strict";
import type { ConflictPlan, ServicePlan } from "../../../../../src/common/spec/cluster-plan.ts";
import type { Needs, RefusedWish } from "../../../../../src/engine/plan/images.ts";
import { planToJson } from "../../../../../src/engine/plan/json.ts";
import type { ObjectView } from "../../../../../src/engine/ports.ts";

const view = { get: () => undefined } as unknown as ObjectView;
const needs: Needs = { images: [], missing: [], refusals: [], silent: new Map(), unasked: 0 };

interface Shown {
  readonly Conflicts: unknown;
  readonly Tasks: unknown;
}

function shownOf(parts: Partial<ServicePlan>, refusals: Needs["refusals"] = []): Shown | undefined {
  const service: ServicePlan = {
    ...{ id: "s1", name: "db", task: undefined, tasks: [], more: 0, kept: 0, order: "stop-first" },
    ...{ parallelism: 1, refusals: [], refusing: 0, absence: { running: 0, away: 0, lost: 0 } },
    ...{ conflicts: [], ...parts },
  };
  const plan = { index: 1, objects: [], services: [service] };
  const rest = { unresolved: new Map(), refused: [], view };
  const shown = planToJson(plan, { needs: { ...needs, refusals }, ...rest }) as {
    readonly Services: readonly Shown[];
  };
  return shown.Services[0];
}

function conflictsOf(conflicts: readonly ConflictPlan[], refusals: Needs["refusals"]): unknown {
  return shownOf({ conflicts }, refusals)?.Conflicts;
}

describe("src/engine/plan/json", () => {
  const node = { ID: "n1", Hostname: "" };
  const refused: RefusedWish = {
    ...{ kind: "volume", nodeId: "n1", serviceId: "s1", name: "data" },
    reason: "other options",
  };

  it("shows a volume that a node would refuse as a conflict of the service it is for", () => {
    const other = { ...refused, serviceId: "s2" };
    deepEqual(conflictsOf([], [refused, other]), [
      {
        ...{ Kind: "volume", Name: "data", Nodes: [node], Services: [], Effect: "rejected" },
        ...{ To: node, Reason: "other options" },
      },
    ]);
  });

  it("tells the first slot of a job, which is 0, from a place that is a node", () => {
    const task = { action: "start" as const, taskId: "", from: "", to: "", error: "" };
    const tasks = [
      { ...task, slot: 0, nodeId: "" },
      { ...task, slot: undefined, nodeId: "n1" },
    ];
    deepEqual(shownOf({ tasks })?.Tasks, [
      { Action: "start", Slot: 0 },
      { Action: "start", Node: node },
    ]);
  });

  it("shows it once when the managers know whose it is", () => {
    const known: ConflictPlan = {
      ...{ kind: "volume", name: "data", nodeIds: ["n1"], services: ["web"], to: "n1" },
      ...{ effect: "rejected", reason: "it has other options there" },
    };
    deepEqual(conflictsOf([known], [refused]), [
      {
        ...{ Kind: "volume", Name: "data", Nodes: [node], Services: ["web"], Effect: "rejected" },
        ...{ To: node, Reason: "it has other options there" },
      },
    ]);
  });
});
