/**
 * Which requests travel: those for one container or one exec, which a manager may send to the node that has it.
 *
 * Both ends go by this list: the manager that forwards, and the node that serves what comes through a tunnel.
 */

/** What of a route counts here. */
interface RouteName {
  readonly method: string;
  readonly pattern: string;
}

const travelling: ReadonlySet<string> = new Set([
  "GET /containers/{id}/json",
  "GET /containers/{id}/logs",
  "GET /containers/{id}/top",
  "GET /containers/{id}/stats",
  "GET /containers/{id}/changes",
  "GET /containers/{id}/export",
  "HEAD /containers/{id}/archive",
  "GET /containers/{id}/archive",
  "PUT /containers/{id}/archive",
  "POST /containers/{id}/attach",
  "POST /containers/{id}/exec",
  "POST /containers/{id}/kill",
  "POST /containers/{id}/stop",
  "POST /containers/{id}/start",
  "POST /containers/{id}/restart",
  "POST /containers/{id}/pause",
  "POST /containers/{id}/unpause",
  "POST /containers/{id}/wait",
  "POST /containers/{id}/resize",
  "POST /containers/{id}/rename",
  "POST /containers/{id}/update",
  "DELETE /containers/{id}",
  "POST /exec/{id}/start",
  "POST /exec/{id}/resize",
  "GET /exec/{id}/json",
]);

/** Whether requests of this route may go to another node. */
export function mayTravel({ method, pattern }: RouteName): boolean {
  return travelling.has(`${method} ${plain(pattern)}`);
}

/** Whether the route makes an image of a container: it would be on the container's node, where nobody looks for it. */
export function makesImage({ method, pattern }: RouteName): boolean {
  return method === "POST" && pattern === "/commit";
}

/** Whether the route is about an exec rather than about a container. */
export function isExecRoute({ pattern }: Pick<RouteName, "pattern">): boolean {
  return pattern.startsWith("/exec/");
}

/** Whether the route shows a container. */
export function isInspectRoute({ pattern }: Pick<RouteName, "pattern">): boolean {
  return plain(pattern) === "/containers/{id}/json";
}

/** Whether the route makes an exec. */
export function makesExec({ pattern }: Pick<RouteName, "pattern">): boolean {
  return plain(pattern) === "/containers/{id}/exec";
}

/** The path of a route for this container. */
export function pathFor({ pattern }: Pick<RouteName, "pattern">, containerId: string): string {
  return plain(pattern).replace("{id}", containerId);
}

/** The pattern without the mark of names with slashes. */
function plain(pattern: string): string {
  return pattern.replace("...}", "}");
}
