/**
 * Names over random steps: tasks are killed, scaled and updated, and a node is cut off; a moment later every name leads, on
 * every node, to exactly the tasks that live.
 *
 * What lives is read from the containerd and the kernel of each host. Questions are asked in the namespace of a container on
 * each host, as its programs ask. `SKEP_NAME_STEPS` and `SKEP_NAME_CUT_MS` make it longer, `SKEP_NAME_SEED` repeats a run.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type Random, seededRandom } from "../../src/common/random/random.ts";
import { HostContainers, type LivingContainer } from "../support/host-containers.ts";
import { NameAsker } from "../support/name-asker.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";

const hosts = ["m1", "w1", "w2"];
const subnet = "10.198.7.";
const steps = Number(process.env["SKEP_NAME_STEPS"] ?? 8);
const cutMs = Number(process.env["SKEP_NAME_CUT_MS"] ?? 6000);
const seed = Number(process.env["SKEP_NAME_SEED"] ?? 1);
/**
 * After the last change among the tasks that live, and after a cut has healed, every name is right within so many rounds of
 * questions to all hosts. A round is over when all hosts have answered and their containerd and kernel were read, so that the rounds
 * take five seconds on a machine with nothing else to do, and longer on one that leaves daemons and this process less of its
 * processors. One in which somebody did not answer at all counts as more.
 */
const rightWithin = { rounds: 100, everyMs: 50, unanswered: 10 } as const;
const replicasMax = 5;

describe(`names over random steps (seed ${seed})`, function () {
  this.timeout(300_000 + steps * 20_000 + cutMs);
  let lab: SwarmLab;
  let registry: TestRegistry;
  let containers: HostContainers;
  let image: string;
  const askers = new Map<string, NameAsker>();
  const random: Random = seededRandom(seed);
  /** The address of the service, which is to stay. */
  let serviceAddress = "";
  let replicas = 2;
  let version = "0";
  /** Names of containers that are to be gone. */
  const killed = new Set<string>();
  const tookMs: number[] = [];

  before(async () => {
    lab = await SwarmLab.up("skep-e2e-names", hosts);
    await lab.form(["m1"], ["w1", "w2"]);
    const networkOf = lab.playground.labPid();
    ok(networkOf !== undefined);
    registry = await startRegistry({ host: "10.77.0.1", port: 5000, networkOf });
    await registry.pushTestImages();
    image = `${registry.address}/busybox:1`;
    containers = new HostContainers(lab.playground);
    const network = ["network", "create", "--driver", "overlay", "--attachable"];
    await lab.docker("m1", [...network, "--subnet", `${subnet}0/24`, "front"]);
    for (const host of hosts) {
      const run = ["run", "--detach", "--network", "front", "--name", `asker-${host}`];
      await lab.docker(host, [...run, image, "sleep", "36000"]);
    }
    await lab.docker("m1", [
      ...["service", "create", "--detach", "--name", "web", "--network", "front"],
      ...["--replicas", `${replicas}`, "--restart-delay", "100ms", "--stop-grace-period", "1s"],
      ...["--env", `V=${version}`, image],
      ...["sh", "-c", "trap 'exit 0' TERM; sleep 36000 & wait"],
    ]);
    const all = await until(living, { withinMs: 60_000, what: "containerd and kernel agree" });
    for (const { name, host, proc } of all) {
      if (name === `asker-${host}`) askers.set(host, await NameAsker.in(`${proc}/ns/net`));
    }
    equal(askers.size, hosts.length);
  });

  after(async () => {
    for (const asker of askers.values()) asker.close();
    containers?.close();
    await registry?.stop();
    await lab?.down();
    if (tookMs.length <= 20) return;
    const sorted = tookMs.sort((a, b) => a - b);
    const at = (share: number) => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0);
    process.stdout.write(
      `  seed ${seed}: names right ${sorted.length} times, median ${at(0.5)} ms after the last ` +
        `change, 99 % ${at(0.99)} ms, all ${at(1)} ms\n`,
    );
  });

  /** Every container that lives in the network; undefined in a moment in which containerd and kernel differ. */
  async function living(): Promise<LivingContainer[] | undefined> {
    const all = await containers.all(hosts);
    const inside = all?.flatMap((one) => {
      const addresses = one.addresses.filter((address) => address.startsWith(subnet));
      return addresses.length === 0 ? [] : [{ ...one, addresses }];
    });
    return inside?.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  const isOfWeb = ({ name }: LivingContainer) => name.startsWith("web.");

  /** Whether the tasks that live are those that were asked for. */
  function isAsWanted(alive: readonly LivingContainer[]): boolean {
    const tasks = alive.filter(isOfWeb);
    return (
      tasks.length === replicas &&
      tasks.every(({ name, proc }) => !killed.has(name) && versionOf(proc) === version)
    );
  }

  /** What names lead to elsewhere than they should, on any host, and how many rounds it counts as. */
  async function wrongNames(
    alive: readonly LivingContainer[],
  ): Promise<{ readonly wrong: string[]; readonly rounds: number }> {
    const right = new Map(alive.map(({ name, addresses }) => [name, addresses]));
    const tasks = alive.filter(isOfWeb).flatMap(({ addresses }) => addresses);
    right.set("tasks.web", tasks.sort());
    if (serviceAddress !== "") right.set("web", [serviceAddress]);
    let isUnanswered = false;
    const asked = [...askers].flatMap(([host, asker]) =>
      [...right].map(async ([name, addresses]) => {
        const found = await asker.ask(name);
        isUnanswered ||= found === undefined;
        const isRight = found !== undefined && `${found}` === `${addresses}`;
        return isRight ? [] : [`${name} on ${host}: ${found}, not ${addresses}`];
      }),
    );
    const wrong = (await Promise.all(asked)).flat();
    return { wrong, rounds: isUnanswered ? rightWithin.unanswered : 1 };
  }

  /**
   * Waits until the tasks that were asked for live, and no more than `rightWithin` after the last change among all that live
   * until every name on every host says so.
   */
  async function settles(what: string): Promise<void> {
    let seen = "";
    let since = 0;
    let rounds = 0;
    let wrong: string[] = [];
    const look = async (): Promise<"right" | "late" | undefined> => {
      const alive = await living();
      const text = describeAll(alive);
      if (alive === undefined || text !== seen) {
        since = performance.now();
        rounds = 0;
      }
      seen = text;
      if (alive === undefined || !isAsWanted(alive)) return undefined;
      const round = await wrongNames(alive);
      wrong = round.wrong;
      rounds += round.rounds;
      if (wrong.length > 0) return rounds > rightWithin.rounds ? "late" : undefined;
      tookMs.push(performance.now() - since);
      return "right";
    };
    const outcome = await until(look, {
      withinMs: 120_000,
      everyMs: rightWithin.everyMs,
      get what() {
        return `${replicas} tasks of version ${version} after ${what}: ${seen}; ${wrong}`;
      },
    });
    equal(outcome, "right", `names after ${what}: ${wrong.join("; ")}; ${seen}`);
  }

  /** The client reads the service and writes it whole, so that it is refused when the state of an update came in between. */
  async function change(words: readonly string[]): Promise<void> {
    await until(
      async () => {
        const { code, stderr } = await lab.try("m1", words);
        if (code !== 0) match(stderr, /update out of sequence/);
        return code === 0;
      },
      { withinMs: 60_000, what: words.join(" ") },
    );
  }

  async function scale(): Promise<string> {
    replicas = 1 + ((replicas + random.int(replicasMax - 1)) % replicasMax);
    await change(["service", "scale", "--detach", `web=${replicas}`]);
    return `scale to ${replicas}`;
  }

  async function update(): Promise<string> {
    version = `${Number(version) + 1}`;
    const flags = ["--update-parallelism", "0", "--env-add", `V=${version}`, "--detach"];
    await change(["service", "update", ...flags, "web"]);
    return "update";
  }

  /** Kills a task, on a host of these. */
  async function kill(where: readonly string[]): Promise<string> {
    const tasks = (await living())?.filter((one) => isOfWeb(one) && where.includes(one.host)) ?? [];
    const victim = tasks[random.int(Math.max(1, tasks.length))];
    if (victim === undefined) return "nothing to kill";
    await lab.playground.exec(victim.host, ["kill", "-9", `${victim.pid}`]);
    killed.add(victim.name);
    return `kill of ${victim.name} on ${victim.host}`;
  }

  async function step(): Promise<string> {
    killed.clear();
    const kind = random.int(3);
    if (kind === 0) return scale();
    return kind === 1 ? update() : kill(hosts);
  }

  it("leads to the service's one address, on every node", async () => {
    await settles("the start");
    const found = await Promise.all([...askers.values()].map((asker) => asker.ask("web")));
    const [first] = found;
    equal(first?.length, 1);
    serviceAddress = first?.[0] ?? "";
    const alive = await living();
    ok(alive?.every(({ addresses }) => !addresses.includes(serviceAddress)));
    deepEqual(
      found,
      hosts.map(() => [serviceAddress]),
    );
  });

  it("leads to exactly the tasks that live, on every node", async () => {
    for (let i = 0; i < steps; i++) await settles(`step ${i}, ${await step()}`);
  });

  it("is right on a node that was cut off, soon after", async () => {
    const away = random.int(2) === 0 ? "w1" : "w2";
    killed.clear();
    await lab.playground.partition([away]);
    const cutAt = performance.now();
    const there = hosts.filter((host) => host !== away);
    const what = `${await kill(there)}, ${await scale()}, ${await update()}`;
    await new Promise((resolve) => setTimeout(resolve, cutMs - (performance.now() - cutAt)));
    await lab.playground.heal();
    const healedAt = performance.now();
    let wrong: string[] = [];
    let rounds = 0;
    const outcome = await until(
      async () => {
        const alive = await living();
        const round = alive && (await wrongNames(alive));
        rounds += round?.rounds ?? 1;
        wrong = round?.wrong ?? [describeAll(alive)];
        if (wrong.length === 0) return "right";
        return rounds > rightWithin.rounds && "late";
      },
      {
        withinMs: 120_000,
        everyMs: rightWithin.everyMs,
        get what() {
          return `names after a cut of ${away} with ${what}: ${wrong.join("; ")}`;
        },
      },
    );
    equal(outcome, "right", `names after a cut of ${away} with ${what}: ${wrong.join("; ")}`);
    if (steps > 20) {
      const ms = Math.round(performance.now() - healedAt);
      process.stdout.write(`  seed ${seed}: names right ${ms} ms after a cut of ${cutMs} ms\n`);
    }
    await settles(`a cut of ${away} with ${what}`);
  });
});

/** Of the service's command, as the process was given it. */
function versionOf(proc: string): string | undefined {
  try {
    const words = readFileSync(`${proc}/environ`, "utf8").split("\0");
    return words.find((word) => word.startsWith("V="))?.slice(2);
  } catch {
    return undefined; // It has ended.
  }
}

function describeAll(alive: readonly LivingContainer[] | undefined): string {
  const lines = alive?.map(({ host, name, addresses }) => `${name} on ${host} at ${addresses}`);
  return lines?.join(", ") ?? "containerd and kernel differ";
}
