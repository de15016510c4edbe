/**
 * A service of 50 replicas on one node, from the request until the API says that all run: ours and Docker's swarm mode in
 * alternating rounds, each in a playground of its own, with the same image, seccomp on in both. Once with a place in the
 * network `bridge` for each task, as both give it where nobody says otherwise, and once with `--bridge none` for both, so that
 * tasks have a loopback device alone.
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

/** A comparison: of a service with these flags of both daemons. */
interface Pair {
  readonly name: string;
  readonly flags: readonly string[];
  /** Rounds that count. */
  readonly rounds: number;
}

/** Docker's engine takes long for the places of 50 tasks in its bridge, and the ratio is far from what is wanted. */
const pairs: readonly Pair[] = [
  { name: "service50", flags: [], rounds: 3 },
  { name: "service50_no_bridge", flags: ["--bridge", "none"], rounds: 7 },
];

/** Runs the comparisons; needs root for the playgrounds. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  let results: BenchResult = {};
  for (const pair of pairs) {
    const rounds = options.quick ? 1 : pair.rounds;
    results = { ...results, ...summary(pair.name, await compare({ ...pair, rounds })) };
  }
  return results;
}

/** Seconds of the rounds that count, by whose they are. */
async function compare({ flags, rounds }: Pair): Promise<ReadonlyMap<Side, readonly number[]>> {
  const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
  const labs = new Map<Side, Playground>();
  const seconds = new Map<Side, number[]>();
  try {
    const tar = makeImage(folder);
    const docker = await startDockerSwarm(join(folder, "docker"), [node], flags);
    if (docker !== undefined) labs.set("docker", docker);
    // There is no registry to be asked for images; Docker's engine is told so, too.
    const env = { DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: "1" };
    const ours = Playground.create({ dir: join(folder, "lab"), nodes: [node], env, flags });
    labs.set("ours", ours);
    await ours.up();
    await formSwarm([{ ...ours.node(node), role: "manager" }]);
    for (const lab of labs.values()) {
      const imported = await lab.docker(node, ["import", tar, image]);
      if (imported.code !== 0) throw new Error(`docker import: ${imported.stderr}`);
    }
    const order = [...labs];
    // The first round warms up and does not count.
    for (let round = 0; round <= rounds; round++) {
      for (const [side, lab] of order) {
        const took = await startService(lab, `round-${round}`);
        if (round > 0) seconds.set(side, [...(seconds.get(side) ?? []), took]);
      }
      order.reverse();
    }
  } finally {
    for (const lab of labs.values()) await lab.down();
    rmSync(folder, { recursive: true, force: true });
  }
  return seconds;
}

type Side = "ours" | "docker";

function summary(name: string, seconds: ReadonlyMap<Side, readonly number[]>): BenchResult {
  const ours = seconds.get("ours") ?? [];
  const docker = seconds.get("docker");
  const own = { [`${name}_s`]: median(ours) };
  if (docker === undefined) return own;
  const ratios = ours.map((took, round) => took / (docker[round] ?? Number.NaN));
  const theirs = { [`docker_${name}_s`]: median(docker) };
  return { ...own, ...theirs, [`${name}_vs_docker_ratio`]: median(ratios) };
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
