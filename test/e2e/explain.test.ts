/**
 * `skep explain` on a manager and two workers: nothing found while all is well, and then what was broken on purpose, named
 * with the node it is on and with what helps.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { runExplain } from "../../src/cli/explain.ts";
import { enter } from "../../src/playground/host.ts";
import { HostKernel } from "../support/host-kernel.ts";
import { pushTestImagesTo } from "../support/registry.ts";
import { TaskLab } from "../support/task-lab.ts";
import { until } from "../support/wait.ts";

const port = 8080;

describe("skep explain", function () {
  this.timeout(300_000);
  let lab: TaskLab;

  before(async () => {
    lab = await TaskLab.up("skep-e2e-explain", { managers: ["m1"], workers: ["w1", "w2"] });
    const labPid = lab.swarm.playground.labPid();
    ok(labPid !== undefined);
    await pushTestImagesTo(lab.registry.address, { networkOf: labPid, also: "echo" });
    const docker = (...words: string[]) => lab.swarm.docker("m1", words);
    await docker("network", "create", "-d", "overlay", "net-x");
    const create = ["service", "create", "--detach", "--network", "net-x"];
    const on = (host: string) => ["--constraint", `node.hostname==${host}`];
    const publish = ["--publish", `published=${port},target=80`];
    await docker(...create, "--name", "web", ...publish, ...on("w1"), lab.image("echo:1"));
    await lab.create("m1", "asks", ["--network", "net-x", ...on("w2")], "sleep 3600");
    await lab.running("m1", "web", 1);
    await lab.running("m1", "asks", 1);
  });

  after(async () => {
    await lab?.down();
  });

  const kernel = (host: string) => new HostKernel(lab.swarm.playground.node(host).hostPid ?? 0);

  async function explain(...words: readonly string[]) {
    return explainOn("m1", ...words);
  }

  async function explainOn(node: string, ...words: readonly string[]) {
    let [out, failure] = ["", ""];
    const code = await runExplain(words, {
      environment: { DOCKER_HOST: `unix://${lab.swarm.playground.node(node).socket}` },
      out: (text) => {
        out += text;
      },
      fail: (text) => {
        failure += text;
      },
    });
    return { code, out, failure };
  }

  /** Explains until that is the outcome: what was broken before is repaired, or a task began to listen. */
  async function becomes(code: number, ...words: readonly string[]) {
    let last = await explain(...words);
    const isSo = async () => {
      last = await explain(...words);
      return last.code === code;
    };
    await until(isSo, {
      withinMs: 60_000,
      everyMs: 200,
      get what() {
        return `exit code ${code}: ${last.out}${last.failure}`;
      },
    });
    return last.out;
  }

  /** Explains until it says this with exit code 1: a busy machine may lose a probe more. */
  async function finds(text: RegExp, ...words: readonly string[]): Promise<string> {
    let last = "";
    await until(
      async () => {
        const { code, out, failure } = await explain(...words);
        last = `${code}: ${out}${failure}`;
        return code === 1 && text.test(out);
      },
      {
        withinMs: 60_000,
        get what() {
          return `${text} in ${last}`;
        },
      },
    );
    return last;
  }

  it("finds nothing while all is well, and shows the way", async () => {
    const out = await becomes(0, "service", "web");
    const verdict =
      /^service web: no fault found: 1 of 1 task ready, 3 nodes as planned, \d+ probes/;
    match(out, verdict);
    match(out, /answered, 4 names right\n/);
    match(out, /network net-x: web -> (10\.[\d.]+) -> 10\.[\d.]+ \(web\.1\)/);
    match(out, /network net-x: tasks\.web -> 10\.[\d.]+\n/);
    match(out, /port 8080\/tcp: every address of m1, w1, w2 -> 10\.255\.0\.\d+:80 \(web\.1\)/);
    match(out, /mesh: 8080\/tcp -> 10\.255\.0\.\d+/);
    match(out, /asks\.1\.\w+: 10\.[\d.]+ -> 10\.[\d.]+\n/);
  });

  it("explains a task by its names, and a port, as JSON, too", async () => {
    const out = await becomes(0, "task", "web.1");
    match(out, /^task web\.1\.\w{25}: no fault found: 1 of 1 task ready/);
    match(out, /network net-x: web\.1\.\w{25} -> 10\.[\d.]+\n/);
    const port = JSON.parse((await explain("--json", "port", "8080")).out);
    deepEqual(port.Subject, { Kind: "port", Name: "8080/tcp", ID: "" });
    deepEqual([port.Faults, port.Service.Name, port.Networks], [0, "web", []]);
    const listens = port.Nodes.map((node: { Listens: string[] }) => node.Listens.join());
    deepEqual(listens, ["8080/tcp", "8080/tcp", "8080/tcp"]);
  });

  it("refuses what is not there, and workers, in Docker's words", async () => {
    const daemon = "Error response from daemon: ";
    const refused = async (node: string, ...words: string[]) => {
      const { code, out, failure } = await explainOn(node, ...words);
      deepEqual([code, out], [2, ""]);
      return failure;
    };
    equal(await refused("m1", "service", "nobody"), `${daemon}service nobody not found\n`);
    equal(await refused("m1", "task", "nobody.1"), `${daemon}task nobody.1 not found\n`);
    const port = `${daemon}port 9 not found: no service publishes it\n`;
    equal(await refused("m1", "port", "9"), port);
    match(await refused("m1", "port", "http"), /invalid port http: a number from 1 to 65535/);
    match(await refused("w1", "service", "web"), /This node is not a swarm manager\. Worker nodes/);
  });

  it("names the rules of others that keep packets between nodes back", async () => {
    const w1 = kernel("w1");
    const chain = "chain inet wall shut { type filter hook input priority -20; }";
    const rule = "rule inet wall shut udp dport 4789 drop";
    await w1.run("nft", `add table inet wall; add ${chain}; add ${rule}`);
    try {
      const first =
        /^service web: 1 fault: \d of \d probes between containers of w1 and those of m1, w2/;
      const out = await finds(first, "service", "web");
      match(out, /what helps: on w1, chain shut of table inet wall \(input\) drops some packets; /);
      match(out, /nft insert rule inet wall shut udp dport 4789 accept/);
    } finally {
      await w1.run("nft", "delete table inet wall");
    }
    await becomes(0, "service", "web");
  });

  it("names the program that holds a published port", async () => {
    const pid = lab.swarm.playground.node("w2").hostPid ?? 0;
    const script = `require("net").createServer().listen(${port}, "0.0.0.0", () => console.log("listens")); process.stdin.on("end", () => process.exit()).resume()`;
    const [program = "", ...args] = [...enter(pid), process.execPath, "-e", script];
    const squatter: ChildProcess = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    const ended = new Promise((resolve) => squatter.once("close", resolve));
    try {
      await Promise.race([ended, new Promise((resolve) => squatter.stdout?.once("data", resolve))]);
      await finds(
        /^service web: 1 fault: on w2, node \(\d+\) listens at 0\.0\.0\.0, port 8080\/tcp/,
        "service",
        "web",
      );
    } finally {
      squatter.stdin?.end();
      await ended;
    }
    await becomes(0, "service", "web");
  });

  it("says of a node that is cut off that it does not answer, and of the others what they have", async () => {
    const { playground } = lab.swarm;
    await playground.partition(["w1"]);
    try {
      const { code, out } = await explain("service", "web");
      equal(code, 1);
      match(
        out,
        /^service web: .*(node w1 \(10\.77\.0\.\d+\) does not answer|its node w1 is down)/,
      );
      match(out, /connections to (web\.1 there|it) are lost/);
      match(out, /\n {2}w2 +10\.77\.0\.\d+ +kernel as planned/);
    } finally {
      await playground.heal();
    }
    await becomes(0, "service", "web");
  });
});
