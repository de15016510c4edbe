/**
 * Whether a task is what its service wants now. Pure; shared by the API's progress filter and the orchestrators.
 *
 * An image that was pushed again under its tag is another index. Where its manifest for the task's node is the one the task has,
 * the task is what is wanted: an index that changed for one architecture replaces the tasks on that one only.
 */
import {
  EndpointSpec,
  type Node,
  type Service,
  type Task,
  TaskSpec,
} from "../api/generated/api.ts";
import { allowsEmulation, choosePlatform } from "../platform/match.ts";
import { type ImageReference, parseReference } from "../registry/reference.ts";

/** How a task differs from what its service wants. */
export type TaskDifference =
  | "none"
  /** By its image alone, which was pushed again under its tag: on the task's node it may be the same. */
  | "image"
  | "other";

/**
 * Whether the task was made from another spec than the service has, in a way that calls for a new task: placement and
 * registry credentials do not, as they do not change what runs (docker-facts 1.8).
 *
 * @param node The task's; without one, indexes are compared instead of manifests.
 */
export function isTaskDirty(service: Service, task: Task, node?: Node): boolean {
  const difference = taskDifference(service, task);
  if (difference === "image") return node === undefined || !runsSameImage(service, task, node);
  return difference === "other";
}

/** How the task differs, wherever it is. */
export function taskDifference(service: Service, task: Task): TaskDifference {
  if (task.specVersion !== undefined && task.specVersion === service.specVersion) return "none";
  const endpoint = service.spec?.endpoint ?? EndpointSpec.create();
  const hasEndpoint = task.endpoint?.spec ?? EndpointSpec.create();
  if (!sameBytes(EndpointSpec.encode(endpoint), EndpointSpec.encode(hasEndpoint))) return "other";
  const wanted = service.spec?.task ?? TaskSpec.create();
  const has = task.spec ?? TaskSpec.create();
  if (isSameSpec(wanted, has)) return "none";
  const [before, after] = [has.container, wanted.container];
  if (before === undefined || after === undefined) return "other";
  if (!isPushedAgain(before.image, after.image)) return "other";
  const container = { ...before, image: after.image };
  return isSameSpec(wanted, { ...has, container }) ? "image" : "other";
}

/**
 * Whether what the registry has yet to say of the service's image may show that tasks of it are what is wanted: the image was
 * pushed again, and what it was before is known.
 */
export function awaitsManifests(service: Service): boolean {
  const { image, spec } = service;
  const wanted = spec?.task?.container?.image ?? "";
  if (image === undefined || image.reference === wanted) return false;
  if (manifestsOf(service, wanted) !== undefined) return false;
  return [image, ...image.earlier].some(
    ({ reference, manifests }) => manifests.length > 0 && isPushedAgain(reference, wanted),
  );
}

/** Whether the node of a task runs the same manifest for the image the task has and for the one its service wants. */
export function runsSameImage(service: Service, task: Task, { spec, description }: Node): boolean {
  const labels = service.spec?.annotations?.labels;
  const emulated = allowsEmulation(labels) || allowsEmulation(spec?.annotations?.labels);
  const { platforms = [], platform } = description ?? {};
  const own = platforms.length === 0 && platform !== undefined ? [platform] : platforms;
  const [before, after] = [task.spec, service.spec?.task].map((one) => {
    const known = manifestsOf(service, one?.container?.image ?? "");
    return known?.manifests[choosePlatform(known.platforms, own, { emulated })];
  });
  return before !== undefined && before === after;
}

function manifestsOf({ image }: Service, reference: string) {
  if (image === undefined) return undefined;
  const known = [image, ...image.earlier].find((one) => one.reference === reference);
  return known === undefined || known.manifests.length === 0 ? undefined : known;
}

/** Whether two references differ in nothing but the digest. */
function isPushedAgain(one: string, other: string): boolean {
  const [a, b] = [parsed(one), parsed(other)];
  if (a === undefined || b === undefined || a.digest === "" || b.digest === "") return false;
  return a.domain === b.domain && a.repository === b.repository && a.tag === b.tag;
}

function parsed(text: string): ImageReference | undefined {
  try {
    return parseReference(text);
  } catch {
    // What is no reference is the same as nothing else.
    return undefined;
  }
}

function isSameSpec(one: TaskSpec, other: TaskSpec): boolean {
  return sameBytes(TaskSpec.encode(comparable(one)), TaskSpec.encode(comparable(other)));
}

function comparable(spec: TaskSpec): TaskSpec {
  const container = spec.container && { ...spec.container, pull: undefined };
  return { ...spec, placement: undefined, container };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
