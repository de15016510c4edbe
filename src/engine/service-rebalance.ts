/**
 * `/skep/services/{id}/rebalance`: asks for the tasks of a service to be spread over its nodes anew, and tells how far that is.
 * Docker has no such route.
 */
import { ControlService, type Service, UpdateServiceRequest } from "../common/api/generated/api.ts";
import { type EngineContext, readView, write } from "./context.ts";
import { json } from "./reply.ts";
import { param } from "./request.ts";
import type { Route } from "./router.ts";
import { type Json, timeToJson } from "./translate/common.ts";

const pattern = "/skep/services/{id}/rebalance";

/** Routes of managers. */
export function serviceRebalanceRoutes(context: EngineContext): readonly Route[] {
  return [
    {
      method: "POST",
      pattern,
      handler: async (request) => {
        const view = await readView(context, request);
        const { id } = view.lookup("service", param(request, "id"));
        const asked = UpdateServiceRequest.create({ id, rebalance: true });
        await write(context, request, ControlService.updateService, asked);
        return json({ ID: id });
      },
    },
    {
      method: "GET",
      pattern,
      handler: async (request) => {
        const view = await readView(context, request);
        return json(rebalanceToJson(view.lookup("service", param(request, "id"))));
      },
    },
  ];
}

/** The last one somebody asked for; times are empty where there was none, or it goes on. */
export function rebalanceToJson({ id, rebalance }: Service): Json {
  const time = (ms: number) => (ms === 0 ? "" : timeToJson(ms));
  return {
    ID: id,
    AskedAt: time(rebalance?.askedAtMs ?? 0),
    CompletedAt: time(rebalance?.completedAtMs ?? 0),
    Moved: rebalance?.moved ?? 0,
  };
}
