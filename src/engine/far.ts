/**
 * Containers of tasks on other nodes, as if they were here: a manager sends the request to the node that has them.
 *
 * Wraps the routes of single containers and execs. What this node has itself is served here, names and prefixes included;
 * else the container is looked for among the tasks of the cluster, and the request is carried to its node (`carry.ts`).
 */
import { aborting } from "../common/clock/aborting.ts";
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import { farExecsMax, farLookupMs } from "../common/limits/tunnel.ts";
import { type EngineContext, readView } from "./context.ts";
import { containerOf, type FoundTask, findTask, looksLikeTask } from "./far-lookup.ts";
import {
  isExecRoute,
  isInspectRoute,
  makesExec,
  makesImage,
  mayTravel,
  pathFor,
} from "./far-routes.ts";
import { json, type Reply } from "./reply.ts";
import { type EngineRequest, param } from "./request.ts";
import type { Route } from "./router.ts";
import type { Json } from "./translate/common.ts";
import { taskToJson } from "./translate/task.ts";

/** Where an exec made through this manager lives. */
interface FarExec {
  readonly nodeId: string;
}

/** Finds what is not on this node, and remembers the execs that were made elsewhere. */
export class Far {
  readonly #context: EngineContext;
  /** Oldest first. */
  readonly #execs = new Map<string, FarExec>();

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /** The routes, of which those that may travel look elsewhere for what is not here. */
  over(routes: readonly Route[]): readonly Route[] {
    return routes.map((route) => {
      if (makesImage(route))
        return { ...route, handler: (request) => this.#serveCommit(route, request) };
      if (!mayTravel(route)) return route;
      const look = isExecRoute(route) ? this.#serveExec : this.#serveContainer;
      return { ...route, handler: (request) => look.call(this, route, request) };
    });
  }

  async #serveContainer(route: Route, request: EngineRequest): Promise<Reply> {
    // Names of containers may come with a slash in front.
    const reference = param(request, "id").replace(/^\//, "");
    if (this.#isHere(() => this.#context.ports.runtime.containers.find(reference))) {
      return route.handler(request);
    }
    const found = await this.#find(request, reference);
    if (found === undefined) return this.#refused(route, request, reference);
    const { task, byTask } = found;
    const containerId = containerOf(task);
    if (containerId === "") throw noContainerYet(reference, found);
    const extra = byTask && isInspectRoute(route) ? this.#taskJson(found) : undefined;
    if (task.nodeId === this.#context.ports.swarm.status().nodeId) {
      const reply = await route.handler({ ...request, params: { id: containerId } });
      return extra !== undefined && reply.kind === "json"
        ? json({ ...extra, ...(reply.body as Json) })
        : reply;
    }
    return {
      kind: "far",
      carried: {
        nodeId: task.nodeId,
        path: pathFor(route, containerId),
        ...(extra === undefined ? {} : { onJson: (body: Json) => ({ ...extra, ...body }) }),
        ...(makesExec(route) ? { onJson: (body: Json) => this.#remember(body, task.nodeId) } : {}),
      },
    };
  }

  async #serveExec(route: Route, request: EngineRequest): Promise<Reply> {
    const id = param(request, "id");
    const exec = this.#execs.get(id);
    if (exec === undefined) return route.handler(request);
    return { kind: "far", carried: { nodeId: exec.nodeId, path: request.path } };
  }

  /** What another node has is refused with the place to do it, rather than as unknown. */
  async #serveCommit(route: Route, request: EngineRequest): Promise<Reply> {
    const reference = (request.query.get("container") ?? "").replace(/^\//, "");
    const { runtime, objects, swarm } = this.#context.ports;
    if (this.#isHere(() => runtime.containers.find(reference))) return route.handler(request);
    const task = (await this.#find(request, reference))?.task;
    if (task === undefined || task.nodeId === swarm.status().nodeId) return route.handler(request);
    const node = objects.present()?.get("node", task.nodeId)?.description?.hostname;
    throw new ClusterError(
      "failed-precondition",
      `container ${reference} is on node ${node || task.nodeId}: docker commit makes an image of the node that has the container, run it there`,
      { fields: { "task.id": task.id, "node.id": task.nodeId } },
    );
  }

  /** Whether this node has it, or has several that begin so: what is here wins. */
  #isHere(find: () => unknown): boolean {
    try {
      find();
      return true;
    } catch (error) {
      // A manager without a runtime of its own reaches those of others all the same.
      return !hasCode(error, "not-found") && !hasCode(error, "unavailable");
    }
  }

  /** First in the tables as they are: a task never moves. What was made only now needs a read point. */
  async #find(request: EngineRequest, reference: string): Promise<FoundTask | undefined> {
    const { objects, swarm } = this.#context.ports;
    if (!swarm.status().controlAvailable) return undefined;
    const present = objects.present();
    const found = present === undefined ? undefined : findTask(present, reference);
    if (found !== undefined && containerOf(found.task) !== "") return found;
    const stop = new AbortController();
    const end = () => stop.abort(request.signal.reason);
    request.signal.addEventListener("abort", end, { once: true });
    const late = this.#context.clock.sleep(farLookupMs, stop.signal).then(end, () => {
      // The look-up is done.
    });
    try {
      const view = readView(this.#context, { ...request, lightSignal: stop.signal }, 0);
      return findTask(await aborting(view, stop.signal), reference);
    } catch (error) {
      if (hasCode(error, "invalid-argument")) throw error;
      // No leader just now: what is not in the tables of this manager cannot be found.
      return found;
    } finally {
      request.signal.removeEventListener("abort", end);
      stop.abort();
      await late;
    }
  }

  /** The local refusal, with a hint where the container may well be elsewhere. */
  async #refused(route: Route, request: EngineRequest, reference: string): Promise<Reply> {
    const { swarm } = this.#context.ports;
    const { state, isManager, nodeId } = swarm.status();
    const isWorker = state !== "inactive" && nodeId !== "" && !isManager;
    try {
      return await route.handler(request);
    } catch (error) {
      if (!isWorker || !looksLikeTask(reference) || !hasCode(error, "not-found")) throw error;
      // Not as "not found": clients put a text of their own in place of that one's.
      throw new ClusterError(
        "unavailable",
        `container ${reference} is not on this node, which is a worker: ask a manager for containers on other nodes`,
        { cause: error },
      );
    }
  }

  /**
   * What `docker inspect TASK` expects: it asks for a container first, and there is one. Names differ from those of a
   * container but for ID, which comes first: clients that take no notice of case read the container's.
   */
  #taskJson({ task }: FoundTask): Json {
    const view = this.#context.ports.objects.present();
    return taskToJson(task, (id) => view?.get("network", id));
  }

  #remember(body: Json, nodeId: string): Json {
    const id = body["Id"];
    if (typeof id !== "string") return body;
    this.#execs.set(id, { nodeId });
    const [oldest] = this.#execs.keys();
    if (this.#execs.size > farExecsMax && oldest !== undefined) this.#execs.delete(oldest);
    return body;
  }
}

function noContainerYet(reference: string, { task }: FoundTask): ClusterError {
  const { state = "new", message = "", error = "" } = task.status ?? {};
  const reason = error === "" ? message : error;
  return new ClusterError(
    "not-found",
    `No such container: ${reference} (task ${task.id} has none: it is ${state}${reason === "" ? "" : `, ${reason}`})`,
    { fields: { "task.id": task.id } },
  );
}
