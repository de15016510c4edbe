/**
 * What changes would do: `?dryRun=true` on the requests that make, change and remove services, networks, secrets and configs, and
 * `POST /skep/plan` for many of them at once. Nothing is changed; Docker has neither.
 *
 * A request that would be refused is refused alike when it is tried alone; in a plan of many it is listed, and the others
 * are tried as if it had not been.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { planRequestsMax } from "../../common/limits/limits.ts";
import { type EngineContext, readView } from "../context.ts";
import { fromManager } from "../errors.ts";
import type { RehearsalPort } from "../ports.ts";
import { json, type Reply } from "../reply.ts";
import { type EngineRequest, strictFlag } from "../request.ts";
import { type Route, splitVersion } from "../router.ts";
import type { JsonObject } from "../translate/reader.ts";
import { needsOf } from "./images.ts";
import { planToJson, type RefusedRequest } from "./json.ts";
import { PlanRegistries } from "./registries.ts";
import { RehearsedRoutes, type RouteMaker } from "./rehearse.ts";

/** The routes of objects, which can be tried, and the one for several requests. */
export function plannable(context: EngineContext, make: RouteMaker): readonly Route[] {
  const routes = make(context).map((route) => {
    if (!isChange(route)) return route;
    const handler = async (request: EngineRequest) =>
      strictFlag(request, "dryRun") ? tryOne(context, request, make) : route.handler(request);
    return { ...route, handler };
  });
  const handler = (request: EngineRequest) => tryMany(context, request, make);
  return [...routes, { method: "POST", pattern: "/skep/plan", handler }];
}

/** Whether the route makes, changes or removes one object. */
function isChange({ method, pattern }: Pick<Route, "method" | "pattern">): boolean {
  if (method === "DELETE") return true;
  return method === "POST" && /\/(create|update)$/.test(pattern);
}

async function tryOne(
  context: EngineContext,
  request: EngineRequest,
  make: RouteMaker,
): Promise<Reply> {
  const rehearsal = await begun(context, request);
  await new RehearsedRoutes(context, rehearsal, make).try(request);
  const registries = new PlanRegistries(context, {
    asks: asksRegistries(request.query.get("registries") ?? ""),
    silent: new Map(),
    signal: request.signal,
  });
  return await told(context, request, { rehearsal, registries, refused: [], related: [] });
}

async function tryMany(
  context: EngineContext,
  request: EngineRequest,
  make: RouteMaker,
): Promise<Reply> {
  const body = await request.body();
  const requests = body.objects("Requests");
  if (requests.length > planRequestsMax)
    throw new ClusterError(
      "invalid-argument",
      `a plan holds at most ${planRequestsMax} requests, not ${requests.length}`,
    );
  const registries = new PlanRegistries(context, {
    asks: asksRegistries(body.string("Registries")),
    silent: new Map(
      body.objects("Unresolved").map((one) => [one.string("Image"), one.string("Reason")]),
    ),
    signal: request.signal,
  });
  const rehearsal = await begun(context, request);
  const routes = new RehearsedRoutes(context, rehearsal, make);
  const refused: RefusedRequest[] = [];
  for (const [at, one] of requests.entries()) {
    const tried = requestFrom(one, request);
    try {
      if (!isChange({ method: tried.method as Route["method"], pattern: tried.path }))
        throw new ClusterError(
          "invalid-argument",
          `Requests[${at}]: ${tried.method} ${tried.path} is no create, update or removal`,
        );
      await routes.try(tried, one.string("ID"));
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      refused.push({ at, method: tried.method, path: tried.path, message: error.message });
    }
  }
  const related = body.strings("Objects");
  return await told(context, request, { rehearsal, registries, refused, related });
}

/** @throws ClusterError `invalid-argument` for another word. */
function asksRegistries(when: string): boolean {
  if (when === "" || when === "ask" || when === "never") return when !== "never";
  throw new ClusterError("invalid-argument", `registries: ask or never, not ${when}`);
}

/** A request within a request. */
function requestFrom(one: JsonObject, outer: EngineRequest): EngineRequest {
  const [target = "", query = ""] = splitAt(one.string("Path"));
  const auth = one.string("RegistryAuth");
  return {
    ...outer,
    method: one.string("Method"),
    path: splitVersion(target).path,
    query: new URLSearchParams(query),
    header: (name) => (name.toLowerCase() === "x-registry-auth" ? auth : ""),
    body: async () => one.objectOrEmpty("Body"),
  };
}

function splitAt(text: string): readonly string[] {
  const at = text.indexOf("?");
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/** @throws ClusterError `unavailable` when this node is no manager or there is no leader. */
async function begun(context: EngineContext, request: EngineRequest): Promise<RehearsalPort> {
  // Waits for a leader as every read does.
  await readView(context, request);
  try {
    return await context.ports.objects.rehearse(request.lightSignal);
  } catch (error) {
    throw fromManager(error);
  }
}

async function told(
  context: EngineContext,
  { signal }: EngineRequest,
  o: {
    readonly rehearsal: RehearsalPort;
    readonly registries: PlanRegistries;
    readonly refused: readonly RefusedRequest[];
    readonly related: readonly string[];
  },
): Promise<Reply> {
  const { rehearsal, registries, refused, related } = o;
  const answers = await registries.resolve(rehearsal);
  const plan = await rehearsal.plan({ answers, related });
  const view = rehearsal.view();
  const needs = await needsOf(context, plan, { view, registries, signal });
  const { unresolved } = registries;
  return json(planToJson(plan, { needs, unresolved, refused, view }));
}
