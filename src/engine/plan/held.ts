/**
 * What nodes say when a plan is made: which blobs of images they have, which files of theirs that tasks need are not there, and
 * which volumes they would not give them.
 */
import { access } from "node:fs/promises";
import type { Volumes } from "../../common/container/volumes.ts";
import { errorText } from "../../common/errors/cluster-error.ts";
import type { EngineContext } from "../context.ts";
import { json } from "../reply.ts";
import type { EngineRequest } from "../request.ts";
import type { Route } from "../router.ts";

/** Where nodes answer over a tunnel. */
export const heldPath = "/skep/held";

/** A question to one node. */
export interface HeldQuestion {
  readonly digests: readonly string[];
  /** Absolute. */
  readonly paths: readonly string[];
  readonly volumes: readonly VolumeWish[];
}

/** A named volume as a task mounts it. */
export interface VolumeWish {
  readonly name: string;
  readonly driver: string;
  readonly options: Readonly<Record<string, string>>;
}

/** Its answer. */
export interface HeldAnswer {
  /** Of the digests, those the node has. */
  readonly held: readonly string[];
  /** Of the paths, those that are not there. */
  readonly absent: readonly string[];
  /** Per volume, why it would not be given; empty when it would. Daemons before there were plans of volumes say nothing. */
  readonly refusals?: readonly string[];
}

/** What nodes answer managers that plan: of themselves only. */
export function heldRoutes(context: EngineContext): readonly Route[] {
  return [
    {
      method: "POST",
      pattern: heldPath,
      handler: async (request) => json(await held(context, await questionOf(request))),
    },
  ];
}

/** This node's own answer. */
export async function held(context: EngineContext, question: HeldQuestion): Promise<HeldAnswer> {
  const absent: string[] = [];
  for (const path of question.paths) if (!(await isThere(path))) absent.push(path);
  const { images, volumes } = context.ports.runtime;
  const refusals = question.volumes.map((wish) => refusalOf(volumes, wish));
  const { digests } = question;
  return { held: digests.length === 0 ? [] : await images.held(digests), absent, refusals };
}

function refusalOf(volumes: Volumes, wish: VolumeWish): string {
  try {
    volumes.check({ ...wish, labels: {} });
    return "";
  } catch (error) {
    return errorText(error);
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

async function questionOf(request: EngineRequest): Promise<HeldQuestion> {
  const body = await request.body();
  const volumes = body.objects("volumes").map((one) => ({
    ...{ name: one.string("name"), driver: one.string("driver") },
    options: one.stringMap("options"),
  }));
  return { digests: body.strings("digests"), paths: body.strings("paths"), volumes };
}
