/**
 * A container as one line of `GET /containers/json`. Pure.
 */
import type { Container } from "../../common/container/types.ts";
import type { Json } from "./common.ts";
import { mountPointToJson, networkMode } from "./container-json.ts";
import { type ContainerNetworking, networksToJson, portLines } from "./endpoint.ts";
import { spokenDuration } from "./size.ts";

/** What a line shows besides the container. */
export interface SummaryFacts {
  readonly now: number;
  /** The image's name, or its id when the name means another image by now. */
  readonly image: string;
  readonly networking: ContainerNetworking;
  readonly sizes: { readonly ownBytes: number; readonly rootBytes: number } | undefined;
}

/** The line. */
export function containerToSummary(container: Container, facts: SummaryFacts): Json {
  return {
    Id: container.id,
    Names: [`/${container.name}`],
    Image: facts.image,
    ImageID: container.imageId,
    Command: commandText(container.args),
    Created: Math.floor(container.createdAtMs / 1000),
    Ports: portLines(facts.networking.places, container.config.exposedPorts),
    SizeRw: facts.sizes?.ownBytes,
    SizeRootFs: facts.sizes?.rootBytes,
    Labels: container.labels,
    State: container.state.phase,
    Status: statusText(container, facts.now),
    HostConfig: { NetworkMode: networkMode(container.config) },
    NetworkSettings: { Networks: networksToJson(container, facts.networking) },
    Mounts: container.mounts.map(mountPointToJson),
  };
}

function commandText(args: readonly string[]): string {
  const [program = "", ...rest] = args;
  return [program, ...rest.map((arg) => (arg.includes(" ") ? `'${arg}'` : arg))].join(" ");
}

/** `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`, … */
export function statusText(container: Container, now: number): string {
  const { state } = container;
  const up = spokenDuration(now - state.startedAtMs);
  const ago = `${spokenDuration(now - state.finishedAtMs)} ago`;
  switch (state.phase) {
    case "created":
      return "Created";
    case "running": {
      const { status } = state.health;
      if (status === "none") return `Up ${up}`;
      return `Up ${up} (${status === "starting" ? "health: starting" : status})`;
    }
    case "paused":
      return `Up ${up} (Paused)`;
    case "restarting":
      return `Restarting (${state.exitCode}) ${ago}`;
    case "removing":
      return "Removal In Progress";
    case "dead":
      return "Dead";
    case "exited":
      return state.finishedAtMs === 0 ? "" : `Exited (${state.exitCode}) ${ago}`;
  }
}
