/**
 * A group of tasks that any node suits alike: what they have in common, as filters and ranking need it. Pure.
 */
import {
  type Platform,
  type PortConfig,
  type Resources,
  type Service,
  type Task,
  TaskSpec,
  type Volume,
} from "../../src/common/api/generated/api.ts";
import { allowsEmulation } from "../../src/common/platform/match.ts";
import type { VolumeHomes } from "./homes.ts";
import { hostPortsOf } from "./node-info.ts";

/** What is known of the image of a group. */
export interface ImageFacts {
  readonly reference: string;
  /** Digest of the index; empty when it is not known. */
  readonly digest: string;
  /** Empty when they are not known. */
  readonly platforms: readonly Platform[];
}

/** What the tasks of a group have in common. */
export interface Group {
  /** Empty for tasks without a service. */
  readonly serviceId: string;
  readonly specVersion: number | undefined;
  readonly spec: TaskSpec;
  readonly reserved: Resources | undefined;
  readonly hostPorts: readonly PortConfig[];
  readonly image: ImageFacts;
  /** Whether the service may run emulated on any node. */
  readonly mayEmulate: boolean;
  /** Drivers of its networks that not every node has. */
  readonly networkDrivers: readonly string[];
  /** Per cluster volume it mounts, those that would do. */
  readonly volumes: readonly (readonly Volume[])[];
  /** Where its local volumes are; undefined where that does not matter. */
  readonly homes: VolumeHomes | undefined;
}

/** What a group needs to know beyond its tasks. */
export interface Surroundings {
  readonly service: Service | undefined;
  readonly image: ImageFacts;
  readonly networkDrivers: readonly string[];
  readonly volumes: readonly (readonly Volume[])[];
  readonly homes?: VolumeHomes | undefined;
}

/** The group of a task. */
export function groupOf(task: Task, surroundings: Surroundings): Group {
  const { service, image, networkDrivers, volumes, homes } = surroundings;
  const spec = task.spec ?? TaskSpec.create();
  const labels = (service?.spec?.annotations ?? task.serviceAnnotations)?.labels;
  const reserved = spec.resources?.reservations;
  const isReserving =
    reserved !== undefined &&
    (reserved.nanoCpus > 0 || reserved.memoryBytes > 0 || reserved.generic.length > 0);
  return {
    serviceId: task.serviceId,
    specVersion: task.specVersion,
    spec,
    reserved: isReserving ? reserved : undefined,
    hostPorts: hostPortsOf(task),
    image,
    mayEmulate: allowsEmulation(labels),
    networkDrivers,
    volumes,
    homes,
  };
}
