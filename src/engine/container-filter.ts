/**
 * Filters of `GET /containers/json`. Pure; names and ids match as regular expressions, as Docker has them.
 */
import type { Container } from "../common/container/types.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { type Filters, matchesLabels, valuesFor } from "./filters.ts";
import type { ContainerNetworking } from "./translate/endpoint.ts";

/** Filters the list knows. */
export const containerFilters = [
  "ancestor",
  "before",
  "exited",
  "expose",
  "health",
  "id",
  "is-task",
  "isolation",
  "label",
  "name",
  "network",
  "publish",
  "since",
  "status",
  "volume",
];

const phases = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const healths = ["starting", "healthy", "unhealthy", "none"];

/** What filters refer to, looked up before. */
export interface FilterTargets {
  /** Ids of the images `ancestor` names. */
  readonly imageIds: ReadonlySet<string>;
  /** When the containers of `before` and `since` were made; undefined where there is no such filter. */
  readonly beforeMs: number | undefined;
  readonly sinceMs: number | undefined;
  readonly networkingOf: (container: Container) => ContainerNetworking;
}

/** @throws ClusterError `invalid-argument` with Docker's text for a value out of the allowed ones. */
export function containerMatcher(
  filters: Filters,
  targets: FilterTargets,
): (container: Container) => boolean {
  const statuses = words(filters, "status", phases);
  const health = words(filters, "health", healths);
  const exits = valuesFor(filters, "exited").map((text) => {
    if (!/^-?\d+$/.test(text)) throw invalid("exited", text);
    return Number(text);
  });
  const isTask = truthFor(filters, "is-task");
  for (const key of ["publish", "expose"]) {
    for (const text of valuesFor(filters, key)) checkPort(key, text);
  }
  const ancestors = valuesFor(filters, "ancestor");
  return (container) => {
    const { state } = container;
    return (
      matchesExpression(filters, "id", container.id) &&
      (matchesExpression(filters, "name", container.name) ||
        matchesExpression(filters, "name", `/${container.name}`)) &&
      matchesLabels(filters, "label", container.labels) &&
      (statuses.length === 0 || statuses.includes(state.phase)) &&
      (health.length === 0 || health.includes(state.health.status)) &&
      (exits.length === 0 || (exits.includes(state.exitCode) && hasEnded(container))) &&
      (isTask === undefined || isTask === (container.config.task !== undefined)) &&
      (ancestors.length === 0 ||
        targets.imageIds.has(container.imageId) ||
        ancestors.includes(container.config.image)) &&
      (targets.beforeMs === undefined || container.createdAtMs < targets.beforeMs) &&
      (targets.sinceMs === undefined || container.createdAtMs > targets.sinceMs) &&
      matchesVolume(filters, container) &&
      matchesNetwork(filters, () => targets.networkingOf(container)) &&
      matchesPorts(filters, container, () => targets.networkingOf(container))
    );
  };
}

function hasEnded(container: Container): boolean {
  return container.state.phase !== "running" && container.state.finishedAtMs !== 0;
}

function matchesExpression(filters: Filters, key: string, text: string): boolean {
  const values = valuesFor(filters, key);
  return (
    values.length === 0 ||
    values.some((value) => {
      try {
        return new RegExp(value).test(text);
      } catch {
        // No regular expression: then it must be the text itself.
        return value === text;
      }
    })
  );
}

function matchesVolume(filters: Filters, container: Container): boolean {
  const values = valuesFor(filters, "volume");
  return (
    values.length === 0 ||
    container.mounts.some(
      (mount) =>
        values.includes(mount.destination) ||
        values.includes(mount.name === "" ? mount.source : mount.name),
    )
  );
}

function matchesNetwork(filters: Filters, networking: () => ContainerNetworking): boolean {
  const values = valuesFor(filters, "network");
  if (values.length === 0) return true;
  const { joins, places, idOf } = networking();
  const of = [
    ...joins.flatMap(({ network }) => [network, idOf(network)]),
    ...(places?.places ?? []).flatMap((place) => [place.networkName, place.networkId]),
  ];
  return of.some((one) => values.includes(one));
}

/** A published port is known by its number on either side. */
function matchesPorts(
  filters: Filters,
  { config }: Container,
  networking: () => ContainerNetworking,
): boolean {
  const published = valuesFor(filters, "publish").map(portRange);
  const exposed = valuesFor(filters, "expose").map(portRange);
  const bound = published.length === 0 ? [] : (networking().places?.ports ?? []);
  return (
    (published.length === 0 ||
      bound.some((port) =>
        published.some(
          (range) =>
            range.protocol === port.protocol &&
            (within(range, port.hostPort) || within(range, port.containerPort)),
        ),
      )) &&
    (exposed.length === 0 ||
      config.exposedPorts.some((text) => {
        const [number, protocol] = text.split("/");
        return exposed.some(
          (range) => range.protocol === protocol && within(range, Number(number)),
        );
      }))
  );
}

interface PortRange {
  readonly first: number;
  readonly last: number;
  readonly protocol: string;
}

function portRange(text: string): PortRange {
  const [numbers = "", protocol = "tcp"] = text.split("/");
  const [first = 0, last = first] = numbers.split("-").map(Number);
  return { first, last, protocol };
}

function within({ first, last }: PortRange, port: number): boolean {
  return first <= port && port <= last;
}

function checkPort(key: string, text: string): void {
  if (!/^\d+(-\d+)?(\/(tcp|udp|sctp))?$/.test(text)) throw invalid(key, text);
}

function words(filters: Filters, key: string, known: readonly string[]): readonly string[] {
  const values = valuesFor(filters, key).map((value) => value.toLowerCase());
  const unknown = values.find((value) => !known.includes(value));
  if (unknown !== undefined) throw invalid(key, unknown);
  return values;
}

/** A truth value; undefined when the key is not given. @throws ClusterError `invalid-argument` for anything else. */
export function truthFor(filters: Filters, key: string): boolean | undefined {
  const values = valuesFor(filters, key);
  const [value] = values;
  if (value === undefined) return undefined;
  if (values.length > 1) throw invalid(key, values.join(" "));
  if (["1", "true"].includes(value.toLowerCase())) return true;
  if (["0", "false"].includes(value.toLowerCase())) return false;
  throw invalid(key, value);
}

function invalid(key: string, value: string): ClusterError {
  return new ClusterError("invalid-argument", `invalid filter '${key}=${value}'`);
}
