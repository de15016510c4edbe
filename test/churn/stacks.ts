/**
 * A stack that is removed and deployed again at once, many times without a pause: by the stock docker client, then by our own
 * command. Most removals come before its tasks run, every tenth takes away what runs. No command may fail; at the end the
 * stack runs, and after its last removal nothing of it is left.
 *
 *   node build/test/churn/stacks.js [--rounds 100] [--verbose]
 *
 * Part of `npm run test:long`.
 */
import { parseArgs } from "node:util";
import { runStack } from "../../src/cli/stack/command.ts";
import { writeBusyStack } from "../support/stack-file.ts";
import type { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";
import { onLab, registryAddress } from "./on-lab.ts";

const managers = ["m1"];
const workers = ["w1", "w2"];
const stack = "shop";
const image = `${registryAddress}/busybox:1`;

const { values } = parseArgs({
  options: { rounds: { type: "string" }, verbose: { type: "boolean" } },
});
const rounds = Number(values.rounds ?? 100);

/** Runs a command on the stack; its text when it failed. */
type RunCommand = (...words: readonly string[]) => Promise<string | undefined>;

process.exit(await onLab({ name: "skep-stacks", managers, workers }, both));

async function both(lab: SwarmLab, problems: string[]): Promise<void> {
  const folder = lab.scratch();
  const path = writeBusyStack(folder, image);
  const stock: RunCommand = async (command, ...words) => {
    const { code, stdout, stderr } = await lab.try("m1", ["stack", command ?? "", ...words]);
    return code === 0 ? undefined : `${stdout}${stderr}`;
  };
  await manyTimes(lab, "docker", stock, ["--resolve-image", "never", "-c", path], problems);
  const ours: RunCommand = async (...words) => {
    let text = "";
    const say = (more: string) => {
      text += more;
    };
    const environment = { DOCKER_HOST: `unix://${lab.playground.node("m1").socket}` };
    const code = await runStack(words, { environment, folder, out: say, fail: say });
    return code === 0 ? undefined : text;
  };
  await manyTimes(lab, "skep", ours, ["-c", path], problems);
}

async function manyTimes(
  lab: SwarmLab,
  by: string,
  run: RunCommand,
  deploy: readonly string[],
  problems: string[],
): Promise<void> {
  const began = performance.now();
  let errors = 0;
  const attempt = async (round: number, ...words: readonly string[]) => {
    const failed = await run(...words);
    if (failed === undefined) return;
    errors++;
    if (values.verbose === true || errors <= 3)
      problems.push(`${by}, round ${round}, ${words[0]}: ${failed.trim()}`);
  };
  await attempt(0, "deploy", ...deploy, stack);
  for (let round = 1; round <= rounds; round++) {
    if (round % 10 === 0) await allRun(lab);
    await attempt(round, "rm", stack);
    await attempt(round, "deploy", ...deploy, stack);
  }
  const took = ((performance.now() - began) / 1000).toFixed(0);
  process.stdout.write(`  ${by}: ${rounds} x rm and deploy in ${took} s, ${errors} errors\n`);
  await allRun(lab);
  await attempt(rounds + 1, "rm", stack);
  await until(async () => (await left(lab)) === "", {
    withinMs: 120_000,
    what: "nothing of the stack is left",
  });
}

async function allRun(lab: SwarmLab): Promise<void> {
  for (const [service, count] of [
    ["web", 3],
    ["db", 1],
  ] as const) {
    await until(async () => (await runningOf(lab, service)) === count, {
      withinMs: 120_000,
      what: `${service} runs`,
    });
  }
}

/** How many of the service's tasks run; tasks that were wanted and gone before do not count. */
async function runningOf(lab: SwarmLab, service: string): Promise<number> {
  const words = ["--filter", "desired-state=running", "--format", "{{.CurrentState}}"];
  const text = await lab.docker("m1", ["service", "ps", ...words, `${stack}_${service}`]);
  return text.split("\n").filter((line) => line.startsWith("Running")).length;
}

/** What is left of the stack on the cluster and on its nodes. */
async function left(lab: SwarmLab): Promise<string> {
  const lists = [];
  const label = ["--filter", `label=com.docker.stack.namespace=${stack}`];
  for (const kind of ["service", "network", "config", "secret"])
    lists.push(await lab.docker("m1", [kind, "ls", "--quiet", ...label]));
  for (const node of [...managers, ...workers])
    lists.push(await lab.docker(node, ["ps", "--all", "--quiet"]));
  return lists.join("").trim();
}
