/**
 * What nodes say when a plan is made: which blobs of images they have, and which files of theirs that tasks need are not there.
 */
import { access } from "node:fs/promises";
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
}

/** Its answer. */
export interface HeldAnswer {
  /** Of the digests, those the node has. */
  readonly held: readonly string[];
  /** Of the paths, those that are not there. */
  readonly absent: readonly string[];
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
  const { images } = context.ports.runtime;
  return { held: question.digests.length === 0 ? [] : await images.held(question.digests), absent };
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
  return { digests: body.strings("digests"), paths: body.strings("paths") };
}
