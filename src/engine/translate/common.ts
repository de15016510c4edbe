/**
 * Pieces that many resources share: annotations, versions, times, drivers, resources, and Docker's "omit when empty".
 *
 * Pure. JSON objects are plain; a field that is `undefined` is left out by `JSON.stringify`, which is how Docker's
 * `omitempty` is followed.
 */
import {
  Annotations,
  Driver,
  GenericResource,
  type Meta,
  type Platform,
} from "../../common/api/generated/api.ts";
import type { JsonObject } from "./reader.ts";

/** A JSON object to be sent. */
export type Json = Readonly<Record<string, unknown>>;

/** undefined for "", so that the field is left out. */
export function textOrNothing(text: string): string | undefined {
  return text === "" ? undefined : text;
}

/** undefined for 0. */
export function numberOrNothing(value: number): number | undefined {
  return value === 0 ? undefined : value;
}

/** undefined for false. */
export function flagOrNothing(value: boolean): true | undefined {
  return value ? true : undefined;
}

/** undefined for an empty list. */
export function listOrNothing<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length === 0 ? undefined : list;
}

/** undefined for an empty map. */
export function mapOrNothing(
  map: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> | undefined {
  return Object.keys(map).length === 0 ? undefined : map;
}

/** RFC 3339 in UTC; Go's zero time for 0. */
export function timeToJson(ms: number): string {
  return ms === 0 ? "0001-01-01T00:00:00Z" : new Date(ms).toISOString();
}

/** Version, CreatedAt and UpdatedAt, as every object of the swarm has them. */
export function metaToJson(meta: Meta | undefined): Json {
  return {
    Version: { Index: numberOrNothing(meta?.version ?? 0) },
    CreatedAt: timeToJson(meta?.createdAtMs ?? 0),
    UpdatedAt: timeToJson(meta?.updatedAtMs ?? 0),
  };
}

/** Name and Labels at the top of a spec; Labels is always there. */
export function annotationsToJson(annotations: Annotations | undefined): Json {
  return {
    Name: textOrNothing(annotations?.name ?? ""),
    Labels: annotations?.labels ?? {},
  };
}

/** Name and Labels at the top of a spec. */
export function annotationsFromJson(json: JsonObject): Annotations {
  return Annotations.create({ name: json.string("Name"), labels: json.stringMap("Labels") });
}

/** A driver with its options, or undefined. */
export function driverToJson(driver: Driver | undefined): Json | undefined {
  if (driver === undefined) return undefined;
  return { Name: textOrNothing(driver.name), Options: mapOrNothing(driver.options) };
}

/** A driver with its options, or undefined. */
export function driverFromJson(json: JsonObject | undefined): Driver | undefined {
  if (json === undefined) return undefined;
  return Driver.create({ name: json.string("Name"), options: json.stringMap("Options") });
}

/** Architecture and OS; the variant is not in Docker's API. */
export function platformToJson(platform: Platform | undefined): Json {
  return {
    Architecture: textOrNothing(platform?.architecture ?? ""),
    OS: textOrNothing(platform?.os ?? ""),
  };
}

/** Generic resources, counted or named. */
export function genericToJson(list: readonly GenericResource[]): readonly Json[] | undefined {
  return listOrNothing(
    list.map((resource) =>
      resource.named === ""
        ? { DiscreteResourceSpec: { Kind: resource.kind, Value: numberOrNothing(resource.count) } }
        : { NamedResourceSpec: { Kind: resource.kind, Value: resource.named } },
    ),
  );
}

/** Generic resources, counted or named; an entry of neither kind is dropped. */
export function genericFromJson(list: readonly JsonObject[]): readonly GenericResource[] {
  return list.flatMap((json) => {
    const discrete = json.object("DiscreteResourceSpec");
    if (discrete !== undefined)
      return [
        GenericResource.create({
          kind: discrete.string("Kind"),
          count: discrete.integer("Value"),
        }),
      ];
    const named = json.object("NamedResourceSpec");
    if (named === undefined) return [];
    return [GenericResource.create({ kind: named.string("Kind"), named: named.string("Value") })];
  });
}

/**
 * One word of a closed list, in any case; `fallback` for "".
 * @throws ClusterError `invalid-argument` with `message(word)` for any other.
 */
export function wordFromJson<W extends string>(
  json: JsonObject,
  name: string,
  choice: {
    readonly words: readonly W[];
    readonly fallback: W;
    readonly message: string;
    readonly isBare?: boolean;
  },
): W {
  const text = json.string(name);
  if (text === "") return choice.fallback;
  const word = choice.words.find((w) => w === text.toLowerCase());
  if (word === undefined)
    throw json.invalid(`${choice.message} ${choice.isBare ? text : JSON.stringify(text)}`);
  return word;
}
