/**
 * A service of 50 replicas on one node, from the request until the API says that all run: ours and Docker's swarm mode in
 * alternating rounds, each in a playground of its own, with the same image, seccomp on in both.
 *
 * Part of `npm run bench -- containers`. Looks every 20 ms by `GET /services?status=true`, as `docker service ls` does. A
 * round begins when no container of the one before is left.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formSwarm } from "../src/playground/engine-client.ts";
import { Playground } from "../src/playground/playground.ts";
import { type Answer, type Ask, ask } from "../test/support/lab-cluster.ts";
import { until } from "../test/support/wait.ts";
import { startDockerSwarm } from "./docker-swarm.ts";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";

const image = "skep-bench:1";
const replicas = 50;
/** Longest a round may take, milliseconds. */
const roundMsMax = 180_000;
const lookMs = 20;
const node = "m1";

/** Runs the comparison; needs root for the playgrounds. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
  const labs = new Map<string, Playground>();
  const seconds = new Map<string, number[]>();
  try {
    const tar = makeImage(folder);
    const docker = await startDockerSwarm(join(folder, "docker"), [node]);
    if (docker !== undefined) labs.set("docker_service50", docker);
    // There is no registry to be asked for images; Docker's engine is told so, too.
    const env = { DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: "1" };
    const ours = Playground.create({ dir: join(folder, "lab"), nodes: [node], env });
    labs.set("service50", ours);
    await ours.up();
    await formSwarm([{ ...ours.node(node), role: "manager" }]);
    for (const lab of labs.values()) {
      const imported = await lab.docker(node, ["import", tar, image]);
      if (imported.code !== 0) throw new Error(`docker import: ${imported.stderr}`);
    }
    const order = [...labs];
    // The first round warms up and does not count.
    for (let round = 0; round <= (options.quick ? 1 : 7); round++) {
      for (const [name, lab] of order) {
        const took = await startService(lab, `round-${round}`);
        if (round > 0) seconds.set(name, [...(seconds.get(name) ?? []), took]);
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
  for (const [name, list] of seconds) results[`${name}_s`] = median(list);
  const ours = seconds.get("service50") ?? [];
  const docker = seconds.get("docker_service50");
  if (docker === undefined) return results;
  const ratios = ours.map((took, round) => took / (docker[round] ?? Number.NaN));
  return { ...results, service50_vs_docker_ratio: median(ratios) };
}

/** Seconds until all replicas run; the service is gone again afterwards. */
async function startService(lab: Playground, name: string): Promise<number> {
  const start = performance.now();
  const container = { Image: image, Command: ["/bin/sleep"], Args: ["100000"], StopGracePeriod: 0 };
  const Mode = { Replicated: { Replicas: replicas } };
  const body = { Name: name, TaskTemplate: { ContainerSpec: container }, Mode };
  await well(lab, { path: "/services/create", body });
  const isUp = async () => {
    const { body } = await well(lab, { path: "/services?status=true" });
    const [service] = body as { ServiceStatus: { RunningTasks: number } }[];
    return service?.ServiceStatus.RunningTasks === replicas;
  };
  const waiting = { withinMs: roundMsMax, everyMs: lookMs };
  await until(isUp, { ...waiting, what: `${replicas} replicas run` });
  const took = (performance.now() - start) / 1000;
  await well(lab, { method: "DELETE", path: `/services/${name}` });
  const isGone = async () => {
    const { body } = await well(lab, { path: "/containers/json?all=1" });
    return (body as unknown[]).length === 0;
  };
  await until(isGone, { ...waiting, what: `no container of ${name} is left` });
  return took;
}

/** What the API answers to a request that is to succeed. */
export async function well(lab: Playground, request: Ask): Promise<Answer> {
  const answer = await ask(lab.node(node).socket, request);
  if (answer.status < 200 || answer.status > 299) {
    throw new Error(`${request.path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }
  return answer;
}

/** A root file system with busybox in it, as a tar. */
export function makeImage(folder: string): string {
  const root = join(folder, "image");
  mkdirSync(join(root, "bin"), { recursive: true });
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  symlinkSync("busybox", join(root, "bin/sleep"));
  const tar = join(folder, "image.tar");
  execFileSync("tar", ["-C", root, "-cf", tar, "."]);
  return tar;
}
