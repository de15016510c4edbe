/**
 * Texts of the docker command compared: the same scenarios on Docker's own swarm and on ours, each in a playground of a
 * manager and a worker, by one client at one version of the API. What differs is printed, and counted.
 *
 *   node build/test/compare/run.js [--only NAME,…] [--verbose]
 *
 * Run by hand, a scenario or two at a time (one to two minutes each); needs root, and Debian's engine in `build/tools`
 * (`scripts/setup`): without it nothing is compared. Differences that are meant are named in `meant.ts` and docs/compatibility.md.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startDockerSwarm } from "../../bench/docker-swarm.ts";
import { makeImage } from "../../bench/service.ts";
import { formSwarm } from "../../src/playground/engine-client.ts";
import { Playground } from "../../src/playground/playground.ts";
import { dockerClients } from "../support/docker.ts";
import { until } from "../support/wait.ts";
import { Lane, type Said } from "./lane.ts";
import { asMeant, isMeant } from "./meant.ts";
import { refusals } from "./refusals.ts";
import { image, type Scenario, scenarios } from "./scenarios.ts";
import { stacks } from "./stacks.ts";

const nodes = ["m1", "w1"];

const { values } = parseArgs({
  options: { only: { type: "string" }, verbose: { type: "boolean" } },
});
process.exit(await main());

async function main(): Promise<number> {
  const only = values.only?.split(",");
  const wanted = [...scenarios, ...refusals, ...stacks].filter(
    ({ name }) => only?.includes(name) ?? true,
  );
  const folder = mkdtempSync(join(tmpdir(), "skep-compare-"));
  const labs: Playground[] = [];
  const count = { same: 0, different: 0 };
  const clean = async () => {
    for (const lab of labs) await lab.down();
    rmSync(folder, { recursive: true, force: true });
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => void clean().finally(() => process.exit(130)));
  }
  try {
    const lanes = await startLanes(folder, labs);
    if (lanes === undefined) return 0;
    for (const scenario of wanted) await compare(scenario, lanes, count);
  } finally {
    await clean();
  }
  process.stdout.write(`${count.same} passed, ${count.different} failed\n`);
  return count.different === 0 ? 0 : 1;
}

/** Both swarms with the image on every node; undefined where Docker's engine is not there. */
async function startLanes(folder: string, labs: Playground[]): Promise<Lane[] | undefined> {
  // The program that passes published ports on is not beside the engine.
  const docker = await startDockerSwarm(join(folder, "docker"), nodes, ["--userland-proxy=false"]);
  if (docker === undefined) return undefined;
  labs.push(docker);
  const env = { DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: "1" };
  const ours = Playground.create({ dir: join(folder, "ours"), nodes, env });
  labs.push(ours);
  await ours.up();
  await formSwarm(ours.nodes().map((node) => ({ ...node, role: "manager" as const })));
  // The newest client: it is the one whose texts users know.
  const client = dockerClients().at(-1)?.path ?? "docker";
  const tar = makeImage(folder);
  for (const lab of labs) {
    for (const name of nodes) {
      const imported = await lab.docker(name, ["import", tar, image]);
      if (imported.code !== 0) throw new Error(`docker import: ${imported.stderr}`);
    }
    await lab.docker("m1", ["node", "demote", "w1"]);
  }
  const lanes = [new Lane("Docker", docker, client), new Lane("Skep", ours, client)];
  const list = ["node", "ls", "--format", "{{.Hostname}}|{{.Status}}|{{.ManagerStatus}}"];
  const info = ["info", "--format", "{{.Swarm.ControlAvailable}}"];
  for (const lane of lanes) {
    const isWorker = async () =>
      (await lane.lines(list)).includes("w1|Ready|") &&
      (await lane.lines(info, "w1"))[0] === "false";
    await until(isWorker, { withinMs: 30_000, everyMs: 300, what: "w1 is a worker" });
  }
  return lanes;
}

async function compare(
  { name, steps }: Scenario,
  lanes: readonly Lane[],
  count: { same: number; different: number },
): Promise<void> {
  const said = await Promise.all(
    lanes.map(async (lane) => {
      const all: Said[] = [];
      for (const step of steps) {
        all.push(await lane.take(step));
        if (values.verbose !== true) continue;
        const seconds = Math.round(performance.now() / 1000);
        process.stderr.write(`${seconds} s ${lane.name}: ${step.words.join(" ").slice(0, 60)}\n`);
      }
      return all;
    }),
  );
  await Promise.all(lanes.map(clear));
  const [docker = [], ours = []] = said;
  for (const [at, theirs] of docker.entries()) {
    const mine = ours[at];
    const words = theirs.step.words.join(" ");
    const texts = [asMeant(theirs, name), mine === undefined ? "" : asMeant(mine, name)];
    const isSame =
      (texts[0] === texts[1] && theirs.code === mine?.code) ||
      (mine !== undefined && isMeant(theirs, mine));
    if (isSame) count.same++;
    else count.different++;
    if (isSame && values.verbose !== true) continue;
    const mark = isSame ? "as meant" : "DIFFERENT";
    const codes = isSame ? `${theirs.code}` : `${theirs.code}, ours ${mine?.code}`;
    process.stdout.write(`--- ${name}: docker ${words}: ${mark}, exit ${codes}\n`);
    if (isSame) process.stdout.write(`${indented(texts[0] ?? "", " ")}\n`);
    else process.stdout.write(`${diff(texts[0] ?? "", texts[1] ?? "")}\n`);
  }
  process.stdout.write(`=== ${name}: ${count.same} same, ${count.different} different so far\n`);
}

/** Takes away what a scenario made. */
async function clear(lane: Lane): Promise<void> {
  for (const kind of ["stack", "service", "secret", "config", "network"]) {
    const format = kind === "stack" ? ["--format", "{{.Name}}"] : ["--quiet"];
    const filter = kind === "network" ? ["--filter", "name=compared"] : [];
    const ids = await lane.lines([kind, "ls", ...format, ...filter]);
    if (ids.length > 0) await lane.lines([kind, "rm", ...ids]);
  }
  for (const node of nodes) {
    const isGone = async () => (await lane.lines(["ps", "-aq"], node)).length === 0;
    const waiting = { withinMs: 20_000, everyMs: 300, what: `no container on ${node}` };
    // Docker's swarm leaves a container of a job now and then; the next scenario does not look at it.
    await until(isGone, waiting).catch(() => {});
  }
}

/** Lines of both: those of Docker's alone with `-`, ours alone with `+`, and what stands beside them. */
function diff(theirs: string, mine: string): string {
  const [a, b] = [theirs.split("\n"), mine.split("\n")];
  const lines: string[] = [];
  let at = 0;
  for (const line of a) {
    const found = b.indexOf(line, at);
    if (found < 0) {
      lines.push(`  - ${line}`);
      continue;
    }
    for (; at < found; at++) lines.push(`  + ${b[at]}`);
    lines.push(`    ${line}`);
    at++;
  }
  for (; at < b.length; at++) lines.push(`  + ${b[at]}`);
  const isNear = (place: number) =>
    [-2, -1, 0, 1].some((by) => /^ {2}[-+] /.test(lines[place - by] ?? ""));
  return lines.filter((_, place) => isNear(place)).join("\n");
}

function indented(text: string, by: string): string {
  return text.replace(/^/gm, `   ${by}`);
}
