/**
 * What nodes say when a plan is made: which blobs of images they have, which files of theirs that tasks need are not there, and
 * which volumes and ports they would not give them.
 */
import { access } from "node:fs/promises";
import type { ListeningProgram, PortName } from "../../common/container/data-path.ts";
import type { Runtime } from "../../common/container/runtime.ts";
import type { Volumes } from "../../common/container/volumes.ts";
import { errorText } from "../../common/errors/cluster-error.ts";
import type { EngineContext } from "../context.ts";
import { portsFromJson } from "../explain/ask.ts";
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
  /** Of the node itself. */
  readonly ports: readonly PortName[];
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
  /** Per port, who has it besides tasks; empty when nobody does. Older daemons say nothing. */
  readonly portRefusals?: readonly string[];
}

/** What nodes answer managers that plan: of themselves only. */
export function heldRoutes(context: EngineContext): readonly Route[] {
  return [
    {
      method: "POST",
      pattern: heldPath,
      handler: async (request) =>
        json(await held(context.ports.runtime, await questionOf(request))),
    },
  ];
}

/** This node's own answer. */
export async function held(runtime: Runtime, question: HeldQuestion): Promise<HeldAnswer> {
  const absent: string[] = [];
  for (const path of question.paths) if (!(await isThere(path))) absent.push(path);
  const { digests, ports } = question;
  const refusals = question.volumes.map((wish) => refusalOf(runtime.volumes, wish));
  const has = digests.length === 0 ? [] : await runtime.images.held(digests);
  const portRefusals = ports.length === 0 ? [] : await holdersOf(runtime, ports);
  return { held: has, absent, refusals, portRefusals };
}

/** Who has each port; tasks are left out, of which the managers know. */
async function holdersOf(
  { containers, networks, dataPath }: Runtime,
  ports: readonly PortName[],
): Promise<readonly string[]> {
  const programs = await dataPath.programsAt(ports);
  const own = containers.list().filter(({ config }) => config.task === undefined);
  const bound = own.flatMap(({ id, name }) =>
    (networks.placesOf(id)?.ports ?? []).map((port) => ({ ...port, name })),
  );
  return ports.map(({ protocol, port }) => {
    const holder = bound.find((one) => one.protocol === protocol && one.hostPort === port);
    if (holder !== undefined) return `container ${holder.name} has it`;
    const isThere = (one: ListeningProgram) => one.protocol === protocol && one.port === port;
    const program = programs.find(isThere);
    return program === undefined ? "" : `${program.program} listens at ${program.address}`;
  });
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
  const ports = portsFromJson(body);
  return { digests: body.strings("digests"), paths: body.strings("paths"), volumes, ports };
}
