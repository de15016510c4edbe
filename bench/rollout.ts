/**
 * A forced rolling update of a service of 20 replicas on one node, five at a time, the old task first: ours and Docker's swarm
 * mode in alternating rounds, each in a playground of its own, with the same image.
 *
 * Timed from the request until the API shows 20 running tasks of the new version and none of the old ones: what comes after
 * is the monitor's time, which the user sets. Looks every 50 ms by `GET /tasks?filters=…`, as the client's progress display does.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formSwarm } from "../src/playground/engine-client.ts";
import { Playground } from "../src/playground/playground.ts";
import { until } from "../test/support/wait.ts";
import { startDockerSwarm } from "./docker-swarm.ts";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";
import { makeImage, well } from "./service.ts";

const image = "skep-bench:1";
const name = "web";
const replicas = 20;
const parallelism = 5;
/** Longest a round may take, milliseconds. */
const roundMsMax = 180_000;
const lookMs = 50;
const node = "m1";

/** Runs the comparison; needs root for the playgrounds. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
  const labs = new Map<string, Playground>();
  const seconds = new Map<string, number[]>();
  try {
    const tar = makeImage(folder);
    const docker = await startDockerSwarm(join(folder, "docker"), [node]);
    if (docker !== undefined) labs.set("docker_rollout20", docker);
    // There is no registry to be asked for images; Docker's engine is told so, too.
    const env = { DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: "1" };
    const ours = Playground.create({ dir: join(folder, "lab"), nodes: [node], env });
    labs.set("rollout20", ours);
    await ours.up();
    await formSwarm([{ ...ours.node(node), role: "manager" }]);
    for (const lab of labs.values()) {
      const imported = await lab.docker(node, ["import", tar, image]);
      if (imported.code !== 0) throw new Error(`docker import: ${imported.stderr}`);
      await startService(lab);
    }
    const order = [...labs];
    // The first round warms up and does not count.
    for (let round = 0; round <= (options.quick ? 1 : 5); round++) {
      for (const [key, lab] of order) {
        const took = await rollOut(lab);
        if (round > 0) seconds.set(key, [...(seconds.get(key) ?? []), took]);
      }
      order.reverse();
    }
  } finally {
    for (const lab of labs.values()) await lab.down();
    rmSync(folder, { recursive: true, force: true });
  }
  return summary(seconds);
}

function summary(seconds: ReadonlyMap<string, readonly number[]>): BenchResult {
  const results: Record<string, number> = {};
  for (const [key, list] of seconds) results[`${key}_s`] = median(list);
  const ours = seconds.get("rollout20") ?? [];
  const docker = seconds.get("docker_rollout20");
  if (docker === undefined) return results;
  const ratios = ours.map((took, round) => took / (docker[round] ?? Number.NaN));
  return { ...results, rollout20_vs_docker_ratio: median(ratios) };
}

async function startService(lab: Playground): Promise<void> {
  const container = { Image: image, Command: ["/bin/sleep"], Args: ["100000"], StopGracePeriod: 0 };
  const UpdateConfig = { Parallelism: parallelism, Order: "stop-first", FailureAction: "pause" };
  const Mode = { Replicated: { Replicas: replicas } };
  const body = { Name: name, TaskTemplate: { ContainerSpec: container }, Mode, UpdateConfig };
  await well(lab, { path: "/services/create", body });
  await allRun(lab);
}

/** Seconds until all tasks are new ones; returns once the update is over as well. */
async function rollOut(lab: Playground): Promise<number> {
  const { Version, Spec } = await serviceOf(lab);
  const forced = { ...Spec.TaskTemplate, ForceUpdate: (Spec.TaskTemplate.ForceUpdate ?? 0) + 1 };
  const path = `/services/${name}/update?version=${Version.Index}`;
  const start = performance.now();
  await well(lab, { path, body: { ...Spec, TaskTemplate: forced } });
  await allRun(lab);
  const took = (performance.now() - start) / 1000;
  const isOver = async () => (await serviceOf(lab)).UpdateStatus?.State === "completed";
  await until(isOver, { withinMs: roundMsMax, everyMs: lookMs, what: "the update is over" });
  return took;
}

interface BenchService {
  readonly Version: { readonly Index: number };
  readonly Spec: { readonly TaskTemplate: { readonly ForceUpdate?: number } };
  readonly UpdateStatus?: { readonly State: string };
}

async function serviceOf(lab: Playground): Promise<BenchService> {
  return (await well(lab, { path: `/services/${name}` })).body as BenchService;
}

/** All tasks that run are of the present version, and they are as many as wanted. */
async function allRun(lab: Playground): Promise<void> {
  const running = async (more: object) => {
    const filters = { service: [name], ...more };
    const query = new URLSearchParams({ filters: JSON.stringify(filters) });
    const { body } = await well(lab, { path: `/tasks?${query}` });
    const tasks = body as readonly { readonly Status: { readonly State: string } }[];
    return tasks.filter(({ Status }) => Status.State === "running").length;
  };
  const isDone = async () =>
    (await running({ "_up-to-date": ["true"] })) === replicas && (await running({})) === replicas;
  const waiting = { withinMs: roundMsMax, everyMs: lookMs };
  await until(isDone, { ...waiting, what: `${replicas} replicas of the new version run` });
}
