/**
 * What a node has to have, and what has to be said to its agent so that it does. Pure.
 *
 * Tasks from ASSIGNED on are the node's until they are removed from the store, the ended ones too: their containers are
 * kept as long. Secrets and configs are the node's while a task that reads them there is to run.
 */
import {
  Annotations,
  Assignments,
  Config,
  Secret,
  type Task,
  TaskSpec,
} from "../../src/common/api/generated/api.ts";
import { assignmentObjectsMax } from "../../src/common/limits/agent.ts";
import { payloadKey, payloadReferences } from "../../src/common/spec/payload-revision.ts";
import { isBefore, isTerminal } from "../../src/common/task/state.ts";
import { cut, idSize, numbered, numberedInFull } from "./message-pieces.ts";

/** Reads of the tables that assignments are computed from. */
export interface AssignmentSource {
  tasksOfNode(nodeId: string): Iterable<Task>;
  /** With the data of one revision, under that revision's key. */
  secret(wanted: WantedPayload): Secret | undefined;
  config(wanted: WantedPayload): Config | undefined;
}

/** A revision, from 1, of a secret or config. */
export interface WantedPayload {
  readonly id: string;
  readonly revision: number;
}

/** Ids, of secrets and configs the keys of their revisions, of what an agent was told of, and has not been told is gone. */
export interface Told {
  readonly tasks: ReadonlySet<string>;
  readonly secrets: ReadonlySet<string>;
  readonly configs: ReadonlySet<string>;
}

/** An agent that was told nothing. */
export const nothingTold: Told = { tasks: new Set(), secrets: new Set(), configs: new Set() };

/** What there is to say. */
export interface AssignmentChanges {
  readonly secrets: readonly Secret[];
  readonly configs: readonly Config[];
  readonly tasks: readonly Task[];
  readonly removedSecretIds: readonly string[];
  readonly removedConfigIds: readonly string[];
  readonly removedTaskIds: readonly string[];
  /** What the agent has been told of once all this is said. */
  readonly told: Told;
}

/** Whether a task is the business of the node it names. */
export function isAssigned(task: Task): boolean {
  const state = task.status?.state ?? "new";
  return !isBefore(state, "assigned") && state !== "orphaned";
}

/** Whether an agent has to be told of the change of a task it knows: all that is not what it said itself. */
export function concernsAgent(before: Task, after: Task): boolean {
  return (
    isAssigned(before) !== isAssigned(after) ||
    // Its secrets may go from the node.
    isTerminal(before.status?.state ?? "new") !== isTerminal(after.status?.state ?? "new") ||
    before.nodeId !== after.nodeId ||
    before.desiredState !== after.desiredState ||
    before.spec !== after.spec ||
    before.networks !== after.networks ||
    before.endpoint !== after.endpoint ||
    before.volumes !== after.volumes ||
    before.assignedGeneric !== after.assignedGeneric ||
    before.serviceAnnotations !== after.serviceAnnotations ||
    before.logDriver !== after.logDriver
  );
}

/**
 * What to say to the agent of a node.
 *
 * @param told What it was told of before; objects in it are said again only when `changed` has their id.
 */
export function changesFor(
  nodeId: string,
  told: Told,
  changed: ReadonlySet<string>,
  source: AssignmentSource,
): AssignmentChanges {
  const tasks: Task[] = [];
  const taskIds = new Set<string>();
  const secrets = new Map<string, WantedPayload>();
  const configs = new Map<string, WantedPayload>();
  for (const task of source.tasksOfNode(nodeId)) {
    if (!isAssigned(task)) continue;
    taskIds.add(task.id);
    if (!told.tasks.has(task.id) || changed.has(task.id)) tasks.push(task);
    if (reads(task)) addDependencies(task, secrets, configs);
  }
  const news = <T>(
    wanted: ReadonlyMap<string, WantedPayload>,
    known: ReadonlySet<string>,
    get: (wanted: WantedPayload) => T | undefined,
  ) =>
    [...wanted].flatMap(([key, one]) =>
      known.has(key) && !changed.has(key) ? [] : (get(one) ?? []),
    );
  const secretKeys = new Set(secrets.keys());
  const configKeys = new Set(configs.keys());
  return {
    tasks,
    secrets: news(secrets, told.secrets, (wanted) => source.secret(wanted)),
    configs: news(configs, told.configs, (wanted) => source.config(wanted)),
    removedTaskIds: without(told.tasks, taskIds),
    removedSecretIds: without(told.secrets, secretKeys),
    removedConfigIds: without(told.configs, configKeys),
    told: { tasks: taskIds, secrets: orNone(secretKeys), configs: orNone(configKeys) },
  };
}

/** Changes as messages of bounded size; none when there is nothing to say. Numbers count on from `number`. */
export function messagesOf(changes: AssignmentChanges, number: number): Assignments[] {
  return numbered(piecesOf(changes), number).map((one) => Assignments.create(one));
}

/** A full set as messages of bounded size; at least one. Numbers count on from `number`. */
export function fullMessagesOf(changes: AssignmentChanges, number: number): Assignments[] {
  return numberedInFull(piecesOf(changes), number).map((one) => Assignments.create(one));
}

function reads(task: Task): boolean {
  return !isTerminal(task.status?.state ?? "new") && isBefore(task.desiredState, "shutdown");
}

function addDependencies(
  task: Task,
  secrets: Map<string, WantedPayload>,
  configs: Map<string, WantedPayload>,
): void {
  for (const { kind, id, revision } of payloadReferences(task.spec)) {
    (kind === "secret" ? secrets : configs).set(payloadKey(id, revision), { id, revision });
  }
}

function without(ids: ReadonlySet<string>, present: ReadonlySet<string>): string[] {
  return [...ids].filter((id) => !present.has(id));
}

/** Thousands of sessions share the one empty set. */
function orNone(ids: ReadonlySet<string>): ReadonlySet<string> {
  return ids.size === 0 ? nothingTold.secrets : ids;
}

/** What is said before what: secrets and configs before the tasks, removals last. */
const order = [
  { field: "secrets", sizeOf: (secret: Secret) => Secret.encode(secret).length },
  { field: "configs", sizeOf: (config: Config) => Config.encode(config).length },
  { field: "tasks", sizeOf: taskBytes },
  { field: "removedTaskIds", sizeOf: idSize },
  { field: "removedSecretIds", sizeOf: idSize },
  { field: "removedConfigIds", sizeOf: idSize },
] as const;

function piecesOf({ told: _, ...lists }: AssignmentChanges) {
  return cut(lists, order, assignmentObjectsMax);
}

/** Sizes of what tasks share; measuring each task's own copy would double the cost of sending it. */
const sharedBytes = new WeakMap<object, number>();
/** What a task has beyond what it shares: ids, states, addresses. */
const ownBytes = 1024;

function taskBytes(task: Task): number {
  const { spec, serviceAnnotations } = task;
  const shared = (object: object | undefined, measure: () => number) => {
    if (object === undefined) return 0;
    let size = sharedBytes.get(object);
    if (size === undefined) {
      size = measure();
      sharedBytes.set(object, size);
    }
    return size;
  };
  return (
    ownBytes +
    shared(spec, () => TaskSpec.encode(spec ?? TaskSpec.create()).length) +
    shared(
      serviceAnnotations,
      () => Annotations.encode(serviceAnnotations ?? Annotations.create()).length,
    )
  );
}
