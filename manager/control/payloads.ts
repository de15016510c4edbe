/**
 * Writes of secrets and configs, which follow the same rules. Decisions over one transaction.
 *
 * Data is fixed at creation: an update may change labels only, or carry the same data again.
 */
import { timingSafeEqual } from "node:crypto";
import {
  Config,
  ConfigSpec,
  type CreateConfigRequest,
  type CreateSecretRequest,
  Done,
  ObjectId,
  type RemoveRequest,
  Secret,
  SecretSpec,
  type UpdateConfigRequest,
  type UpdateSecretRequest,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { configBytesMax, secretBytesMax } from "../../src/common/limits/limits.ts";
import type { Tx } from "../state/transaction.ts";
import type { Environment } from "./environment.ts";
import { checkPayloadName, invalid, isNameTaken, notFound } from "./names.ts";

/** @throws ClusterError with Docker's text. */
export function createSecret(
  tx: Tx,
  request: CreateSecretRequest,
  environment: Environment,
): ObjectId {
  const spec = request.spec ?? SecretSpec.create();
  const name = checkPayloadName(spec.annotations);
  if (spec.driver !== undefined) {
    if (spec.driver.name === "") throw invalid("secret driver must have a name");
    throw invalid(`secret driver ${JSON.stringify(spec.driver.name)} is not installed`);
  }
  checkData("secret", spec.data, secretBytesMax);
  checkTemplating(spec.templating?.name);
  checkFree(tx, "secret", name);
  const id = environment.objectId;
  tx.create("secret", Secret.create({ id, spec, revision: 1 }));
  return ObjectId.create({ id });
}

/** @throws ClusterError with Docker's text. */
export function createConfig(
  tx: Tx,
  request: CreateConfigRequest,
  environment: Environment,
): ObjectId {
  const spec = request.spec ?? ConfigSpec.create();
  const name = checkPayloadName(spec.annotations);
  checkData("config", spec.data, configBytesMax);
  checkTemplating(spec.templating?.name);
  checkFree(tx, "config", name);
  const id = environment.objectId;
  tx.create("config", Config.create({ id, spec, revision: 1 }));
  return ObjectId.create({ id });
}

/** Changes labels. @throws ClusterError with Docker's text. */
export function updateSecret(tx: Tx, request: UpdateSecretRequest): Done {
  const secret = tx.get("secret", request.id);
  if (secret?.spec === undefined) throw notFound("secret", request.id);
  const { spec } = secret;
  const given = request.spec ?? SecretSpec.create();
  checkSame(spec, given);
  const labels = given.annotations?.labels ?? {};
  const annotations = spec.annotations && { ...spec.annotations, labels };
  tx.update("secret", { ...secret, spec: { ...spec, annotations } }, request.version);
  return Done.create();
}

/** Changes labels. @throws ClusterError with Docker's text. */
export function updateConfig(tx: Tx, request: UpdateConfigRequest): Done {
  const config = tx.get("config", request.id);
  if (config?.spec === undefined) throw notFound("config", request.id);
  const { spec } = config;
  const given = request.spec ?? ConfigSpec.create();
  checkSame(spec, given);
  const labels = given.annotations?.labels ?? {};
  const annotations = spec.annotations && { ...spec.annotations, labels };
  tx.update("config", { ...config, spec: { ...spec, annotations } }, request.version);
  return Done.create();
}

/** @throws ClusterError `invalid-argument` while services use it. */
export function removeSecret(tx: Tx, request: RemoveRequest): Done {
  return removePayload(tx, "secret", request.id);
}

/** @throws ClusterError `invalid-argument` while services use it. */
export function removeConfig(tx: Tx, request: RemoveRequest): Done {
  return removePayload(tx, "config", request.id);
}

function removePayload(tx: Tx, kind: "secret" | "config", id: string): Done {
  const object = tx.get(kind, id);
  if (object === undefined)
    throw new ClusterError("not-found", `could not find ${kind} ${id}`, { fields: { id } });
  const users = tx.find("service", kind, id).map((s) => s.spec?.annotations?.name ?? s.id);
  if (users.length > 0)
    throw invalid(
      `${kind} '${object.spec?.annotations?.name ?? ""}' is in use by the following ` +
        `service${users.length > 1 ? "s" : ""}: ${users.sort().join(", ")}`,
    );
  tx.requireNone("service", kind, id);
  tx.remove(kind, id);
  return Done.create();
}

function checkData(kind: string, data: Uint8Array, bytesMax: number): void {
  if (data.length < 1 || data.length > bytesMax)
    throw invalid(`${kind} data must be larger than 0 and less than ${bytesMax + 1} bytes`);
}

function checkTemplating(driver: string | undefined): void {
  if (driver !== undefined && driver !== "golang")
    throw invalid(`template driver ${JSON.stringify(driver)} is not supported; use golang`);
}

function checkFree(tx: Tx, kind: "secret" | "config", name: string): void {
  if (isNameTaken(tx, kind, name))
    throw new ClusterError("already-exists", `${kind} ${name} already exists`);
}

/** Name and data must be those that are stored; no data at all also stands for the same. */
function checkSame(
  stored: Pick<SecretSpec, "annotations" | "data">,
  given: Pick<SecretSpec, "annotations" | "data">,
): void {
  const sameName = stored.annotations?.name === given.annotations?.name;
  const sameData =
    given.data.length === 0 ||
    (given.data.length === stored.data.length && timingSafeEqual(given.data, stored.data));
  if (!sameName || !sameData) throw invalid("only updates to Labels are allowed");
}
