/**
 * What is sent for a service in the end: its body with the image as the registry has it, and what only the running one knows.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { familiarText, parseReference, withDefaultTag } from "../../common/registry/reference.ts";
import { type Body, imageLabel } from "../../stack/translate/context.ts";
import type { StackService } from "../../stack/translate/stack.ts";
import type { ApiObject, Json } from "./client.ts";
import type { StackRun } from "./io.ts";
import { registryAuth } from "./registry-auth.ts";

/** Credentials of the caller, where they are to be sent. */
export function authHeaders(
  { io, options }: Pick<StackRun, "io" | "options">,
  { image }: StackService,
) {
  const auth = options.withRegistryAuth ? registryAuth(image, io.environment) : undefined;
  return auth === undefined ? undefined : { "X-Registry-Auth": auth };
}

/** What is sent for a service in the end. */
export interface FinalBody {
  readonly body: Body;
  /** The image, as it is sent, that no registry told of; for the first of the services that have it. */
  readonly unresolved?: { readonly image: string; readonly error: ClusterError };
}

type Tools = Pick<StackRun, "client" | "io" | "options">;

/** A service of the file, and the one that runs by its name. */
export interface Wish {
  readonly service: StackService;
  readonly before: ApiObject | undefined;
}

/**
 * What is sent for these services. Registries are asked side by side, so that those that are silent cost one wait.
 *
 * @param o.withinS How long a registry is waited for; undefined: as long as the daemon does.
 */
export function finalBodies<T extends Wish>(
  run: Tools,
  wishes: readonly T[],
  o: { readonly withinS?: number } = {},
): (T & { readonly final: Promise<FinalBody> })[] {
  return wishes.map((wish) => {
    const final = finalBody(run, wish, o.withinS);
    final.catch(() => undefined); // Whoever waits for it hears of it.
    return { ...wish, final };
  });
}

/** With the image as the registry has it, and what only the running one knows. */
async function finalBody(
  run: Tools,
  { service, before }: Wish,
  withinS: number | undefined,
): Promise<FinalBody> {
  const { resolveImage } = run.options;
  const isSameImage = before?.labels[imageLabel] === service.image;
  const asks =
    service.resolvesImage &&
    (resolveImage === "always" || (resolveImage === "changed" && !isSameImage));
  const { body, ...rest }: FinalBody = asks
    ? await resolved(run, service, withinS)
    : { body: withImage(service.body, imageFor(service, isSameImage ? before : undefined)) };
  if (before === undefined) return { body, ...rest };
  const task = before.spec["TaskTemplate"] as Json | undefined;
  const ForceUpdate = task?.["ForceUpdate"] ?? 0;
  const TaskTemplate = { ...(body["TaskTemplate"] as Json), ForceUpdate };
  return { body: { ...body, TaskTemplate }, ...rest };
}

/** As it runs, if the file says the same as then. */
function imageFor(service: StackService, before: ApiObject | undefined): string {
  const task = before?.spec["TaskTemplate"] as Json | undefined;
  const container = task?.["ContainerSpec"] as Json | undefined;
  const running = container?.["Image"];
  return typeof running === "string"
    ? running
    : familiarText(withDefaultTag(parseReference(service.image)));
}

function withImage(body: Body, Image: string): Body {
  const task = body["TaskTemplate"] as Json;
  return {
    ...body,
    TaskTemplate: { ...task, ContainerSpec: { ...(task["ContainerSpec"] as Json), Image } },
  };
}

/** With the digest the registry has for the image, and the platforms it is for; as it is when nobody answers. */
async function resolved(
  run: Tools,
  service: StackService,
  withinS: number | undefined,
): Promise<FinalBody> {
  const reference = withDefaultTag(parseReference(service.image));
  const Image = familiarText(reference);
  const headers = authHeaders(run, service) ?? {};
  const found = run.client.image(Image, { headers, withinS });
  try {
    const answer = (await found.answer) as {
      readonly Descriptor?: { readonly digest?: string };
      readonly Platforms?: readonly { readonly architecture?: string; readonly os?: string }[];
    };
    const digest = answer.Descriptor?.digest ?? "";
    const pinned = withImage(
      service.body,
      digest === "" ? Image : familiarText({ ...reference, digest }),
    );
    // The stock client leaves arm out, whose variants its API cannot say; managers ask the registry for themselves.
    const platforms = (answer.Platforms ?? []).map(({ architecture, os }) => ({
      ...(architecture === "arm" ? {} : { Architecture: architecture }),
      OS: os,
    }));
    const task = pinned["TaskTemplate"] as Json;
    const placement = (task["Placement"] ?? {}) as Json;
    if (platforms.length === 0 || placement["Platforms"] !== undefined) return { body: pinned };
    const Placement = { ...placement, Platforms: platforms };
    return { body: { ...pinned, TaskTemplate: { ...task, Placement } } };
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    const body = withImage(service.body, Image);
    return found.isNew ? { body, unresolved: { image: Image, error } } : { body };
  }
}
