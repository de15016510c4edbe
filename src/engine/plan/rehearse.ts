/**
 * Requests that are tried: the very routes that would serve them, over a context that keeps what they would write to itself.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import type { EngineContext } from "../context.ts";
import type { RehearsalPort } from "../ports.ts";
import type { EngineRequest } from "../request.ts";
import { type Route, Router } from "../router.ts";

/** Makes the routes of objects of the swarm. */
export type RouteMaker = (context: EngineContext) => readonly Route[];

/** Serves requests without anything coming of them but what the rehearsal keeps. */
export class RehearsedRoutes {
  readonly #router: Router;
  readonly #planned = new PlannedIds();

  constructor(context: EngineContext, rehearsal: RehearsalPort, make: RouteMaker) {
    this.#router = new Router(make(rehearsing(context, rehearsal, this.#planned)));
  }

  /**
   * Tries a request.
   *
   * @param id What the object that it makes is called in requests that follow.
   * @throws ClusterError as the request would be answered.
   */
  async try(request: EngineRequest, id = ""): Promise<void> {
    const { route, params } = this.#router.find(request.method, request.path);
    this.#planned.next = id;
    try {
      await route.handler({ ...request, params });
    } finally {
      this.#planned.next = "";
    }
  }
}

/** Which id the next object gets; empty for any. */
class PlannedIds {
  next = "";
}

function rehearsing(
  context: EngineContext,
  rehearsal: RehearsalPort,
  planned: PlannedIds,
): EngineContext {
  const { ports } = context;
  const { networks } = ports.runtime;
  const notOfTheSwarm = async (): Promise<never> => {
    throw new ClusterError(
      "invalid-argument",
      "only changes of the swarm can be tried: this network is the node's own",
    );
  };
  return {
    ...context,
    ports: {
      ...ports,
      objects: {
        ...ports.objects,
        view: async () => rehearsal.view(),
        present: () => rehearsal.view(),
        call: async (method, request) => {
          const named = planned.next === "" ? request : { ...request, id: planned.next };
          return rehearsal.call(method, named);
        },
      },
      runtime: {
        ...ports.runtime,
        facts: () => ports.runtime.facts(),
        networks: new Proxy(networks, {
          get: (target, name) => {
            if (changing.has(name)) return notOfTheSwarm;
            const value: unknown = Reflect.get(target, name, target);
            return typeof value === "function" ? value.bind(target) : value;
          },
        }),
      },
    },
  };
}

/** What would change the node's own networks. */
const changing: ReadonlySet<string | symbol> = new Set([
  "create",
  "remove",
  "connect",
  "disconnect",
  "prune",
]);
