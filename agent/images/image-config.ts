/**
 * Image configurations: from the JSON in the content store to typed values, and what of it a new image takes over. Pure.
 *
 * OCI image configuration with Docker's further fields (healthcheck, shell, comment).
 */
import { HealthConfig, Platform } from "../../src/common/api/generated/api.ts";
import type { ImageConfig } from "../../src/common/container/images.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import { isDigest } from "../../src/common/registry/reference.ts";

/** A JSON object. */
export type Json = Readonly<Record<string, unknown>>;

/** One step of how an image was made, the oldest first. */
export interface HistoryStep {
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly comment: string;
  /** It made no layer. */
  readonly empty: boolean;
}

/** What an image's configuration says. */
export interface ImageDocument {
  readonly platform: Platform;
  readonly createdAtMs: number;
  readonly author: string;
  readonly comment: string;
  readonly config: ImageConfig;
  /** Digests of the uncompressed layers, the lowest first. */
  readonly diffIds: readonly string[];
  readonly history: readonly HistoryStep[];
  /** As it is stored; what is made from the image keeps the fields that are not known here. */
  readonly json: Json;
}

/**
 * Reads a configuration.
 *
 * @throws ClusterError `failed-precondition` when it is not one of an image that can be run.
 */
export function parseImageConfig(body: Uint8Array): ImageDocument {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString("utf8"));
  } catch (error) {
    throw noImage(errorText(error), error);
  }
  const top = objectOf(json);
  const rootfs = objectOf(top["rootfs"]);
  const diffIds = stringsOf(rootfs["diff_ids"]);
  if (rootfs["diff_ids"] === undefined || !diffIds.every(isDigest)) {
    throw noImage("it does not list the layers of a root file system");
  }
  const { architecture, os, variant } = top;
  return {
    platform: Platform.create({
      architecture: textOf(architecture),
      os: textOf(os),
      variant: textOf(variant),
    }),
    createdAtMs: timeOf(top["created"]),
    author: textOf(top["author"]),
    comment: textOf(top["comment"]),
    config: configOf(objectOf(top["config"])),
    diffIds,
    history: listOf(top["history"]).map(stepOf),
    json: top,
  };
}

/** The JSON of a configuration's `config`, Docker's words. */
export function configJson(config: ImageConfig): Json {
  const keys = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, {}]));
  const { health } = config;
  return withoutEmpty({
    User: config.user,
    ExposedPorts: keys(config.exposedPorts),
    Env: config.env,
    Entrypoint: config.entrypoint,
    Cmd: config.command,
    Volumes: keys(config.volumes),
    WorkingDir: config.workingDir,
    Labels: config.labels,
    StopSignal: config.stopSignal,
    Shell: config.shell,
    Healthcheck:
      health === undefined
        ? ""
        : withoutEmpty({
            Test: health.test,
            Interval: health.intervalNs,
            Timeout: health.timeoutNs,
            StartPeriod: health.startPeriodNs,
            StartInterval: health.startIntervalNs,
            Retries: health.retries,
          }),
  });
}

function configOf(json: Json): ImageConfig {
  const health = json["Healthcheck"];
  return {
    env: stringsOf(json["Env"]),
    entrypoint: wordsOf(json["Entrypoint"]),
    command: wordsOf(json["Cmd"]),
    workingDir: textOf(json["WorkingDir"]),
    user: textOf(json["User"]),
    labels: Object.fromEntries(
      Object.entries(objectOf(json["Labels"])).map(([name, value]) => [name, textOf(value)]),
    ),
    exposedPorts: Object.keys(objectOf(json["ExposedPorts"])),
    volumes: Object.keys(objectOf(json["Volumes"])),
    stopSignal: textOf(json["StopSignal"]),
    health: health === undefined || health === null ? undefined : healthOf(objectOf(health)),
    shell: stringsOf(json["Shell"]),
  };
}

function healthOf(json: Json): HealthConfig {
  return HealthConfig.create({
    test: stringsOf(json["Test"]),
    intervalNs: numberOf(json["Interval"]),
    timeoutNs: numberOf(json["Timeout"]),
    retries: numberOf(json["Retries"]),
    startPeriodNs: numberOf(json["StartPeriod"]),
    startIntervalNs: numberOf(json["StartInterval"]),
  });
}

function stepOf(value: unknown): HistoryStep {
  const json = objectOf(value);
  return {
    createdAtMs: timeOf(json["created"]),
    createdBy: textOf(json["created_by"]),
    comment: textOf(json["comment"]),
    empty: json["empty_layer"] === true,
  };
}

/** Old images have one string where a list belongs. */
function wordsOf(value: unknown): string[] {
  return typeof value === "string" ? [value] : stringsOf(value);
}

function withoutEmpty(json: Json): Json {
  const isEmpty = (value: unknown) =>
    value === "" ||
    value === 0 ||
    (typeof value === "object" && value !== null && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(json).filter(([, value]) => !isEmpty(value)));
}

function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Json)
    : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function stringsOf(value: unknown): string[] {
  return listOf(value).filter((item) => typeof item === "string");
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function numberOf(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
}

function timeOf(value: unknown): number {
  const ms = Date.parse(textOf(value));
  return Number.isNaN(ms) ? 0 : ms;
}

function noImage(why: string, cause?: unknown): ClusterError {
  return new ClusterError("failed-precondition", `this is no image that can be run: ${why}`, {
    cause,
  });
}
