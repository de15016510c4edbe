/**
 * Routes of the Engine API: method and path pattern to handler.
 *
 * A pattern is a path with `{name}` for one part and, at the end or before a fixed last part, `{name...}` for several
 * (image names hold slashes). Fixed routes win over patterns, earlier patterns over later ones.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import type { Reply } from "./reply.ts";
import type { EngineRequest } from "./request.ts";

/** Answers one request. @throws ClusterError */
export type Handler = (request: EngineRequest) => Promise<Reply> | Reply;

/** One route. */
export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "DELETE" | "HEAD";
  readonly pattern: string;
  readonly handler: Handler;
  /** Takes as long as it takes: no time limit on the request (streams, init, join). */
  readonly unlimited?: boolean;
}

/** A route that fits, with the parts of the path. */
export interface Match {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

/** A path split into the API version and the rest. */
export interface EnginePath {
  readonly version: string | undefined;
  readonly path: string;
}

/** Takes a leading `/v1.NN` off, and doubled slashes: names of containers may be given with one in front. */
export function splitVersion(path: string): EnginePath {
  const match = /^\/v(\d{1,4}\.\d{1,4})(\/.*)$/.exec(path);
  const rest = match?.[2] ?? path;
  return { version: match?.[1], path: rest.includes("//") ? rest.replace(/\/{2,}/g, "/") : rest };
}

/** Finds routes by method and path. */
export class Router {
  readonly #fixed = new Map<string, Route>();
  readonly #patterns: { readonly route: Route; readonly expression: RegExp }[] = [];

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      if (route.pattern.includes("{"))
        this.#patterns.push({ route, expression: expressionOf(route.pattern) });
      else this.#fixed.set(`${route.method} ${route.pattern}`, route);
    }
  }

  /** @throws ClusterError `not-found` when no route fits, `invalid-argument` for a path that cannot be decoded. */
  find(method: string, path: string): Match {
    const fixed = this.#fixed.get(`${method} ${path}`);
    if (fixed !== undefined) return { route: fixed, params: {} };
    for (const { route, expression } of this.#patterns) {
      if (route.method !== method) continue;
      const match = expression.exec(path);
      if (match !== null) return { route, params: decoded(match.groups ?? {}) };
    }
    throw new ClusterError("not-found", "page not found");
  }
}

function expressionOf(pattern: string): RegExp {
  const source = pattern
    .replace(/\{(\w+)\.\.\.\}/g, "(?<$1>.+)")
    .replace(/\{(\w+)\}/g, "(?<$1>[^/]+)");
  return new RegExp(`^${source}$`);
}

function decoded(groups: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  try {
    return Object.fromEntries(
      Object.entries(groups).map(([name, text]) => [name, decodeURIComponent(text)]),
    );
  } catch (error) {
    throw new ClusterError("invalid-argument", "the path is not valid percent-encoding", {
      cause: error,
    });
  }
}
