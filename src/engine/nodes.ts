/**
 * Nodes over HTTP: list, inspect, update, remove.
 */
import { ControlService, type Node } from "../common/api/generated/api.ts";
import { type EngineContext, readView, write } from "./context.ts";
import { type Filters, matchesLabels, matchesPrefix, parseFilters, wordsFor } from "./filters.ts";
import type { ManagerMember } from "./ports.ts";
import { empty, json, list, type Reply } from "./reply.ts";
import { type EngineRequest, flag, param, versionOf } from "./request.ts";
import type { Route } from "./router.ts";
import { nodeSpecFromJson, nodeToJson } from "./translate/node.ts";

const accepted = ["name", "id", "label", "node.label", "role", "membership"];

/** Routes of nodes. */
export function nodeRoutes(context: EngineContext): readonly Route[] {
  const on = (handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>) => {
    return (request: EngineRequest) => handler(context, request);
  };
  return [
    { method: "GET", pattern: "/nodes", handler: on(listNodes) },
    { method: "GET", pattern: "/nodes/{id}", handler: on(inspectNode) },
    { method: "DELETE", pattern: "/nodes/{id}", handler: on(removeNode) },
    { method: "POST", pattern: "/nodes/{id}/update", handler: on(updateNode) },
  ];
}

async function listNodes(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const filters = parseFilters(request.query.get("filters"), accepted);
  const roles = wordsFor(filters, "role", ["worker", "manager"]);
  const memberships = wordsFor(filters, "membership", ["accepted", "pending"]);
  const view = await readView(context, request);
  const found = [...view.list("node")].filter(
    (node) =>
      (roles.length === 0 || roles.includes(node.role)) &&
      (memberships.length === 0 || memberships.includes(node.membership)) &&
      isWanted(node, filters),
  );
  const managers = managersById(context);
  return list(found, (node) => nodeToJson(node, managers.get(node.id)));
}

function isWanted(node: Node, filters: Filters): boolean {
  return (
    matchesPrefix(filters, "name", node.description?.hostname ?? "") &&
    matchesPrefix(filters, "id", node.id) &&
    matchesLabels(filters, "label", node.description?.engine?.labels ?? {}) &&
    matchesLabels(filters, "node.label", node.spec?.annotations?.labels ?? {})
  );
}

function managersById(context: EngineContext): ReadonlyMap<string, ManagerMember> {
  return new Map(context.ports.swarm.members().map((member) => [member.nodeId, member]));
}

async function inspectNode(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const node = await findNode(context, request);
  return json(nodeToJson(node, managersById(context).get(node.id)));
}

async function updateNode(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const version = versionOf(request, "node");
  const spec = nodeSpecFromJson(await request.body());
  const { id } = await findNode(context, request);
  await write(context, request, ControlService.updateNode, { id, version, spec });
  return empty();
}

async function removeNode(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { id } = await findNode(context, request);
  await write(context, request, ControlService.removeNode, { id, force: flag(request, "force") });
  return empty();
}

async function findNode(context: EngineContext, request: EngineRequest): Promise<Node> {
  const view = await readView(context, request);
  return view.lookup("node", param(request, "id"));
}
