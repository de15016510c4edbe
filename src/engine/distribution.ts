/**
 * Registries over HTTP: what a tag stands for there (`docker service create` pins images by it), and `docker login`.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import { defaultDomain } from "../common/registry/reference.ts";
import type { EngineContext } from "./context.ts";
import { registryInTime } from "./registry-wait.ts";
import { json, type Reply } from "./reply.ts";
import { type EngineRequest, param } from "./request.ts";
import type { Route } from "./router.ts";
import { resolvedToJson } from "./translate/distribution.ts";
import { registryAuthFromHeader } from "./translate/registry-auth.ts";

/** Routes of registries. */
export function distributionRoutes(context: EngineContext): readonly Route[] {
  return [
    {
      method: "GET",
      pattern: "/distribution/{id...}/json",
      handler: (request) => inspect(context, request),
    },
    { method: "POST", pattern: "/auth", handler: (request) => login(context, request) },
  ];
}

async function inspect(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const reference = param(request, "id");
  if (/^[0-9a-f]{64}$/.test(reference)) {
    throw new ClusterError(
      "invalid-argument",
      `invalid reference format: ${reference} is the id of an image on a node, give its name`,
    );
  }
  const auth = registryAuthFromHeader(request.header("x-registry-auth"));
  const { registry } = context.ports;
  const withinMs = patienceOf(request);
  const work = (signal: AbortSignal) => registry.resolve(reference, { auth, signal });
  const { signal } = request;
  const found =
    withinMs === undefined
      ? await work(signal)
      : await registryInTime(context, { withinMs, signal }, work);
  return json(resolvedToJson(found));
}

/** How long the caller waits for the registry, in whole seconds of `timeout`, which Docker's route does not have. */
function patienceOf({ query }: EngineRequest): number | undefined {
  const text = query.get("timeout");
  if (text === null) return undefined;
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text) * 1000;
  throw new ClusterError("invalid-argument", `invalid value for timeout: ${text}`);
}

async function login(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const body = await request.body();
  const auth = {
    username: body.string("username"),
    password: body.string("password"),
    identityToken: body.string("identitytoken"),
    registryToken: body.string("registrytoken"),
    serverAddress: body.string("serveraddress"),
  };
  const domain = domainOf(auth.serverAddress);
  const identityToken = await context.ports.registry.login(domain, auth, request.signal);
  return json({ Status: "Login Succeeded", IdentityToken: identityToken });
}

/**
 * The registry that `docker login` names: an address with or without a scheme; Docker Hub's has a path of old.
 * @throws ClusterError `invalid-argument` for what is none
 */
export function domainOf(serverAddress: string): string {
  const host = serverAddress.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  if (host === "" || host === "index.docker.io" || host === "registry-1.docker.io")
    return defaultDomain;
  if (!URL.canParse(`https://${host}/`)) {
    throw new ClusterError(
      "invalid-argument",
      `serveraddress ${JSON.stringify(serverAddress)} is no address of a registry such as 10.0.0.1:5000`,
    );
  }
  return host;
}
