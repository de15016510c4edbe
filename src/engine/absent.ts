/**
 * What the API has and this daemon has not yet: plugins, builds.
 *
 * Lists are truthfully empty, objects truthfully not found, and all else says that it is not implemented yet, so that
 * `docker info` and `docker stack deploy` work beside it.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import { json } from "./reply.ts";
import { type EngineRequest, param } from "./request.ts";
import type { Handler, Route } from "./router.ts";

/** Everything else the API has. */
const areas = [
  "/plugins/{rest...}",
  "/networks/{id}/connect",
  "/networks/{id}/disconnect",
  "/build",
  "/build/cancel",
  "/session",
];

/** Routes without a thing behind them. */
export const absentRoutes: readonly Route[] = [
  { method: "GET", pattern: "/plugins", handler: () => json([]) },
  { method: "GET", pattern: "/plugins/{id...}/json", handler: missing("no such plugin: ") },
  {
    method: "POST",
    pattern: "/build/prune",
    handler: () => json({ CachesDeleted: null, SpaceReclaimed: 0 }),
  },
  ...(["GET", "POST", "PUT", "DELETE", "HEAD"] as const).flatMap((method) =>
    areas.map((area): Route => ({ method, pattern: area, handler: notYet })),
  ),
];

function missing(text: string): Handler {
  return (request) => {
    throw new ClusterError("not-found", `${text}${param(request, "id")}`);
  };
}

function notYet(request: EngineRequest): never {
  throw new ClusterError(
    "unimplemented",
    `${request.method} ${request.path} is not implemented yet`,
  );
}
