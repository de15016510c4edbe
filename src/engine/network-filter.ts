/**
 * Filters of `GET /networks` and `POST /networks/prune`, over networks of any scope. Pure.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import { type Filters, matchesExactly, matchesLabels, matchesPart, valuesFor } from "./filters.ts";
import { predefinedNames } from "./network-names.ts";

/** What a network is filtered by. */
export interface NetworkFacts {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly scope: "local" | "swarm";
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  readonly inUse: () => boolean;
}

/**
 * The test the filters ask for.
 * @param now For `until` given as a duration.
 * @throws ClusterError `invalid-argument` for values out of the allowed ones.
 */
export function matcherFrom(filters: Filters, now: number): (network: NetworkFacts) => boolean {
  const dangling = danglingFrom(filters);
  const until = untilFrom(filters, now);
  const types = valuesFor(filters, "type");
  const unknown = types.find((type) => type !== "builtin" && type !== "custom");
  if (unknown !== undefined)
    throw new ClusterError("invalid-argument", `invalid filter: 'type'='${unknown}'`);
  return (network) => {
    const builtin = predefinedNames.includes(network.name);
    return (
      matchesExactly(filters, "driver", network.driver) &&
      matchesExactly(filters, "scope", network.scope) &&
      matchesPart(filters, "name", network.name) &&
      matchesPart(filters, "id", network.id) &&
      matchesLabels(filters, "label", network.labels) &&
      !hasUnwantedLabel(filters, network.labels) &&
      (types.length === 0 || types.includes(builtin ? "builtin" : "custom")) &&
      (until === undefined || network.createdAtMs <= until) &&
      (dangling === undefined || dangling === !(builtin || network.inUse()))
    );
  };
}

function hasUnwantedLabel(filters: Filters, labels: Readonly<Record<string, string>>): boolean {
  return valuesFor(filters, "label!").length > 0 && matchesLabels(filters, "label!", labels);
}

function danglingFrom(filters: Filters): boolean | undefined {
  const values = valuesFor(filters, "dangling");
  if (values.length > 1)
    throw new ClusterError("invalid-argument", 'got more than one value for filter key "dangling"');
  const [value] = values;
  if (value === undefined) return undefined;
  if (value === "1" || value === "true") return true;
  if (value === "0" || value === "false") return false;
  throw new ClusterError(
    "invalid-argument",
    `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`,
  );
}

const unitMs: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** The `until` filter in milliseconds: a duration before now (`24h`, `1h30m`), Unix seconds, or a date; undefined without. */
export function untilFrom(filters: Filters, now: number): number | undefined {
  const values = valuesFor(filters, "until");
  if (values.length > 1)
    throw new ClusterError("invalid-argument", "more than one until filter specified");
  const [value] = values;
  if (value === undefined) return undefined;
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value) * 1000;
  const parts = [...value.matchAll(/(\d+)(ms|h|m|s)/g)];
  if (parts.length > 0 && parts.map(([text]) => text).join("") === value)
    return now - parts.reduce((sum, [, n, unit = ""]) => sum + Number(n) * (unitMs[unit] ?? 0), 0);
  const ms = Date.parse(value);
  if (Number.isNaN(ms))
    throw new ClusterError("invalid-argument", `invalid value for filter 'until': ${value}`);
  return ms;
}
