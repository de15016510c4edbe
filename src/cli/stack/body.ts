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

/** How a registry is asked. */
export interface Asking {
  /** How long it is waited for; undefined: as long as the daemon does. */
  readonly withinS?: number;
  /** An image is taken as it is named; told once for each. @param image As it is sent. */
  readonly onUnresolved: (image: string, error: ClusterError) => void;
}

/** What is sent for a service: with the image as the registry has it, and what only the running one knows. */
export async function finalBody(
  run: Pick<StackRun, "client" | "io" | "options">,
  service: StackService,
  o: Asking & { readonly before: ApiObject | undefined },
): Promise<Body> {
  const { before } = o;
  const { resolveImage } = run.options;
  const isSameImage = before?.labels[imageLabel] === service.image;
  const asks =
    service.resolvesImage &&
    (resolveImage === "always" || (resolveImage === "changed" && !isSameImage));
  const body = asks
    ? await resolved(run, service, o)
    : withImage(service.body, imageFor(service, isSameImage ? before : undefined));
  if (before === undefined) return body;
  const task = before.spec["TaskTemplate"] as Json | undefined;
  const ForceUpdate = task?.["ForceUpdate"] ?? 0;
  return { ...body, TaskTemplate: { ...(body["TaskTemplate"] as Json), ForceUpdate } };
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
  run: Pick<StackRun, "client" | "io" | "options">,
  service: StackService,
  { withinS, onUnresolved }: Asking,
): Promise<Body> {
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
    if (platforms.length === 0 || placement["Platforms"] !== undefined) return pinned;
    return {
      ...pinned,
      TaskTemplate: { ...task, Placement: { ...placement, Platforms: platforms } },
    };
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    if (found.isNew) onUnresolved(Image, error);
    return withImage(service.body, Image);
  }
}
