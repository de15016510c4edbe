/**
 * Which texts of a container's spec may hold placeholders, and what these stand for (docker-facts 1.10): environment, mounts
 * and hostname. Nodes fill them in; managers try them when a service is made. Pure.
 */
import type { ContainerSpec, Mount, Task } from "../api/generated/api.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { shownPlace } from "./place.ts";
import { expand, type PlaceholderValues } from "./placeholders.ts";

/** The node that a task is on, as placeholders show it. */
export interface FilledNode {
  readonly id: string;
  readonly hostname: string;
  readonly architecture: string;
  readonly os: string;
}

/** The texts, filled in. */
export interface Filled {
  /** `NAME=value` each; a name alone stays. */
  readonly env: readonly string[];
  readonly mounts: readonly Mount[];
  readonly hostname: string;
}

/** What placeholders of a task stand for. @param name The task's. */
export function placeholderValues(task: Task, node: FilledNode, name: string): PlaceholderValues {
  const service = task.serviceAnnotations;
  return {
    Service: { ID: task.serviceId, Name: service?.name ?? "", Labels: service?.labels ?? {} },
    Node: {
      ID: node.id,
      Hostname: node.hostname,
      Platform: { Architecture: node.architecture, OS: node.os },
    },
    Task: { ID: task.id, Name: name, Slot: shownPlace(task) },
  };
}

/** Fills in a spec. @throws ClusterError invalid-argument saying where, as Docker does. */
export function fillIn(spec: ContainerSpec, values: PlaceholderValues): Filled {
  const fill = (text: string) => expand(text, { values, functions: {} });
  return {
    env: during("env", () =>
      spec.env.map((line) => {
        const at = line.indexOf("=");
        // Values only: names are the user's own.
        if (at < 0) return line;
        return during(`env ${JSON.stringify(line)}`, () => {
          return line.slice(0, at + 1) + fill(line.slice(at + 1));
        });
      }),
    ),
    mounts: during("mounts", () => spec.mounts.map((mount) => filledMount(mount, fill))),
    hostname: during("hostname", () => fill(spec.hostname)),
  };
}

function during<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    const failed = what.includes(" ") ? "" : " failed";
    throw new ClusterError(error.code, `expanding ${what}${failed}: ${error.message}`, {
      cause: error,
    });
  }
}

function filledMount(mount: Mount, fill: (text: string) => string): Mount {
  const { volume } = mount;
  const filled = { ...mount, source: fill(mount.source), target: fill(mount.target) };
  if (volume === undefined) return filled;
  const driver = volume.driver && {
    ...volume.driver,
    options: mapValues(volume.driver.options, fill),
  };
  return { ...filled, volume: { ...volume, labels: mapValues(volume.labels, fill), driver } };
}

function mapValues(
  map: Readonly<Record<string, string>>,
  change: (text: string) => string,
): Record<string, string> {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, change(value)]));
}
