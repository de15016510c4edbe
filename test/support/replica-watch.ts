/**
 * The replicas of a service, as the kernels of their hosts have them at one moment, and whether there ever were too few or too
 * many of them, or two of one version in a slot, while something else went on.
 *
 * A service that is watched has `watchedEnv` and a shell with `sleep 3600` in its command; the version of its spec is in its
 * variable V.
 */
import { readFileSync } from "node:fs";
import { type HostProcess, hostProcesses } from "./host-processes.ts";
import type { SwarmLab } from "./swarm-lab.ts";

/** What tells the tasks of a service apart. */
export const watchedEnv = ["--env", "TASK={{.Task.Name}}"] as const;

/** A task that lives. */
export interface Replica {
  readonly host: string;
  readonly id: string;
  readonly slot: number;
  readonly version: string;
}

/** How many replicas there may be at any moment. */
export interface ReplicaBounds {
  readonly least: number;
  readonly most: number;
}

/** A watch that goes on. */
export interface ReplicaWatch {
  /** Ends it. @returns Each way in which the bounds were not kept, once. */
  stop(): Promise<readonly string[]>;
}

/** All replicas at one moment. @param hosts Two: none of the first's came or went while the other was looked at. */
export function replicasNow(
  lab: SwarmLab,
  [first, second]: readonly [string, string],
  service: string,
): Replica[] {
  for (;;) {
    const before = replicasOn(lab, first, service);
    const others = replicasOn(lab, second, service);
    const after = replicasOn(lab, first, service);
    if (idsOf(before) === idsOf(after)) return [...before, ...others];
  }
}

/** Looks again and again. */
export function watchReplicas(look: () => readonly Replica[], bounds: ReplicaBounds): ReplicaWatch {
  const faults = new Set<string>();
  let isOver = false;
  const watching = (async () => {
    while (!isOver) {
      for (const fault of faultsOf(look(), bounds)) faults.add(fault);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  return {
    stop: async () => {
      isOver = true;
      await watching;
      return [...faults];
    },
  };
}

function faultsOf(replicas: readonly Replica[], bounds: ReplicaBounds): string[] {
  const { length } = replicas;
  const text = replicas.map(({ slot, version }) => `${slot} at ${version}`).join(", ");
  const faults: string[] = [];
  if (length < bounds.least) faults.push(`only ${length} run: ${text}`);
  if (length > bounds.most) faults.push(`as many as ${length} run: ${text}`);
  const places = replicas.map(({ slot, version }) => `slot ${slot} of version ${version}`);
  for (const [i, place] of places.entries())
    if (places.indexOf(place) < i) faults.push(`two run in ${place}: ${text}`);
  return faults;
}

function replicasOn(lab: SwarmLab, host: string, service: string): Replica[] {
  const found = new Map<string, Replica>();
  for (const one of hostProcesses(lab, host)) {
    const replica = replicaOf(one, host, service);
    // A shell that starts a program is there twice for a moment.
    if (replica !== undefined) found.set(replica.id, replica);
  }
  return [...found.values()];
}

function replicaOf(one: HostProcess, host: string, service: string): Replica | undefined {
  const [shell, , script = ""] = one.words;
  if (shell !== "sh" || !script.includes("sleep 3600")) return undefined;
  const variables = variablesOf(one);
  const [name, slot, id = ""] = (variables.get("TASK") ?? "").split(".");
  if (name !== service) return undefined;
  return { host, id, slot: Number(slot), version: variables.get("V") ?? "" };
}

function variablesOf({ folder }: HostProcess): ReadonlyMap<string, string> {
  try {
    const lines = readFileSync(`${folder}/environ`, "utf8").split("\0");
    return new Map(lines.map((line) => [line.replace(/=.*$/s, ""), line.replace(/^[^=]*=/, "")]));
  } catch {
    // It has ended meanwhile.
    return new Map();
  }
}

function idsOf(replicas: readonly Replica[]): string {
  return replicas
    .map(({ id }) => id)
    .sort()
    .join();
}
