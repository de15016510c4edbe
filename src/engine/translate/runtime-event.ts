/**
 * What happens to containers, images, volumes and networks as Docker's events of scope `local`. Pure.
 */
import type { ContainerEvent } from "../../common/container/containers.ts";
import type { ImageEvent } from "../../common/container/images.ts";
import type { NetworkEvent } from "../../common/container/networks.ts";
import type { VolumeEvent } from "../../common/container/volumes.ts";
import type { EventMessage } from "./event.ts";

/** With the container's labels among the attributes, and the fields older clients read. */
export function eventFromContainer(event: ContainerEvent): EventMessage {
  const { container } = event;
  const image = container.config.image;
  const attributes = { ...container.labels, ...event.attributes, image, name: container.name };
  return {
    status: event.action,
    id: container.id,
    from: image,
    Type: "container",
    Action: event.action,
    Actor: { ID: container.id, Attributes: attributes },
    scope: "local",
    ...timesOf(event.timeNs),
  };
}

/** An image is told by its name where it has one. */
export function eventFromImage(event: ImageEvent): EventMessage {
  const id = event.action === "pull" || event.action === "push" ? event.name : event.id;
  return {
    status: event.action,
    id,
    Type: "image",
    Action: event.action,
    Actor: { ID: id, Attributes: { name: event.name } },
    scope: "local",
    ...timesOf(event.timeNs),
  };
}

/** A volume is told by its name. */
export function eventFromVolume(event: VolumeEvent): EventMessage {
  return {
    Type: "volume",
    Action: event.action,
    Actor: {
      ID: event.volume.name,
      Attributes: { driver: event.volume.driver, ...event.attributes },
    },
    scope: "local",
    ...timesOf(event.timeNs),
  };
}

/** A network is told by its id, with its name and driver. */
export function eventFromNetwork(event: NetworkEvent): EventMessage {
  const { id, name, driver } = event.network;
  return {
    Type: "network",
    Action: event.action,
    Actor: { ID: id, Attributes: { ...event.attributes, name, type: driver } },
    scope: "local",
    ...timesOf(event.timeNs),
  };
}

function timesOf(ns: bigint): { readonly time: number; readonly timeNano: number } {
  return { time: Number(ns / 1_000_000_000n), timeNano: Number(ns) };
}
