/**
 * Routes over the node's own containers, images and volumes, and what they have in common.
 */
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import type { Reply } from "./reply.ts";
import type { EngineRequest } from "./request.ts";
import type { Route } from "./router.ts";

/** Makes routes whose errors read as Docker's: what stands in the way of a container is a conflict, 409. */
export function runtimeRoute(
  method: Route["method"],
  pattern: string,
  handler: (request: EngineRequest) => Promise<Reply>,
  unlimited = true,
): Route {
  return {
    method,
    pattern,
    unlimited,
    handler: async (request) => {
      try {
        return await handler(request);
      } catch (error) {
        throw fromRuntime(error);
      }
    },
  };
}

/** The error of a runtime as the API gives it. */
export function fromRuntime(error: unknown): unknown {
  if (!(error instanceof ClusterError) || !hasCode(error, "failed-precondition")) return error;
  return new ClusterError("aborted", error.message, { cause: error, fields: error.fields });
}

/** A whole number of the query; undefined when it is not given. @throws ClusterError `invalid-argument` naming it. */
export function numberOf(request: EngineRequest, name: string): number | undefined {
  const text = request.query.get(name) ?? "";
  if (text === "") return undefined;
  if (!/^-?\d{1,15}$/.test(text))
    throw new ClusterError("invalid-argument", `invalid value for ${name}: ${text}`);
  return Number(text);
}
