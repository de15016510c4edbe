/**
 * What a group of tasks needs to know beyond the tasks: service, image, networks and volumes, from the tables. Pure.
 */
import type { Mount, Service, ServiceImage, Task } from "../../src/common/api/generated/api.ts";
import { nameKey } from "../state/tables.ts";
import type { View } from "../state/view.ts";
import type { ImageFacts, Surroundings } from "./group.ts";
import { homesOf } from "./homes.ts";

/** Network drivers that need nothing on the node but the agent. */
const ownDrivers: ReadonlySet<string> = new Set([
  "",
  "overlay",
  "bridge",
  "host",
  "null",
  "none",
  "ipvlan",
  "macvlan",
]);
/** Images remembered; the oldest are forgotten first. */
const imagesMax = 10_000;

/** The latest that is known of every image that some service has, or had. */
export class ImageBook {
  readonly #images = new Map<string, ServiceImage>();

  /** Notes what a service knows of its image. */
  note(service: Service): void {
    const { image } = service;
    if (image === undefined || image.digest === "") return;
    const known = this.#images.get(image.reference);
    if (known !== undefined && known.resolvedAtMs > image.resolvedAtMs) return;
    this.#images.delete(image.reference);
    this.#images.set(image.reference, image);
    if (this.#images.size <= imagesMax) return;
    for (const oldest of this.#images.keys()) {
      this.#images.delete(oldest);
      return;
    }
  }

  /** What is known of the image of this reference. */
  facts(reference: string): ImageFacts {
    const known = reference === "" ? undefined : this.#images.get(reference);
    return { reference, digest: known?.digest ?? "", platforms: known?.platforms ?? [] };
  }
}

/** Whether what a task's image is for was not asked yet, but will be: for the present spec of its service. */
export function isImageOpen(service: Service | undefined, task: Task): boolean {
  const wanted = service?.spec?.task;
  const reference = task.spec?.container?.image ?? "";
  if (wanted === undefined || reference === "" || wanted.container?.image !== reference)
    return false;
  const { image } = service ?? {};
  return image?.reference !== reference || image.forceUpdate !== wanted.forceUpdate;
}

/**
 * The surroundings of a task's group.
 *
 * @param placed Tasks that were given a node just now, of which the view does not know yet.
 */
export function surroundingsOf(
  task: Task,
  view: View,
  o: { readonly images: ImageBook; readonly placed?: () => Iterable<Task> },
): Surroundings {
  const container = task.spec?.container;
  return {
    service: view.get("service", task.serviceId),
    image: o.images.facts(container?.image ?? ""),
    networkDrivers: networkDriversOf(task, view),
    volumes: (container?.mounts ?? [])
      .filter(({ type }) => type === "cluster")
      .map((mount) => volumesOf(mount, view)),
    homes: homesOf(task, view, o.placed),
  };
}

function networkDriversOf(task: Task, view: View): string[] {
  return task.networks
    .map(({ networkId }) => {
      const network = view.get("network", networkId);
      return (network?.driverState ?? network?.spec?.driver)?.name ?? "";
    })
    .filter((name) => !ownDrivers.has(name));
}

const groupPrefix = "group:";

/** A cluster volume is mounted by its name, or by its group, of which any will do. */
function volumesOf({ source }: Mount, view: View) {
  if (source.startsWith(groupPrefix)) {
    return view.find("volume", "group", source.slice(groupPrefix.length));
  }
  return view.find("volume", "name", nameKey(source));
}
