/**
 * Secrets and configs: JSON ↔ specs. Pure. The data of a secret is never put into JSON.
 */
import {
  type Config,
  ConfigSpec,
  type Secret,
  SecretSpec,
} from "../../common/api/generated/api.ts";
import {
  annotationsFromJson,
  annotationsToJson,
  driverFromJson,
  driverToJson,
  type Json,
  metaToJson,
  textOrNothing,
} from "./common.ts";
import type { JsonObject } from "./reader.ts";

/** @throws ClusterError `invalid-argument` naming the field. */
export function secretSpecFromJson(json: JsonObject): SecretSpec {
  return SecretSpec.create({
    annotations: annotationsFromJson(json),
    data: json.bytes("Data"),
    driver: driverFromJson(json.object("Driver")),
    templating: driverFromJson(json.object("Templating")),
  });
}

/** A secret as the API shows it: without its data. */
export function secretToJson(secret: Secret): Json {
  return {
    ID: secret.id,
    ...metaToJson(secret.meta),
    Spec: {
      ...annotationsToJson(secret.spec?.annotations),
      Driver: driverToJson(secret.spec?.driver),
      Templating: driverToJson(secret.spec?.templating),
    },
  };
}

/** @throws ClusterError `invalid-argument` naming the field. */
export function configSpecFromJson(json: JsonObject): ConfigSpec {
  return ConfigSpec.create({
    annotations: annotationsFromJson(json),
    data: json.bytes("Data"),
    templating: driverFromJson(json.object("Templating")),
  });
}

/** A config as the API shows it, with its data. */
export function configToJson(config: Config): Json {
  return {
    ID: config.id,
    ...metaToJson(config.meta),
    Spec: {
      ...annotationsToJson(config.spec?.annotations),
      Data: textOrNothing(Buffer.from(config.spec?.data ?? []).toString("base64")),
      Templating: driverToJson(config.spec?.templating),
    },
  };
}
