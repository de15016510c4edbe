/**
 * Names over random steps: tasks are killed, scaled and updated, and a node is cut off; a moment later every name leads, on
 * every node, to exactly the tasks that live.
 *
 * What lives is read from the kernels of the hosts. Questions are asked in the namespace of a container on each host, as its
 * programs ask. `SKEP_NAME_STEPS` and `SKEP_NAME_CUT_MS` make it longer, `SKEP_NAME_SEED` repeats a run.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { decode, encode } from "../../agent/network/dns/codec.ts";
import { within } from "../../agent/network/namespace.ts";
import { type Random, seededRandom } from "../../src/common/random/random.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";

const hosts = ["m1", "w1", "w2"];
const subnet = "10.198.7.";
const steps = Number(process.env["SKEP_NAME_STEPS"] ?? 5);
const cutMs = Number(process.env["SKEP_NAME_CUT_MS"] ?? 6000);
const seed = Number(process.env["SKEP_NAME_SEED"] ?? 1);
/** After the tasks are what they are to be, every name is right within this. */
const rightWithinMs = 5000;
const replicasMax = 5;

describe(`names over random steps (seed ${seed})`, function () {
  this.timeout(90_000 + steps * 20_000 + cutMs);
  let lab: SwarmLab;
  let registry: TestRegistry;
  let image: string;
  const askers = new Map<string, Socket>();
  const random: Random = seededRandom(seed);
  let replicas = 2;
  let version = 0;

  before(async () => {
    lab = await SwarmLab.up("skep-e2e-names", hosts);
    await lab.form(["m1"], ["w1", "w2"]);
    const networkOf = lab.playground.labPid();
    ok(networkOf !== undefined);
    registry = await startRegistry({ host: "10.77.0.1", port: 5000, networkOf });
    await registry.pushTestImages();
    image = `${registry.address}/busybox:1`;
    const network = ["network", "create", "--driver", "overlay", "--subnet", `${subnet}0/24`];
    await lab.docker("m1", [...network, "front"]);
    await create("asker", ["--mode", "global"], 3600);
    const flags = ["--replicas", `${replicas}`, "--restart-delay", "100ms"];
    await create("web", flags, 3601);
    await until(() => hosts.every((host) => sleepers(host, 3600).length === 1), {
      withinMs: 60_000,
      what: "a container on each host that asks",
    });
    for (const host of hosts) askers.set(host, await asker(host));
  });

  after(async () => {
    for (const socket of askers.values()) socket.close();
    await registry?.stop();
    await lab?.down();
  });

  /** A service whose containers can be told by what they run. */
  async function create(name: string, flags: readonly string[], seconds: number): Promise<void> {
    const all = ["--name", name, "--network", "front", "--stop-grace-period", "1s", "--detach"];
    const script = `trap 'exit 0' TERM; sleep ${seconds} & wait`;
    const command = [image, "sh", "-c", script];
    await lab.docker("m1", ["service", "create", ...all, ...flags, ...command]);
  }

  /** Folders below /proc of the sleepers on a host. */
  function sleepers(host: string, seconds: number): string[] {
    const { hostPid } = lab.playground.node(host);
    const proc = `/proc/${hostPid}/root/proc`;
    return readdirSync(proc).flatMap((name) => {
      try {
        const words = /^\d+$/.test(name) ? readFileSync(`${proc}/${name}/cmdline`, "utf8") : "";
        return words === `sleep\0${seconds}\0` ? [`${proc}/${name}`] : [];
      } catch {
        return []; // It has ended meanwhile.
      }
    });
  }

  /** A socket in the namespace of the container that asks. */
  async function asker(host: string): Promise<Socket> {
    const [proc] = await until(() => sleepers(host, 3600).length === 1 && sleepers(host, 3600), {
      withinMs: 30_000,
      what: `a container on ${host} that asks`,
    });
    const socket = createSocket({
      type: "udp4",
      lookup: (name, _options, found) => found(null, name, 4),
    });
    const listening = once(socket, "listening");
    within(`${proc}/ns/net`, () => socket.bind(0, "127.0.0.1"));
    await listening;
    return socket;
  }

  /** Addresses of a name as a host's containers find it; undefined without an answer. */
  async function resolve(host: string, name: string): Promise<string[] | undefined> {
    const socket = askers.get(host);
    ok(socket !== undefined);
    const id = random.int(0x10000);
    socket.send(
      encode({ type: "query", id, flags: 0x0100, questions: [{ type: "A", name }] }),
      53,
      "127.0.0.11",
    );
    const signal = AbortSignal.timeout(1000);
    try {
      for (;;) {
        const [bytes] = (await once(socket, "message", { signal })) as [Buffer];
        const answer = decode(bytes);
        if (answer.id === id) return answer.answers.map(({ data }) => String(data)).sort();
      }
    } catch {
      // The container that asks may be another one by now: those of a node that was long away are replaced.
      socket.close();
      askers.set(host, await asker(host));
      return undefined;
    }
  }

  /** Addresses of all tasks that live, as the kernels of the hosts have them. */
  function living(): string[] {
    const found = hosts.flatMap((host) => sleepers(host, 3601)).flatMap(addressOf);
    return found.sort();
  }

  /** Waits until as many tasks live as should, and then until every name on every host says so. */
  async function settles(what: string): Promise<void> {
    await until(() => living().length === replicas, {
      withinMs: 60_000,
      everyMs: 50,
      get what() {
        return `${replicas} tasks after ${what}: ${living()}`;
      },
    });
    let wrong: string[] = [];
    await until(
      async () => {
        wrong = [];
        for (const host of hosts) {
          const [found, alive] = [await resolve(host, "tasks.web"), living()];
          if (`${found}` !== `${alive}`) wrong.push(`${host}: ${found}, not ${alive}`);
        }
        return wrong.length === 0 && living().length === replicas;
      },
      {
        withinMs: rightWithinMs,
        everyMs: 50,
        get what() {
          return `names after ${what}: ${wrong.join("; ")}`;
        },
      },
    );
  }

  async function step(): Promise<string> {
    const kind = random.int(3);
    if (kind === 0) {
      replicas = 1 + random.int(replicasMax);
      await lab.docker("m1", ["service", "scale", "--detach", `web=${replicas}`]);
      return `scale to ${replicas}`;
    }
    if (kind === 1) {
      version++;
      const flags = ["--update-parallelism", "0", "--env-add", `V=${version}`, "--detach"];
      await lab.docker("m1", ["service", "update", ...flags, "web"]);
      return "update";
    }
    const all = hosts.flatMap((host) => sleepers(host, 3601));
    const proc = all[random.int(Math.max(1, all.length))] ?? "";
    const pid = /NSpid:\s+(\d+)/.exec(readFileSync(`${proc}/status`, "utf8"))?.[1];
    const host = hosts.find((name) => sleepers(name, 3601).includes(proc)) ?? "";
    await lab.playground.exec(host, ["kill", "-9", pid ?? ""]);
    return `kill on ${host}`;
  }

  it("leads to the service's one address, on every node", async () => {
    await settles("the start");
    const found = await Promise.all(hosts.map((host) => resolve(host, "web")));
    const [first] = found;
    equal(first?.length, 1);
    ok(!living().includes(first?.[0] ?? ""));
    deepEqual(
      found,
      hosts.map(() => first),
    );
  });

  it("leads to exactly the tasks that live, on every node", async () => {
    await settles("the start");
    for (let i = 0; i < steps; i++) await settles(`step ${i}, ${await step()}`);
  });

  it("is right on a node that was cut off, soon after", async () => {
    await lab.playground.partition(["w1"]);
    replicas = (replicas % replicasMax) + 1;
    await lab.docker("m1", ["service", "scale", "--detach", `web=${replicas}`]);
    await new Promise((resolve) => setTimeout(resolve, cutMs));
    await lab.playground.heal();
    await settles("a cut");
  });
});

/** The overlay address of a process's namespace; nothing when it has ended. */
function addressOf(proc: string): string[] {
  try {
    const routes = readFileSync(`${proc}/net/fib_trie`, "utf8");
    const local = [...routes.matchAll(/\|-- ([\d.]+)\n\s+\/32 host LOCAL/g)].map(([, a = ""]) => a);
    return [...new Set(local)].filter((address) => address.startsWith(subnet));
  } catch {
    return [];
  }
}
