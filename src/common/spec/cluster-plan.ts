/**
 * What the managers say would become of changes that are not made: the objects, every task, and where new tasks would go.
 *
 * Made by `manager/plan` with the decisions that would carry the changes out, told by the Engine API.
 */
import type { TaskSpec, UpdateOrder } from "../api/generated/api.ts";

/** The kinds of objects that plans are about. */
export type PlannedKind = "network" | "secret" | "config" | "service";

/** What happens to one object. */
export interface ObjectPlan {
  readonly kind: PlannedKind;
  readonly id: string;
  readonly name: string;
  /** `none` for an update with what is there already. */
  readonly action: "create" | "update" | "remove" | "none";
  /** Why it would have to wait for what it needs of the cluster; empty when it would not. */
  readonly waits: string;
}

/** What happens to one place of a service. */
export interface TaskPlan {
  readonly action: "start" | "replace" | "stop";
  /** As users see it, from 0 for jobs; undefined for a place that is a node. */
  readonly slot: number | undefined;
  /** Id of that node; empty for a slot. */
  readonly nodeId: string;
  /** The task that is there; empty when there is none. */
  readonly taskId: string;
  /** Id of its node; empty when there is none. */
  readonly from: string;
  /** Id of the node the new task would go to; empty when none would take it, or when it was not looked for. */
  readonly to: string;
  /** Why no node would take it, in the words its task would say. */
  readonly error: string;
}

/** A node that would take no task of a service. */
export interface NodeRefusal {
  readonly nodeId: string;
  readonly reason: string;
}

/** Something on a node that a task needs for itself, or has elsewhere. */
export interface ConflictPlan {
  readonly kind: "port" | "volume";
  /** `8080/tcp`, or the name of the volume. */
  readonly name: string;
  /** Where it is, and is in the way. */
  readonly nodeIds: readonly string[];
  /** Names of the services that have it there. */
  readonly services: readonly string[];
  /** Tasks wait; or start with an empty volume, or are rejected by the agent, both on the node `to`. */
  readonly effect: "waits" | "empty" | "rejected";
  /** Empty for `waits`. */
  readonly to: string;
  /** Why tasks cannot go where it is, or why they are rejected; may be empty. */
  readonly reason: string;
}

/** How much of a service is away while the changes are made. */
export interface Absence {
  /** Tasks that run now. */
  readonly running: number;
  /** Most of these that are away at a time; what a new task that starts first stands in for is not away. */
  readonly away: number;
  /** Tasks that would not come back, as no node would take them. */
  readonly lost: number;
}

/** What happens to the tasks of one service. */
export interface ServicePlan {
  readonly id: string;
  readonly name: string;
  /** The tasks as they are to be; undefined for a service that is removed. */
  readonly task: TaskSpec | undefined;
  /** At most `plannedTasksMax`; the others are in `more`. */
  readonly tasks: readonly TaskPlan[];
  readonly more: number;
  /** Wanted tasks that nothing happens to. */
  readonly kept: number;
  readonly order: UpdateOrder;
  /** Tasks replaced at a time; 0 for all. */
  readonly parallelism: number;
  /** At most `plannedRefusalsMax`; all of them are counted in `refusing`. */
  readonly refusals: readonly NodeRefusal[];
  readonly refusing: number;
  /** At most `plannedConflictsMax`. */
  readonly conflicts: readonly ConflictPlan[];
  readonly absence: Absence;
}

/** What changes would do. */
export interface ClusterPlan {
  /** Stands for the state of what the plan is about; it is another once that has changed. */
  readonly index: number;
  readonly objects: readonly ObjectPlan[];
  /** Of services whose tasks something happens to. */
  readonly services: readonly ServicePlan[];
}

/** Places of one service for which nodes are looked for in a plan: the others are only counted. */
export const plannedTasksMax = 2_000;
/** Refusing nodes that are named for one service. */
export const plannedRefusalsMax = 100;
/** Conflicts that are told of one service. */
export const plannedConflictsMax = 100;
