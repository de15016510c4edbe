/**
 * What the nodes of a plan would have to pull, which of their files would be missed, and which volumes and ports they would not
 * give: registries are asked what images are made of, and the nodes what they have of it.
 */
import { planNodesMax } from "../../common/limits/limits.ts";
import type { ImageContents } from "../../common/registry/registry.ts";
import type { ClusterPlan, ConflictPlan } from "../../common/spec/cluster-plan.ts";
import type { EngineContext } from "../context.ts";
import { askEach, type Outcome } from "../explain/ask.ts";
import type { ObjectView } from "../ports.ts";
import { type HeldAnswer, type HeldQuestion, held, heldPath } from "./held.ts";
import { type Place, placesOf, wishKey } from "./places.ts";
import type { Contents, PlanRegistries } from "./registries.ts";

/** An image that a node needs for new tasks. */
export interface ImageNeed {
  readonly image: string;
  readonly nodeId: string;
  /** Bytes of all its blobs; undefined when its registry or its node did not tell. */
  readonly totalBytes: number | undefined;
  /** Of these, what the node does not have. */
  readonly pullBytes: number | undefined;
  /** Why the bytes are not known; empty when they are. */
  readonly unknown: string;
}

/** A file of a node that tasks need and that is not there. */
export interface MissingPath {
  readonly nodeId: string;
  readonly service: string;
  readonly path: string;
}

/** A volume or a port that the agent of a node would not give to tasks. */
export interface RefusedWish {
  readonly kind: ConflictPlan["kind"];
  readonly nodeId: string;
  readonly serviceId: string;
  readonly name: string;
  readonly reason: string;
}

/** What the nodes said. */
export interface Needs {
  readonly images: readonly ImageNeed[];
  readonly missing: readonly MissingPath[];
  readonly refusals: readonly RefusedWish[];
  /** Nodes that did not answer, with the reason. */
  readonly silent: ReadonlyMap<string, string>;
  /** Nodes that were not asked, as there are so many. */
  readonly unasked: number;
}

/** Asks for what the plan's new tasks need. */
export async function needsOf(
  context: EngineContext,
  plan: ClusterPlan,
  o: {
    readonly view: ObjectView;
    readonly registries: Pick<PlanRegistries, "contents">;
    readonly signal: AbortSignal;
  },
): Promise<Needs> {
  const { signal, registries } = o;
  const all = placesOf(plan, o.view);
  const nodeIds = [...new Set(all.map(({ nodeId }) => nodeId))].sort();
  const asked = new Set(nodeIds.slice(0, planNodesMax));
  const places = all.filter(({ nodeId }) => asked.has(nodeId));
  const contents = await registries.contents(places);
  const questions = new Map<string, HeldQuestion>();
  for (const id of asked) questions.set(id, questionFor(id, places, contents));
  const answers = await askEach<HeldQuestion, HeldAnswer>(context, {
    ...{ path: heldPath, questions, signal },
    here: (question) => held(context.ports.runtime, question),
  });
  const silent = new Map<string, string>();
  for (const [id, one] of answers) if (one.kind === "silent") silent.set(id, one.reason);
  const unasked = nodeIds.length - asked.size;
  return {
    images: imageNeeds(places, contents, answers),
    missing: missingPaths(places, answers),
    refusals: refusedWishes(places, questions, answers),
    ...{ silent, unasked },
  };
}

function questionFor(nodeId: string, places: readonly Place[], contents: Contents): HeldQuestion {
  const digests = new Set<string>();
  const paths = new Set<string>();
  const volumes = new Map<string, Place["volumes"][number]>();
  const ports = new Map<string, Place["ports"][number]>();
  for (const place of places) {
    if (place.nodeId !== nodeId) continue;
    const found = contents.get(place.key);
    if (found !== undefined && "blobs" in found)
      for (const { digest } of found.blobs) digests.add(digest);
    for (const path of place.paths) paths.add(path);
    for (const wish of place.volumes) volumes.set(wishKey(wish), wish);
    for (const wish of place.ports) ports.set(wishKey(wish), wish);
  }
  return {
    ...{ digests: [...digests], paths: [...paths] },
    ...{ volumes: [...volumes.values()], ports: [...ports.values()] },
  };
}

type Answers = ReadonlyMap<string, Outcome<HeldAnswer>>;

function imageNeeds(
  places: readonly Place[],
  contents: Contents,
  answers: Answers,
): readonly ImageNeed[] {
  const needs = new Map<string, ImageNeed>();
  for (const { key, lot, nodeId } of places) {
    const { image } = lot;
    const found = contents.get(key);
    const answer = answers.get(nodeId);
    const none = { totalBytes: undefined, pullBytes: undefined };
    const need = { image, nodeId, ...none };
    const name = `${image} ${nodeId}`;
    if (found === undefined || "unknown" in found)
      needs.set(name, { ...need, unknown: found?.unknown ?? "" });
    else if (answer?.kind !== "told")
      needs.set(name, { ...need, unknown: answer?.reason ?? "the node was not asked" });
    else {
      const has = new Set(answer.answer.held);
      const sum = (blobs: ImageContents["blobs"]) =>
        blobs.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
      const pullBytes = sum(found.blobs.filter(({ digest }) => !has.has(digest)));
      needs.set(name, { ...need, totalBytes: sum(found.blobs), pullBytes, unknown: "" });
    }
  }
  return [...needs.values()];
}

function missingPaths(places: readonly Place[], answers: Answers): readonly MissingPath[] {
  return places.flatMap(({ nodeId, service, paths }) => {
    const answer = answers.get(nodeId);
    const absent = answer?.kind === "told" ? answer.answer.absent : [];
    return paths.filter((path) => absent.includes(path)).map((path) => ({ nodeId, service, path }));
  });
}

function refusedWishes(
  places: readonly Place[],
  questions: ReadonlyMap<string, HeldQuestion>,
  answers: Answers,
): readonly RefusedWish[] {
  return places.flatMap(({ nodeId, serviceId, volumes, ports }) => {
    const question = questions.get(nodeId);
    const answer = answers.get(nodeId);
    if (question === undefined || answer?.kind !== "told") return [];
    const { refusals = [], portRefusals = [] } = answer.answer;
    const ofVolumes = refusalsOf(question.volumes, refusals);
    const ofPorts = refusalsOf(question.ports, portRefusals);
    const at = { nodeId, serviceId };
    return [
      ...volumes.flatMap((wish) => {
        const reason = ofVolumes.get(wishKey(wish)) ?? "";
        return reason === "" ? [] : { ...at, kind: "volume" as const, name: wish.name, reason };
      }),
      ...ports.flatMap((wish) => {
        const reason = ofPorts.get(wishKey(wish)) ?? "";
        const name = `${wish.port}/${wish.protocol}`;
        return reason === "" ? [] : { ...at, kind: "port" as const, name, reason };
      }),
    ];
  });
}

/** Answers are in the order of the wishes. */
function refusalsOf(
  wishes: readonly object[],
  reasons: readonly string[],
): ReadonlyMap<string, string> {
  return new Map(wishes.map((wish, at) => [wishKey(wish), reasons[at] ?? ""]));
}
