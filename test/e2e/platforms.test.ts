/**
 * Images for other machines in a mixed cluster: where they run, and what is said where they do not. Three of the hosts
 * pretend to be ARM machines, whose programs the kernel runs through qemu; as what a program runs is read from the kernel.
 * And stacks on them, deployed by the stock clients and by ours in turn: which tasks an image gets anew that was pushed again,
 * and the shop of `examples/`, which has one image for all of them.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { runStack } from "../../src/cli/stack/command.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import { type DockerClient, dockerClient, dockerClients, runDocker } from "../support/docker.ts";
import { OutsideClient } from "../support/outside.ts";
import { pushVariantTo } from "../support/push-variant.ts";
import { pushTestImagesTo } from "../support/registry.ts";
import { type ShopPage, shopDoors, shopFolder, visitShop } from "../support/shop.ts";
import { TaskLab } from "../support/task-lab.ts";
import { until } from "../support/wait.ts";

const platforms = { a64: "linux/arm64", pi7: "linux/arm/v7", pi6: "linux/arm/v6" };
const hosts = ["box", ...Object.keys(platforms)];
/** What the kernel runs for a program of each host's architecture, and what the program sees. */
const runs = {
  box: { program: "busybox", machine: "x86_64" },
  a64: { program: "qemu-aarch64-static", machine: "aarch64" },
  pi7: { program: "qemu-arm-static", machine: "armv7l" },
};

describe("platforms", function () {
  this.timeout(300_000);
  let lab: TaskLab;

  before(async function () {
    const nodes = { managers: ["box"], workers: Object.keys(platforms), platforms };
    try {
      lab = await TaskLab.up("skep-e2e-platforms", nodes);
    } catch (error) {
      if (!/this kernel runs no programs of other architectures/.test(errorText(error)))
        throw error;
      this.skip();
    }
  });
  after(() => lab?.down());
  afterEach(async () => {
    lab.use(dockerClient());
    const names = await lab.swarm.docker("box", ["service", "ls", "--quiet"]);
    if (names !== "") await lab.swarm.docker("box", ["service", "rm", ...names.split("\n")]);
    await until(() => hosts.every((host) => sleepers(host).length === 0), {
      withinMs: 60_000,
      what: "no container is left",
    });
  });

  /** Makes a service of sleepers, as the client does by itself. */
  async function create(name: string, image: string, flags: readonly string[]): Promise<void> {
    const words = ["--detach", "--name", name, "--stop-grace-period", "1s", ...flags];
    const program = ["sleep", "7654321"];
    await lab.swarm.docker("box", ["service", "create", ...words, lab.image(image), ...program]);
  }

  /** What the kernel of a host runs for the services' programs. */
  function sleepers(host: string): string[] {
    const proc = `/proc/${lab.swarm.playground.node(host).hostPid}/root/proc`;
    return readdirSync(proc).flatMap((name) => {
      if (!/^\d+$/.test(name)) return [];
      try {
        const words = readFileSync(`${proc}/${name}/cmdline`, "utf8").split("\0").join(" ");
        return / ?sleep 7654321 $/.test(words)
          ? [basename(readlinkSync(`${proc}/${name}/exe`))]
          : [];
      } catch {
        // It has ended meanwhile.
        return [];
      }
    });
  }

  /** Nodes of all tasks a service has had, in the order of names. */
  async function nodesOf(service: string): Promise<string[]> {
    return (await lab.tasks("box", service)).map(({ node }) => node).sort();
  }

  /** Runs `docker stack …` on the manager. */
  async function stockStack(
    client: DockerClient,
    words: readonly string[],
    env: NodeJS.ProcessEnv = process.env,
  ): Promise<string> {
    const { socket } = lab.swarm.playground.node("box");
    const said = await runDocker(client, socket, ["stack", ...words], { env, timeoutMs: 45_000 });
    equal(said.code, 0, `${client.name}: stack ${words.join(" ")}: ${said.stderr}`);
    return said.stdout;
  }

  /** Runs `skep stack …` there. @param codes Exit codes that will do. */
  async function ownStack(
    [command = "", ...words]: readonly string[],
    o: { readonly environment?: NodeJS.ProcessEnv; readonly codes?: readonly number[] } = {},
  ): Promise<string> {
    const { environment = process.env, codes = [0] } = o;
    let said = "";
    let failed = "";
    const code = await runStack([command, "--host", host(), ...words], {
      ...{ environment, folder: shopFolder },
      out: (text) => {
        said += text;
      },
      fail: (text) => {
        failed += text;
      },
    });
    ok(codes.includes(code), `skep stack ${command} ${words.join(" ")}: ${code} ${said}${failed}`);
    return said;
  }

  function host(): string {
    return `unix://${lab.swarm.playground.node("box").socket}`;
  }

  it("an image for three architectures runs on each as what it is, and on no other", async () => {
    await create("all", "busybox:1", ["--replicas", "6"]);
    const tasks = await lab.running("box", "all", 6);
    deepEqual(await nodesOf("all"), ["a64", "a64", "box", "box", "pi7", "pi7"]);
    for (const [host, { program, machine }] of Object.entries(runs)) {
      deepEqual(sleepers(host), [program, program], host);
      const task = tasks.find(({ node }) => node === host);
      equal(await lab.swarm.docker("box", ["exec", task?.id ?? "", "uname", "-m"]), machine);
    }
    deepEqual(sleepers("pi6"), []);
  });

  for (const client of dockerClients()) {
    for (const image of ["arm-only:1", "busybox:armv7"]) {
      it(`${image} is tried on ARMv7 alone, by the ${client.name} client`, async () => {
        lab.use(client);
        await create("arm", image, ["--replicas", "3"]);
        await lab.running("box", "arm", 3);
        deepEqual(await nodesOf("arm"), ["pi7", "pi7", "pi7"]);
        const programs = hosts.map((host) => [host, ...new Set(sleepers(host))]);
        deepEqual(programs, [["box"], ["a64"], ["pi7", runs.pi7.program], ["pi6"]]);
      });
    }
  }

  it("what cannot be placed says which nodes it is not for, and why", async () => {
    await create("nowhere", "arm-only:1", ["--constraint", "node.hostname!=pi7"]);
    const error = await until(
      async () => (await lab.tasks("box", "nowhere"))[0]?.error || undefined,
      { withinMs: 60_000, what: "the task says why it waits" },
    );
    match(error, /no suitable node \(.*unsupported platform on 3 nodes: .*linux\/arm\/v7/);
    for (const text of [
      /box runs linux\/amd64/,
      /a64 runs linux\/arm64/,
      /pi6 runs linux\/arm\/v6/,
    ])
      match(error, text);
    deepEqual(await nodesOf("nowhere"), [""]);
  });

  it("a global service runs where its image does, and says so of the others", async () => {
    await create("each", "arm-only:1", ["--mode", "global"]);
    await until(() => sleepers("pi7").length === 1, { withinMs: 60_000, what: "it runs on pi7" });
    const states = async () => {
      const tasks = await lab.tasks("box", "each");
      return tasks
        .map(({ state, error }) => `${state.split(" ")[0]} ${error.split(" on ")[0]}`)
        .sort();
    };
    const waits = 'Pending "no suitable node (unsupported platform';
    await until(async () => (await states()).filter((line) => line === waits).length === 3, {
      withinMs: 60_000,
      get what() {
        return "three say why they wait";
      },
    });
  });

  it("a node that may emulate runs what only its emulator can", async () => {
    const here = ["--constraint", "node.hostname==box"];
    await create("foreign", "arm-only:1", here);
    await until(
      async () => /unsupported platform/.test((await lab.tasks("box", "foreign"))[0]?.error ?? ""),
      {
        withinMs: 60_000,
        what: "it waits",
      },
    );
    await lab.swarm.docker("box", ["node", "update", "--label-add", "skep.emulation=allow", "box"]);
    await lab.running("box", "foreign", 1);
    deepEqual(sleepers("box"), [runs.pi7.program]);
    await lab.swarm.docker("box", ["node", "update", "--label-rm", "skep.emulation", "box"]);
  });

  describe("a stack whose image is pushed again", () => {
    let file: string;

    /** Gives the image another one for arm64, and no other architecture. */
    const pushAgain = (note: string) =>
      pushVariantTo(
        {
          ...{ images: lab.image("busybox"), from: "1", to: "again" },
          ...{ architecture: "arm64", note },
        },
        lab.swarm.playground.labPid(),
      );

    /** What takes `stack …`, each in its own way. */
    const clients = () => [
      ...dockerClients().map((client) => ({
        name: client.name,
        stack: (...words: string[]) => stockStack(client, words),
      })),
      { name: "skep", stack: (...words: string[]) => ownStack(words) },
    ];

    /** A service of every node that can run it, and one of one node. */
    function write(names: readonly ("each" | "once")[]): void {
      const deploy = {
        each: { mode: "global", placement: { constraints: ["node.hostname!=pi6"] } },
        once: { placement: { constraints: ["node.hostname==box"] } },
      };
      const services = names.map((name) => {
        const task = { image: lab.image("busybox:again"), command: ["sleep", "7654321"] };
        const settings = { ...deploy[name], update_config: { monitor: "1s" } };
        return [name, { ...task, stop_grace_period: "1s", deploy: settings }];
      });
      // JSON is YAML, too.
      writeFileSync(
        file,
        JSON.stringify({ version: "3.8", services: Object.fromEntries(services) }),
      );
    }

    /** Id of the task on each node. */
    async function each(): Promise<Readonly<Record<string, string>>> {
      const tasks = await lab.running("box", "st_each", 3);
      return Object.fromEntries(tasks.map(({ node, id }) => [node, id]));
    }

    before(async () => {
      file = join(lab.swarm.scratch(), "stack.yml");
      await pushAgain("first");
    });

    it("gets new tasks where that is another one, and no other way, whoever deploys it", async function () {
      this.timeout(300_000);
      write(["each", "once"]);
      const [first] = clients();
      await first?.stack("deploy", "-c", file, "st");
      let had = await each();
      await lab.running("box", "st_once", 1);
      for (const { stack } of clients()) await stack("deploy", "-c", file, "st");
      for (const { name, stack } of clients()) {
        await pushAgain(`second of ${name}`);
        await stack("deploy", "-c", file, "st");
        const before = had;
        had = await until(
          async () => {
            const now = await each();
            return now["a64"] === before["a64"] ? undefined : now;
          },
          { withinMs: 60_000, what: `the task on arm64 is another one, by ${name}` },
        );
        deepEqual({ ...had, a64: "" }, { ...before, a64: "" }, name);
      }
      // Whatever a deployment had started more would be among them.
      equal((await lab.tasks("box", "st_each")).length, 3 + clients().length);
      equal((await lab.tasks("box", "st_once")).length, 1);

      for (const { name, stack } of clients()) {
        match(await stack("ls"), /^st +2\b/m, name);
        match(await stack("ps", "st"), /st_each\.\w+ +.* a64 +Running +Running/, name);
        match(await stack("services", "st"), /st_each +global +3\/3 /, name);
      }
      for (const client of dockerClients()) {
        // Docker's client has it from 25 on; what it prints is the same stack.
        const help = await stockStack(client, ["--help"]);
        if (!/^ +config /m.test(help)) continue;
        const whole = join(lab.swarm.scratch(), "whole.yml");
        writeFileSync(whole, await stockStack(client, ["config", "-c", file]));
        await stockStack(client, ["deploy", "-c", whole, "st"]);
      }
      const own = join(lab.swarm.scratch(), "own.yml");
      writeFileSync(own, await ownStack(["config", "-c", file, "st"]));
      await ownStack(["deploy", "-c", own, "st"]);

      for (const { name, stack } of clients()) {
        write(["each"]);
        await stack("deploy", "--prune", "-c", file, "st");
        equal((await stack("services", "st")).match(/st_/g)?.length, 1, name);
        write(["each", "once"]);
        await stack("deploy", "-c", file, "st");
      }
      await lab.running("box", "st_once", 1);
      deepEqual(await each(), had);
      equal((await lab.tasks("box", "st_each")).length, 3 + clients().length);
      await lab.swarm.docker("box", ["stack", "rm", "st"]);
    });
  });

  describe("the shop of examples/", () => {
    const file = join(shopFolder, "compose.yaml");
    let caller: OutsideClient;
    let environment: Record<string, string>;

    before(async () => {
      const labPid = lab.swarm.playground.labPid();
      ok(labPid !== undefined);
      await pushTestImagesTo(lab.registry.address, { networkOf: labPid, also: "shop" });
      caller = await OutsideClient.start({ labPid, name: "outside", address: "10.77.0.101" });
      const image = lab.image("shop:1");
      environment = {
        ...{ PATH: process.env["PATH"] ?? "" },
        ...{ SHOP_IMAGE: image, SHOP_DB_IMAGE: image },
      };
    });
    after(() => caller?.stop());

    /** Deploys it by a stock client. */
    async function deployBy(client: DockerClient): Promise<void> {
      await stockStack(client, ["deploy", "--compose-file", file, "shop"], environment);
    }

    /** Deploys it by our own; resolves with the plan of that. */
    async function deployByOurs(): Promise<string> {
      const words = ["--compose-file", file, "shop"];
      const plan = await ownStack(["plan", ...words], { environment, codes: [0, 3] });
      await ownStack(["deploy", ...words], { environment });
      return plan;
    }

    /** Ids of its tasks, once all run; and where the web servers do. */
    async function tasks(): Promise<string[]> {
      const db = await lab.running("box", "shop_db", 1);
      deepEqual(
        db.map(({ node }) => node),
        ["box"],
      );
      const web = await lab.running("box", "shop_web", 3);
      deepEqual(web.map(({ node }) => node).sort(), ["a64", "box", "pi7"]);
      return [...db, ...web].map(({ id }) => id).sort();
    }

    /** Calls it through every node over both families until each replica has answered; each visit is counted. */
    async function visit(): Promise<readonly ShopPage[]> {
      const [first = ""] = shopDoors(lab.swarm.playground.nodes());
      let counted = await until(async () => (await visitShop(caller, first)).visits, {
        withinMs: 60_000,
        what: "the database counts",
      });
      const pages: ShopPage[] = [];
      const machines = new Set<string>();
      await until(
        async () => {
          for (const door of shopDoors(lab.swarm.playground.nodes())) {
            const page = await visitShop(caller, door);
            equal(page.caller, door.includes(":") ? caller.address6 : caller.address);
            equal(`${page.title} ${page.release}`, "The first shop 1");
            ok((page.visits ?? 0) > counted, `${page.visits} visits after ${counted}`);
            counted = page.visits ?? 0;
            pages.push(page);
            machines.add(`${page.node} ${page.machine}`);
          }
          return machines.size === 3;
        },
        { withinMs: 60_000, what: "each of three replicas has answered" },
      );
      deepEqual([...machines].sort(), ["a64 aarch64", "box x86_64", "pi7 armv7l"]);
      return pages;
    }

    it("runs by the stock clients and by ours, which leave what the other one made", async () => {
      const [first = dockerClient(), ...others] = dockerClients();
      await deployBy(first);
      const made = await tasks();
      const last = (await visit()).at(-1)?.visits ?? 0;
      for (const other of others) await deployBy(other);
      match(await deployByOurs(), /^Stack shop: no change$/m);
      deepEqual(await tasks(), made);

      await lab.swarm.docker("box", ["stack", "rm", "shop"]);
      await deployByOurs();
      const again = await tasks();
      const [page] = await visit();
      ok((page?.visits ?? 0) > last, "the volume was kept");
      await deployBy(first);
      deepEqual(await tasks(), again);
      await lab.swarm.docker("box", ["stack", "rm", "shop"]);
    });
  });
});
