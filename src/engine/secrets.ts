/**
 * Secrets over HTTP: list, create, inspect, update, remove. Their data goes in and never comes out.
 */
import { ControlService, type Secret } from "../common/api/generated/api.ts";
import { type EngineContext, readView, write } from "./context.ts";
import {
  type Filters,
  matchesExactly,
  matchesLabels,
  matchesPrefix,
  parseFilters,
} from "./filters.ts";
import type { ObjectView } from "./ports.ts";
import { empty, json, list, type Reply } from "./reply.ts";
import { type EngineRequest, param, versionOf } from "./request.ts";
import type { Route } from "./router.ts";
import { secretSpecFromJson, secretToJson } from "./translate/secret.ts";

/** Routes of secrets. */
export function secretRoutes(context: EngineContext): readonly Route[] {
  const on = (handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>) => {
    return (request: EngineRequest) => handler(context, request);
  };
  return [
    { method: "GET", pattern: "/secrets", handler: on(listSecrets) },
    { method: "POST", pattern: "/secrets/create", handler: on(createSecret) },
    { method: "GET", pattern: "/secrets/{id}", handler: on(inspectSecret) },
    { method: "DELETE", pattern: "/secrets/{id}", handler: on(removeSecret) },
    { method: "POST", pattern: "/secrets/{id}/update", handler: on(updateSecret) },
  ];
}

async function listSecrets(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const keys = ["names", "name", "id", "label"];
  const filters = parseFilters(request.query.get("filters"), keys);
  const view = await readView(context, request);
  const found = [...view.list("secret")].filter((secret) => isWanted(secret, filters));
  return list(found, secretToJson);
}

function isWanted(secret: Secret, filters: Filters): boolean {
  const name = secret.spec?.annotations?.name ?? "";
  return (
    matchesExactly(filters, "names", name) &&
    matchesPrefix(filters, "name", name) &&
    matchesPrefix(filters, "id", secret.id) &&
    matchesLabels(filters, "label", secret.spec?.annotations?.labels ?? {})
  );
}

async function createSecret(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const spec = secretSpecFromJson(await request.body());
  const { id } = await write(context, request, ControlService.createSecret, { spec, id: "" });
  return json({ ID: id }, 201);
}

async function inspectSecret(context: EngineContext, request: EngineRequest): Promise<Reply> {
  return json(secretToJson(await findSecret(context, request)));
}

async function removeSecret(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { id } = await findSecret(context, request);
  await write(context, request, ControlService.removeSecret, { id, force: false });
  return empty(204);
}

async function updateSecret(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const version = versionOf(request, "secret");
  const spec = secretSpecFromJson(await request.body());
  const { id } = await findSecret(context, request);
  await write(context, request, ControlService.updateSecret, { id, version, spec });
  return empty();
}

async function findSecret(context: EngineContext, request: EngineRequest): Promise<Secret> {
  const view: ObjectView = await readView(context, request);
  return view.lookup("secret", param(request, "id"));
}
