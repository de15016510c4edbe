/**
 * Reads values out of parsed JSON with the types a request should have.
 *
 * Sits at the edge: everything a client sends passes through here once. As Docker's daemon does, field names match without
 * regard to case, `null` counts as absent, and unknown fields are ignored. A value of the wrong type is refused with the
 * path of the field. Keys of maps are data and never touch a prototype.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";

/** Largest integer the wire can carry (the reach of a signed 64-bit number). */
const integerMax = 2 ** 63;

/** One JSON object of a request and its path, for messages. */
export class JsonObject {
  readonly path: string;
  /** As it was sent. */
  readonly raw: object;
  readonly #fields = new Map<string, unknown>();

  constructor(value: object, path: string) {
    this.path = path;
    this.raw = value;
    for (const [key, field] of Object.entries(value)) {
      if (field !== null) this.#fields.set(key.toLowerCase(), field);
    }
  }

  /** Whether the field is there and not null. */
  has(name: string): boolean {
    return this.#fields.has(name.toLowerCase());
  }

  /** "" when absent. */
  string(name: string): string {
    return this.#typed(name, "string", "a string") ?? "";
  }

  /** false when absent. */
  bool(name: string): boolean {
    return this.#typed(name, "boolean", "true or false") ?? false;
  }

  optionalBool(name: string): boolean | undefined {
    return this.#typed(name, "boolean", "true or false");
  }

  /** Any number; 0 when absent. */
  number(name: string): number {
    return this.#typed(name, "number", "a number") ?? 0;
  }

  /** A whole number of either sign; 0 when absent. */
  integer(name: string): number {
    return this.optionalInteger(name) ?? 0;
  }

  optionalInteger(name: string): number | undefined {
    const value = this.#typed(name, "number", "a whole number");
    if (value === undefined) return undefined;
    if (!Number.isInteger(value) || Math.abs(value) >= integerMax)
      throw this.#wrong(name, "a whole number", value);
    return value;
  }

  /** A whole number that is not negative; 0 when absent. */
  natural(name: string): number {
    return this.optionalNatural(name) ?? 0;
  }

  optionalNatural(name: string): number | undefined {
    const value = this.optionalInteger(name);
    if (value !== undefined && value < 0)
      throw this.#wrong(name, "a whole number that is not negative", value);
    return value;
  }

  /** A natural number of at most 32 bits; 0 when absent. */
  uint32(name: string): number {
    const value = this.natural(name);
    if (value >= 2 ** 32) throw this.#wrong(name, "a whole number below 4294967296", value);
    return value;
  }

  /** Bytes sent as base64; empty when absent. */
  bytes(name: string): Uint8Array {
    const sent = this.string(name);
    // Whatever comes out again as it went in is base64; that is quicker to see than to describe.
    const decoded = Buffer.from(sent, "base64");
    if (decoded.toString("base64") === sent) return new Uint8Array(decoded);
    const text = sent.replace(/[\r\n]+/g, "");
    if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text))
      throw this.#wrong(name, "base64 data", "text that is not");
    return new Uint8Array(Buffer.from(text, "base64"));
  }

  /** Empty when absent. */
  strings(name: string): readonly string[] {
    return this.#list(name).map((item, i) => {
      if (typeof item !== "string") throw this.#wrong(`${name}[${i}]`, "a string", item);
      return item;
    });
  }

  /** A list of strings, or one string that stands for a list of one; undefined when absent. */
  stringOrStrings(name: string): readonly string[] | undefined {
    const value = this.#fields.get(name.toLowerCase());
    if (value === undefined) return undefined;
    return typeof value === "string" ? [value] : this.strings(name);
  }

  /** `[height, width]` of a terminal; undefined when absent or when one of them is 0. */
  consoleSize(name: string): { readonly width: number; readonly height: number } | undefined {
    const [height, width] = this.#list(name).map(Number);
    if (!height || !width || height > 0xffff || width > 0xffff) return undefined;
    return { width, height };
  }

  /** The keys of an object, whatever stands behind them; empty when absent. */
  keys(name: string): readonly string[] {
    const value = this.#fields.get(name.toLowerCase());
    if (value === undefined) return [];
    if (!isPlainObject(value)) throw this.#wrong(name, "an object", value);
    return Object.keys(value);
  }

  /** How many elements a list or an object has; 0 when absent. */
  sizeOf(name: string): number {
    const value = this.#fields.get(name.toLowerCase());
    return typeof value === "object" && value !== null ? Object.keys(value).length : 0;
  }

  /** Lists of strings in a list; empty when absent. */
  stringLists(name: string): readonly (readonly string[])[] {
    return this.#list(name).map((item, i) => {
      if (!Array.isArray(item) || !item.every((part) => typeof part === "string"))
        throw this.#wrong(`${name}[${i}]`, "a list of strings", item);
      return item;
    });
  }

  /** A map of strings without prototype; empty when absent. */
  stringMap(name: string): Readonly<Record<string, string>> {
    const value = this.#fields.get(name.toLowerCase());
    const map: Record<string, string> = Object.create(null);
    if (value === undefined) return map;
    if (!isPlainObject(value)) throw this.#wrong(name, "an object", value);
    for (const [key, text] of Object.entries(value)) {
      if (text === null) map[key] = "";
      else if (typeof text === "string") map[key] = text;
      else throw this.#wrong(`${name}[${JSON.stringify(key)}]`, "a string", text);
    }
    return map;
  }

  /** undefined when absent. */
  object(name: string): JsonObject | undefined {
    const value = this.#fields.get(name.toLowerCase());
    if (value === undefined) return undefined;
    if (!isPlainObject(value)) throw this.#wrong(name, "an object", value);
    return new JsonObject(value, this.#join(name));
  }

  /** The sub-object; an empty one when absent. */
  objectOrEmpty(name: string): JsonObject {
    return this.object(name) ?? new JsonObject({}, this.#join(name));
  }

  /** A list of objects; empty when absent. */
  objects(name: string): readonly JsonObject[] {
    return this.#list(name).map((item, i) => {
      if (!isPlainObject(item)) throw this.#wrong(`${name}[${i}]`, "an object", item);
      return new JsonObject(item, `${this.#join(name)}[${i}]`);
    });
  }

  /** An `invalid-argument` error about one of the fields. */
  invalid(message: string): ClusterError {
    return new ClusterError("invalid-argument", message);
  }

  #typed(name: string, type: "string", what: string): string | undefined;
  #typed(name: string, type: "number", what: string): number | undefined;
  #typed(name: string, type: "boolean", what: string): boolean | undefined;
  #typed(name: string, type: string, what: string): unknown {
    const value = this.#fields.get(name.toLowerCase());
    if (value !== undefined && typeof value !== type) throw this.#wrong(name, what, value);
    return value;
  }

  #list(name: string): readonly unknown[] {
    const value = this.#fields.get(name.toLowerCase());
    if (value === undefined) return [];
    if (!Array.isArray(value)) throw this.#wrong(name, "a list", value);
    return value;
  }

  #join(name: string): string {
    return this.path === "" ? name : `${this.path}.${name}`;
  }

  #wrong(name: string, what: string, value: unknown): ClusterError {
    const message = `invalid JSON: ${this.#join(name)} must be ${what}, not ${kindOf(value)}`;
    return new ClusterError("invalid-argument", message);
  }
}

/** The top of a request body. @throws ClusterError `invalid-argument` when it is not an object. */
export function bodyObject(value: unknown): JsonObject {
  if (!isPlainObject(value))
    throw new ClusterError(
      "invalid-argument",
      `invalid JSON: the request body must be an object, not ${kindOf(value)}`,
    );
  return new JsonObject(value, "");
}

function isPlainObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What a value is, without showing long or secret content. */
function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "number") return String(value);
  if (typeof value === "boolean") return String(value);
  if (typeof value === "string") return "text";
  return "an object";
}
