/**
 * Configs over HTTP: list, create, inspect, update, remove.
 */
import { type Config, ControlService } from "../common/api/generated/api.ts";
import { type EngineContext, readView, write } from "./context.ts";
import { type Filters, matchesLabels, matchesPrefix, parseFilters } from "./filters.ts";
import type { ObjectView } from "./ports.ts";
import { empty, json, list, type Reply } from "./reply.ts";
import { type EngineRequest, param, versionOf } from "./request.ts";
import type { Route } from "./router.ts";
import { configSpecFromJson, configToJson } from "./translate/secret.ts";

/** Routes of configs. */
export function configRoutes(context: EngineContext): readonly Route[] {
  const on = (handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>) => {
    return (request: EngineRequest) => handler(context, request);
  };
  return [
    { method: "GET", pattern: "/configs", handler: on(listConfigs) },
    { method: "POST", pattern: "/configs/create", handler: on(createConfig) },
    { method: "GET", pattern: "/configs/{id}", handler: on(inspectConfig) },
    { method: "DELETE", pattern: "/configs/{id}", handler: on(removeConfig) },
    { method: "POST", pattern: "/configs/{id}/update", handler: on(updateConfig) },
  ];
}

async function listConfigs(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const keys = ["name", "id", "label"];
  const filters = parseFilters(request.query.get("filters"), keys);
  const view = await readView(context, request);
  const found = [...view.list("config")].filter((config) => isWanted(config, filters));
  return list(found, configToJson);
}

function isWanted(config: Config, filters: Filters): boolean {
  const name = config.spec?.annotations?.name ?? "";
  return (
    matchesPrefix(filters, "name", name) &&
    matchesPrefix(filters, "id", config.id) &&
    matchesLabels(filters, "label", config.spec?.annotations?.labels ?? {})
  );
}

async function createConfig(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const spec = configSpecFromJson(await request.body());
  const { id } = await write(context, request, ControlService.createConfig, { spec, id: "" });
  return json({ ID: id }, 201);
}

async function inspectConfig(context: EngineContext, request: EngineRequest): Promise<Reply> {
  return json(configToJson(await findConfig(context, request)));
}

async function removeConfig(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { id } = await findConfig(context, request);
  await write(context, request, ControlService.removeConfig, { id, force: false });
  return empty(204);
}

async function updateConfig(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const version = versionOf(request, "config");
  const spec = configSpecFromJson(await request.body());
  const { id } = await findConfig(context, request);
  await write(context, request, ControlService.updateConfig, { id, version, spec });
  return empty();
}

async function findConfig(context: EngineContext, request: EngineRequest): Promise<Config> {
  const view: ObjectView = await readView(context, request);
  return view.lookup("config", param(request, "id"));
}
