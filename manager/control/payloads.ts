/**
 * Writes of secrets and configs, which follow the same rules. Decisions over one transaction.
 *
 * An update changes labels, and data where it carries other data: that is the next revision, to which the leader takes the
 * services that use it (`orchestrator/payloads`). Docker's swarm refuses the latter; clients send it all the same.
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
import { batchTransactionBytesMax } from "../../src/common/limits/store.ts";
import { keepPayload, presentRevision } from "../state/payload.ts";
import type { Tx } from "../state/transaction.ts";
import type { Environment } from "./environment.ts";
import { checkPayloadName, invalid, isNameTaken, notFound } from "./names.ts";

/** Data of two revisions that goes into one transaction, bytes. */
const togetherBytesMax = batchTransactionBytesMax;

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

/** Changes labels and data. @throws ClusterError with Docker's text. */
export function updateSecret(tx: Tx, request: UpdateSecretRequest): Done {
  const secret = tx.get("secret", request.id);
  if (secret?.spec === undefined) throw notFound("secret", request.id);
  const given = request.spec ?? SecretSpec.create();
  const isNew = changesData("secret", secret.spec, given);
  if (isNew) keepPayload(tx, secret);
  const spec = { ...secret.spec, ...changedParts(secret.spec, given, isNew) };
  const revision = presentRevision(secret) + (isNew ? 1 : 0);
  tx.update("secret", { ...secret, spec, revision }, request.version);
  return Done.create();
}

/** Changes labels and data. @throws ClusterError with Docker's text. */
export function updateConfig(tx: Tx, request: UpdateConfigRequest): Done {
  const config = tx.get("config", request.id);
  if (config?.spec === undefined) throw notFound("config", request.id);
  const given = request.spec ?? ConfigSpec.create();
  const isNew = changesData("config", config.spec, given);
  if (isNew) keepPayload(tx, config);
  const spec = { ...config.spec, ...changedParts(config.spec, given, isNew) };
  const revision = presentRevision(config) + (isNew ? 1 : 0);
  tx.update("config", { ...config, spec, revision }, request.version);
  return Done.create();
}

/**
 * Keeps the present data ahead of an update with other data, where both together may be more than one transaction holds.
 * What is kept in vain, as the update is refused, is removed with what no service needs.
 */
export function keepBeforeUpdate(
  tx: Tx,
  kind: "secret" | "config",
  request: UpdateSecretRequest | UpdateConfigRequest,
): void {
  const object = tx.get(kind, request.id);
  const given = request.spec;
  if (object?.spec === undefined || given === undefined) return;
  if (object.spec.data.length + given.data.length <= togetherBytesMax) return;
  if (changesData(kind, object.spec, given)) keepPayload(tx, object);
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

/** What of a secret or config an update may change, and what it must not. */
type Part = Pick<SecretSpec, "annotations" | "data" | "templating">;

/**
 * Whether the data is to be another; no data at all stands for the same.
 *
 * @throws ClusterError `invalid-argument` for another name, and for another template driver with new data.
 */
function changesData(kind: "secret" | "config", stored: Part, given: Part): boolean {
  if (stored.annotations?.name !== given.annotations?.name)
    throw invalid("only updates to Labels are allowed");
  const isSame =
    given.data.length === 0 ||
    (given.data.length === stored.data.length && timingSafeEqual(given.data, stored.data));
  if (isSame) return false;
  checkData(kind, given.data, kind === "secret" ? secretBytesMax : configBytesMax);
  if ((stored.templating?.name ?? "") !== (given.templating?.name ?? ""))
    throw invalid(
      `the template driver of a ${kind} cannot be changed: make another ${kind} with it, or leave it as it is`,
    );
  return true;
}

function changedParts(
  stored: Part,
  given: Part,
  isNew: boolean,
): Pick<Part, "annotations" | "data"> {
  const labels = given.annotations?.labels ?? {};
  const annotations = stored.annotations && { ...stored.annotations, labels };
  return { annotations, data: isNew ? given.data : stored.data };
}
