/**
 * Events of the node's containers, images, volumes and networks on their way to `GET /events`.
 */
import type { Runtime } from "../common/container/runtime.ts";
import type { EventHub } from "./event-hub.ts";
import {
  eventFromContainer,
  eventFromImage,
  eventFromNetwork,
  eventFromVolume,
} from "./translate/runtime-event.ts";

/** Publishes until the signal aborts; each source by itself, so that one that fails can be asked again. */
export function runtimeFeeds(
  runtime: Runtime,
  hub: EventHub,
): readonly ((signal: AbortSignal) => Promise<void>)[] {
  return [
    async (signal) => {
      for await (const event of runtime.containers.events(signal))
        hub.publish(eventFromContainer(event));
    },
    async (signal) => {
      for await (const event of runtime.images.events(signal)) hub.publish(eventFromImage(event));
    },
    async (signal) => {
      for await (const event of runtime.volumes.events(signal)) hub.publish(eventFromVolume(event));
    },
    async (signal) => {
      for await (const event of runtime.networks.events(signal))
        hub.publish(eventFromNetwork(event));
    },
  ];
}
