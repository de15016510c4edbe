/**
 * Hundreds of task starts while containers, containerd, daemons and hosts are killed at random; at the end the wanted number
 * runs, and after the service's removal nothing of it is left: in the kernel, in containerd's own lists, on the machine.
 *
 *   node build/test/churn/run.js [--starts 500] [--seed N] [--verbose]
 *
 * Part of `npm run test:long`. What runs is read from the processes of each host, starts are counted from the daemons' logs.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { seededRandom } from "../../src/common/random/random.ts";
import { hostProcesses } from "../support/host-processes.ts";
import type { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";
import { onLab, registryAddress } from "./on-lab.ts";

const managers = ["m1", "m2", "m3"];
const workers = ["w1", "w2"];
const hosts = [...managers, ...workers];
const service = "churn";
/** Pulled anew after they were pruned. */
const images = ["busybox:1", "busybox:amd64"].map((name) => `${registryAddress}/${name}`);
/** What every container runs; nothing else on the hosts looks like it. */
const program = ["sleep", "7654321"];

const { values } = parseArgs({
  options: {
    starts: { type: "string" },
    seed: { type: "string" },
    verbose: { type: "boolean" },
  },
});
const startsWanted = Number(values.starts ?? 500);
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const random = seededRandom(seed);
/** A line for each thing done: what comes before a failure. */
const say = (line: string) => {
  if (values.verbose === true) process.stdout.write(`  ${line}\n`);
};
const kills = { container: 0, containerd: 0, daemon: 0, host: 0, update: 0, scale: 0, prune: 0 };

process.stdout.write(`churn: seed ${seed}\n`);
process.exit(await onLab({ name: "skep-churn", managers, workers }, churn));

async function churn(lab: SwarmLab, problems: string[]): Promise<void> {
  await lab.docker("m1", ["secret", "create", "key", "-"], "sweet");
  await lab.docker("m1", [
    ...["service", "create", "--detach", "--name", service, "--replicas", "12"],
    ...["--restart-delay", "100ms", "--stop-grace-period", "1s", "--update-parallelism", "4"],
    ...["--update-monitor", "100ms", "--update-failure-action", "continue"],
    ...["--mount", "type=volume,target=/data", "--secret", "key", ...images.slice(0, 1)],
    ...program,
  ]);
  await wanted(lab, 12);
  while (starts(lab) < startsWanted) await disturb(lab);
  await lab.docker("m1", ["service", "scale", "--detach", `${service}=12`]);
  await wanted(lab, 12);
  const summary = Object.entries(kills).map(([what, count]) => `${what} ${count}`);
  process.stdout.write(`  ${starts(lab)} starts; ${summary.join(", ")}\n`);
  await lab.docker("m2", ["service", "rm", service]);
  await until(() => hosts.every((host) => pids(lab, host).length === 0), {
    withinMs: 60_000,
    what: "no process of the service is left",
  });
  for (const host of hosts) problems.push(...(await listed(lab, host)));
}

/** Does one thing to the cluster that would end or move some of its tasks. */
async function disturb(lab: SwarmLab): Promise<void> {
  const dice = random.int(20);
  const host = pick(hosts);
  const what = kindOf(dice);
  const already = starts(lab);
  kills[what] += 1;
  say(`after ${already} starts: ${what} on ${host}`);
  switch (what) {
    case "container": {
      const [pid] = pids(lab, host);
      if (pid !== undefined) await lab.playground.exec(host, ["kill", "-9", String(pid)]);
      return;
    }
    case "scale":
      return attempt(lab, ["service", "scale", "--detach", `${service}=${6 + random.int(12)}`]);
    case "update":
      await attempt(lab, [
        ...["service", "update", "--detach", "--force", "--image", pick(images), service],
      ]);
      await until(() => starts(lab) > already, { withinMs: 60_000, what: "the update goes on" });
      return;
    case "prune":
      await lab.try(host, ["image", "prune", "--all", "--force"]);
      return;
    case "containerd":
      await lab.playground.exec(host, ["sh", "-c", "kill -9 $(pgrep -x containerd)"]);
      return;
    case "daemon":
      await lab.playground.killDaemon(host);
      await lab.playground.startNode(host);
      return;
    case "host":
      await lab.playground.killNode(host);
      await lab.playground.startNode(host);
      await lab.settles(
        "m1",
        [
          ...managers.map((name) => `${name} Ready Manager`),
          ...workers.map((name) => `${name} Ready`),
        ],
        60_000,
      );
  }
}

function kindOf(dice: number): keyof typeof kills {
  if (dice < 9) return "container";
  if (dice < 10) return "prune";
  if (dice < 13) return "scale";
  if (dice < 16) return "update";
  if (dice < 18) return "containerd";
  return dice < 19 ? "daemon" : "host";
}

/** A write that a change of leader may cut off: tried again until it is taken. */
async function attempt(lab: SwarmLab, words: readonly string[]): Promise<void> {
  await until(async () => (await lab.try(pick(managers), words)).code === 0, {
    withinMs: 30_000,
    what: `docker ${words.join(" ")}`,
  });
}

/** Resolves when exactly so many tasks run, and as many processes on all hosts together. */
async function wanted(lab: SwarmLab, count: number): Promise<void> {
  await until(async () => (await running(lab)) === count && processes(lab) === count, {
    withinMs: 120_000,
    everyMs: 200,
    get what() {
      return `${count} run, not ${processes(lab)}`;
    },
  });
}

async function running(lab: SwarmLab): Promise<number> {
  const { stdout } = await lab.try("m2", ["service", "ls", "--format", "{{.Replicas}}"]);
  return Number(stdout.split("/")[0]);
}

function processes(lab: SwarmLab): number {
  return hosts.reduce((sum, host) => sum + pids(lab, host).length, 0);
}

/** Pids, as the host counts them, of the service's processes on it. */
function pids(lab: SwarmLab, host: string): number[] {
  return hostProcesses(lab, host)
    .filter(({ words }) => words.join(" ") === program.join(" "))
    .map(({ pid }) => pid);
}

/** How many containers of the service were started so far, by all daemons. */
function starts(lab: SwarmLab): number {
  return lab.playground.nodes().reduce((sum, node) => {
    const lines = readFileSync(node.log, "utf8").split("\n");
    return (
      sum + lines.filter((l) => l.includes("task moved") && l.includes("state=running")).length
    );
  }, 0);
}

/** What a host still has that belongs to no image: in containerd's lists, in its folders, in the kernel. */
async function listed(lab: SwarmLab, host: string): Promise<string[]> {
  const data = lab.data(host);
  const script = `
    sock=$(ls /run/skep/containerd-*.sock | head -1)
    instance=\${sock#/run/skep/containerd-}
    instance=\${instance%.sock}
    c() { ctr --address "$sock" --namespace skep "$@"; }
    c containers ls -q | sed 's/^/container /'
    c tasks ls -q | sed 's/^/task /'
    c leases ls -q | sed 's/^/lease /'
    c snapshots ls | awk 'NR > 1 && $NF != "Committed" {print "snapshot", $1}'
    c content active | awk 'NR > 1 {print "ingest", $1}'
    pgrep -f '^[^ ]*containerd-shim' | sed 's/^/shim /'
    ls -d ${data}/containers/* ${data}/containerd/*/io.containerd.runtime.v2.task/skep/* \
      /run/skep/runtime-*/*/skep/* 2>/dev/null
    find /sys/fs/cgroup -type d -path "*/skep/$instance/*"
    cat /proc/[0-9]*/mountinfo 2>/dev/null | awk '{print $5}' | grep ^${data}/containerd | sort -u
    for ns in net pid; do
      readlink /proc/[0-9]*/ns/$ns | sort -u | grep -vxF "$(readlink /proc/1/ns/$ns)"
    done`;
  const look = async () => (await lab.playground.exec(host, ["sh", "-c", script])).stdout.trim();
  const isClean = async () => (await look()) === "";
  try {
    // A removal under way may take its moment.
    await until(isClean, { withinMs: 30_000, everyMs: 500, what: "nothing of a task is left" });
    return [];
  } catch {
    return (await look()).split("\n").map((line) => `${host} still has ${line}`);
  }
}

function pick<T>(list: readonly T[]): T {
  const one = list[random.int(list.length)];
  if (one === undefined) throw new Error("nothing to pick from");
  return one;
}
