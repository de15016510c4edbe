/**
 * What a deployment would change: the specs of a project beside those in the cluster. What that does to tasks the managers say. Pure.
 */
import { type Body, byText } from "./translate/context.ts";

/** A value that differs; `undefined` is none. */
export interface Difference {
  /** `TaskTemplate.ContainerSpec.Image`. */
  readonly path: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** What happens to one object. */
export interface PlannedChange {
  readonly kind: "network" | "secret" | "config" | "service";
  readonly name: string;
  readonly action: "create" | "update" | "remove" | "none";
  readonly differences: readonly Difference[];
  /** What it does to tasks and callers, in words. */
  readonly effects: readonly string[];
}

/** Names of networks by id, to compare what the cluster has by id with what files have by name. */
export type NetworkNames = (id: string) => string;

/** What differs between two specs of a service. */
export function serviceDifferences(
  before: Body,
  after: Body,
  nameOf: NetworkNames,
): readonly Difference[] {
  return differences(comparable(before, nameOf), comparable(after, nameOf), "");
}

function replicasOf(body: Body): number | undefined {
  const mode = (body["Mode"] ?? {}) as {
    readonly Replicated?: { readonly Replicas?: number };
    readonly ReplicatedJob?: {
      readonly TotalCompletions?: number;
      readonly MaxConcurrent?: number;
    };
  };
  if (mode.Replicated !== undefined) return mode.Replicated.Replicas ?? 1;
  return mode.ReplicatedJob === undefined
    ? undefined
    : (mode.ReplicatedJob.TotalCompletions ?? mode.ReplicatedJob.MaxConcurrent ?? 1);
}

/** Words that stand for what holds when nothing is said. */
const defaults: Readonly<Record<string, unknown>> = {
  Isolation: "default",
  Runtime: "container",
  FailureAction: "pause",
  Order: "stop-first",
};
/** Lists of words that mean something together only. */
const inOrder = /\.(Args|Command|Test)$/;
/** Not the user's, or the cluster's own names for what has another. */
const passedOver = new Set(["ForceUpdate", "SecretID", "ConfigID"]);

function comparable(spec: Body, nameOf: NetworkNames): unknown {
  const endpoint = (spec["EndpointSpec"] ?? {}) as Body;
  const whole = {
    ...spec,
    EndpointSpec: endpoint["Mode"] === "vip" ? { ...endpoint, Mode: undefined } : endpoint,
    Mode: modeText(spec),
  };
  return plain(whole, "", nameOf);
}

function modeText(spec: Body): string {
  const mode = (spec["Mode"] ?? {}) as {
    readonly Global?: object;
    readonly GlobalJob?: object;
    readonly ReplicatedJob?: { readonly MaxConcurrent?: number };
  };
  if (mode.Global !== undefined) return "Global";
  if (mode.GlobalJob !== undefined) return "GlobalJob";
  const count = replicasOf(spec) ?? 1;
  if (mode.ReplicatedJob === undefined) return `Replicated ${count}`;
  return `ReplicatedJob ${count}, ${mode.ReplicatedJob.MaxConcurrent ?? 1} at a time`;
}

/** Without what is empty, so that nothing said and said to be nothing are one. */
function plain(value: unknown, key: string, nameOf: NetworkNames): unknown {
  if (value === null || value === undefined || value === "" || value === 0 || value === false)
    return undefined;
  if (passedOver.has(key) || defaults[key] === value) return undefined;
  if (key === "Target" && typeof value === "string") return nameOf(value);
  if (Array.isArray(value)) {
    const list = value.map((item) => plain(item, "", nameOf)).filter((item) => item !== undefined);
    return list.length === 0 ? undefined : list;
  }
  if (typeof value !== "object") return value;
  const fields = Object.entries(value)
    .map(([name, field]) => [name, plain(field, name, nameOf)] as const)
    .filter(([, field]) => field !== undefined)
    .sort(([one], [other]) => byText(one, other));
  return fields.length === 0 ? undefined : Object.fromEntries(fields);
}

function differences(before: unknown, after: unknown, path: string): readonly Difference[] {
  if (isObject(before) && isObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys.flatMap((key) =>
      differences(before[key], after[key], path === "" ? key : `${path}.${key}`),
    );
  }
  if (isObject(before) !== isObject(after) && (before === undefined || after === undefined)) {
    const [there] = [before, after].filter(isObject);
    if (there !== undefined)
      return Object.entries(there).flatMap(([key, value]) =>
        before === undefined
          ? differences(undefined, value, joined(path, key))
          : differences(value, undefined, joined(path, key)),
      );
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  if (Array.isArray(before) && Array.isArray(after)) {
    const listed = listDifferences(before, after, path);
    if (listed.length > 0 && !path.endsWith(".Env") && !inOrder.test(path)) return listed;
  }
  if (path.endsWith("ContainerSpec.Env")) return environmentDifferences(before, after, path);
  return [{ path, before: shown(before), after: shown(after) }];
}

function joined(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** What is in one of the lists alone; nothing where only the order differs. */
function listDifferences(
  before: readonly unknown[],
  after: readonly unknown[],
  path: string,
): readonly Difference[] {
  const [had, has] = [before, after].map(
    (list) => new Set(list.map((item) => JSON.stringify(item))),
  );
  const gone = before.filter((item) => has?.has(JSON.stringify(item)) !== true);
  const come = after.filter((item) => had?.has(JSON.stringify(item)) !== true);
  return [
    ...gone.map((item) => ({ path, before: shown(item), after: undefined })),
    ...come.map((item) => ({ path, before: undefined, after: shown(item) })),
  ];
}

/** Names alone: values are often secret. */
function environmentDifferences(
  before: unknown,
  after: unknown,
  path: string,
): readonly Difference[] {
  const byName = (list: unknown) =>
    new Map(
      (Array.isArray(list) ? list : []).map((line) => [
        String(line).split("=")[0] ?? "",
        String(line),
      ]),
    );
  const [had, has] = [byName(before), byName(after)];
  return [...new Set([...had.keys(), ...has.keys()])].sort().flatMap((name) => {
    if (had.get(name) === has.get(name)) return [];
    return [
      {
        path: `${path}.${name}`,
        before: had.has(name) ? "(a value)" : undefined,
        after: has.has(name) ? "(another value)" : undefined,
      },
    ];
  });
}
