/**
 * A plan as the API shows it. Pure.
 */
import type {
  ClusterPlan,
  ConflictPlan,
  ServicePlan,
  TaskPlan,
} from "../../common/spec/cluster-plan.ts";
import type { ObjectView } from "../ports.ts";
import type { Json } from "../translate/common.ts";
import type { Needs, RefusedWish } from "./images.ts";

/** A request of a plan that would be refused. */
export interface RefusedRequest {
  /** From 0. */
  readonly at: number;
  readonly method: string;
  readonly path: string;
  readonly message: string;
}

/** The whole of it. */
export function planToJson(
  plan: ClusterPlan,
  o: {
    readonly needs: Needs;
    /** Why images are taken without what their registries say of them. */
    readonly unresolved: ReadonlyMap<string, string>;
    readonly refused: readonly RefusedRequest[];
    readonly view: ObjectView;
  },
): Json {
  const { needs, unresolved, refused, view } = o;
  const nodeOf = (id: string) => nodeToJson(id, view);
  return {
    Index: plan.index,
    Objects: plan.objects.map(({ kind, id, name, action, waits }) => ({
      ...{ Kind: kind, ID: id, Name: name, Action: action },
      ...(waits === "" ? {} : { Waits: waits }),
    })),
    Services: plan.services.map((service) => {
      const refused = needs.refusals.filter(({ serviceId }) => serviceId === service.id);
      return serviceToJson(service, refused, nodeOf);
    }),
    Images: needs.images.map(({ image, nodeId, totalBytes, pullBytes, unknown }) => ({
      Image: image,
      Node: nodeOf(nodeId),
      ...(unknown === "" ? { TotalBytes: totalBytes, PullBytes: pullBytes } : { Unknown: unknown }),
    })),
    Unresolved: [...unresolved].map(([Image, Reason]) => ({ Image, Reason })),
    MissingPaths: needs.missing.map(({ nodeId, service, path }) => ({
      ...{ Node: nodeOf(nodeId), Service: service, Path: path },
    })),
    SilentNodes: [...needs.silent].map(([id, Reason]) => ({ Node: nodeOf(id), Reason })),
    NodesNotAsked: needs.unasked,
    Refused: refused.map(({ at, method, path, message }) => ({
      ...{ Request: at, Method: method, Path: path, Message: message },
    })),
  };
}

function nodeToJson(id: string, view: ObjectView): Json {
  return { ID: id, Hostname: view.get("node", id)?.description?.hostname ?? "" };
}

function serviceToJson(
  service: ServicePlan,
  refused: readonly RefusedWish[],
  nodeOf: (id: string) => Json,
): Json {
  const { absence } = service;
  return {
    ID: service.id,
    Name: service.name,
    Image: service.task?.container?.image ?? "",
    Removed: service.task === undefined,
    Order: service.order,
    Parallelism: service.parallelism,
    Kept: service.kept,
    Tasks: service.tasks.map((task) => taskToJson(task, nodeOf)),
    MoreTasks: service.more,
    Refusing: service.refusing,
    Refusals: service.refusals.map(({ nodeId, reason }) => ({
      ...{ Node: nodeOf(nodeId), Reason: reason },
    })),
    Conflicts: conflictsOf(service, refused).map((one) => conflictToJson(one, nodeOf)),
    Absence: { Running: absence.running, Away: absence.away, Lost: absence.lost },
  };
}

/** Those the managers know, and those only the nodes do. */
function conflictsOf(
  { conflicts }: ServicePlan,
  refused: readonly RefusedWish[],
): readonly ConflictPlan[] {
  const isKnown = ({ kind, name, nodeId }: RefusedWish) =>
    conflicts.some(
      (one) =>
        one.effect === "rejected" && one.kind === kind && one.name === name && one.to === nodeId,
    );
  const more = refused.filter((one) => !isKnown(one));
  return [
    ...conflicts,
    ...more.map(({ kind, nodeId, name, reason }) => ({
      ...{ kind, name, nodeIds: [nodeId], services: [] },
      ...{ effect: "rejected" as const, to: nodeId, reason },
    })),
  ];
}

function conflictToJson(
  { kind, name, nodeIds, services, effect, to, reason }: ConflictPlan,
  nodeOf: (id: string) => Json,
): Json {
  return {
    ...{ Kind: kind, Name: name, Nodes: nodeIds.map(nodeOf), Services: services, Effect: effect },
    ...(to === "" ? {} : { To: nodeOf(to) }),
    ...(reason === "" ? {} : { Reason: reason }),
  };
}

function taskToJson(task: TaskPlan, nodeOf: (id: string) => Json): Json {
  const { action, slot, nodeId, taskId, from, to, error } = task;
  return {
    Action: action,
    ...(slot === undefined ? {} : { Slot: slot }),
    ...(nodeId === "" ? {} : { Node: nodeOf(nodeId) }),
    ...(taskId === "" ? {} : { TaskID: taskId }),
    ...(from === "" ? {} : { From: nodeOf(from) }),
    ...(to === "" ? {} : { To: nodeOf(to) }),
    ...(error === "" ? {} : { Error: error }),
  };
}
