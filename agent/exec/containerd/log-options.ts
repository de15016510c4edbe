/**
 * Log drivers and their options as users give them: `json-file` with Docker's options, and `none`. Others are refused by
 * name, as they would keep logs where nobody could read them back.
 */
import type { Driver } from "../../../src/common/api/generated/api.ts";
import type { Container } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

/** How a container's log is kept. */
export interface LogSettings {
  readonly driver: "json-file" | "none";
  /** A file at least this long is rotated; Infinity for no end. */
  readonly fileBytesMax: number;
  /** The one written and the rotated ones. */
  readonly filesMax: number;
  readonly compress: boolean;
  readonly labels: readonly string[];
  readonly labelsPattern: string;
  readonly env: readonly string[];
  readonly envPattern: string;
  readonly tag: string;
}

const known = new Set([
  "max-size",
  "max-file",
  "compress",
  "labels",
  "labels-regex",
  "env",
  "env-regex",
  "tag",
  // Of Docker's daemon rather than of the driver; output never waits for the log here, whichever is given.
  "mode",
  "max-buffer-size",
]);

/**
 * What the driver and its options say; json-file when there is none.
 *
 * @throws ClusterError invalid-argument with Docker's words.
 */
export function logSettingsOf(driver: Driver | undefined): LogSettings {
  const name = driver?.name || "json-file";
  if (name !== "json-file" && name !== "none") {
    throw invalid(`logger: no log driver named '${name}' is registered: use json-file or none`);
  }
  const options = driver?.options ?? {};
  for (const key of Object.keys(options)) {
    if (name === "json-file" && !known.has(key)) {
      throw invalid(`unknown log opt '${key}' for ${name} log driver`);
    }
  }
  const fileBytesMax = sizeOf(options["max-size"]);
  const filesMax = countOf(options["max-file"]);
  const compress = isTrue("compress", options["compress"]);
  if (compress && (filesMax === 1 || fileBytesMax === Number.POSITIVE_INFINITY)) {
    throw invalid(
      "compress cannot be true when max-file is less than 2 or max-size is not set: give both",
    );
  }
  const mode = options["mode"] ?? "blocking";
  if (mode !== "blocking" && mode !== "non-blocking") {
    throw invalid(`logger: logging mode "${mode}" not supported: use blocking or non-blocking`);
  }
  return {
    driver: name,
    fileBytesMax,
    filesMax,
    compress,
    labels: listOf(options["labels"]),
    labelsPattern: patternOf("labels-regex", options["labels-regex"]),
    env: listOf(options["env"]),
    envPattern: patternOf("env-regex", options["env-regex"]),
    tag: options["tag"] ?? "",
  };
}

/** `attrs` of each of the container's lines as JSON; empty when there are none. */
export function logAttributes(
  settings: LogSettings,
  container: Pick<Container, "id" | "name" | "imageId" | "labels" | "env" | "config">,
): string {
  const attributes: Record<string, string> = {};
  const take = (name: string, value: string, names: readonly string[], pattern: string) => {
    if (names.includes(name) || (pattern !== "" && new RegExp(pattern).test(name)))
      attributes[name] = value;
  };
  for (const [name, value] of Object.entries(container.labels)) {
    take(name, value, settings.labels, settings.labelsPattern);
  }
  for (const entry of container.env) {
    const at = entry.indexOf("=");
    if (at > 0) take(entry.slice(0, at), entry.slice(at + 1), settings.env, settings.envPattern);
  }
  if (settings.tag !== "") attributes["tag"] = tagOf(settings.tag, container);
  return Object.keys(attributes).length === 0 ? "" : JSON.stringify(attributes);
}

function tagOf(
  template: string,
  container: Pick<Container, "id" | "name" | "imageId" | "config">,
): string {
  const values: Readonly<Record<string, string>> = {
    ID: container.id.slice(0, 12),
    FullID: container.id,
    Name: container.name,
    ImageID: container.imageId.replace(/^sha256:/, "").slice(0, 12),
    ImageFullID: container.imageId,
    ImageName: container.config.image,
    DaemonName: "docker",
  };
  return template.replace(/\{\{\s*\.(\w+)\s*\}\}/g, (whole, name: string) => values[name] ?? whole);
}

/** Bytes of `10m` and the like, in steps of 1024. */
function sizeOf(text: string | undefined): number {
  if (text === undefined || text === "-1") return Number.POSITIVE_INFINITY;
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?$/i.exec(text.trim());
  const unit = "kmgtp".indexOf((match?.[2] ?? "").toLowerCase() || "-") + 1;
  const bytes = Math.floor(Number(match?.[1] ?? 0) * 1024 ** unit);
  if (bytes <= 0) throw invalid(`invalid max-size "${text}": give a size such as 10m`);
  return bytes;
}

function countOf(text: string | undefined): number {
  if (text === undefined) return 1;
  if (!/^\d+$/.test(text)) throw invalid(`invalid max-file "${text}": give a whole number`);
  if (Number(text) < 1) throw invalid("max-file cannot be less than 1");
  return Number(text);
}

function isTrue(name: string, text: string | undefined): boolean {
  if (text === undefined || /^(0|f|false)$/i.test(text)) return false;
  if (/^(1|t|true)$/i.test(text)) return true;
  throw invalid(`invalid ${name} "${text}": give true or false`);
}

function listOf(text: string | undefined): string[] {
  return (text ?? "").split(",").filter((name) => name !== "");
}

function patternOf(name: string, text: string | undefined): string {
  try {
    new RegExp(text ?? "");
  } catch (error) {
    throw new ClusterError("invalid-argument", `invalid ${name} "${text}": no regular expression`, {
      cause: error,
    });
  }
  return text ?? "";
}

function invalid(message: string): ClusterError {
  return new ClusterError("invalid-argument", message);
}
