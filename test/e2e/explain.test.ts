/**
 * `skep explain` on a manager and two workers: nothing found while all is well, and then what was broken on purpose, named
 * with the node it is on and with what helps.
 */
import { equal, match, ok } from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { runExplain } from "../../src/cli/explain.ts";
import { enter } from "../../src/playground/host.ts";
import { HostKernel } from "../support/host-kernel.ts";
import { pushTestImagesTo } from "../support/registry.ts";
import { TaskLab } from "../support/task-lab.ts";
import { until } from "../support/wait.ts";

const port = 8080;

describe("skep explain", function () {
  this.timeout(120_000);
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
      withinMs: 20_000,
      everyMs: 200,
      get what() {
        return `exit code ${code}: ${last.out}${last.failure}`;
      },
    });
    return last.out;
  }

  it("finds nothing while all is well, and shows the way", async () => {
    const out = await becomes(0, "service", "web");
    match(out, /^service web: no fault found: 1 of 1 task ready, 3 nodes as planned, \d+ probes/);
    match(out, /network net-x: web -> 10\.0\.\d+\.\d+ -> 10\.0\.\d+\.\d+ \(web\.1\)/);
    match(out, /port 8080\/tcp: every address of m1, w1, w2 -> 10\.255\.0\.\d+:80 \(web\.1\)/);
    match(out, /mesh: 8080\/tcp -> 10\.255\.0\.\d+/);
  });

  it("names the rules of others that keep packets between nodes back", async () => {
    const w1 = kernel("w1");
    const chain = "chain inet wall shut { type filter hook input priority -20; }";
    const rule = "rule inet wall shut udp dport 4789 drop";
    await w1.run("nft", `add table inet wall; add ${chain}; add ${rule}`);
    try {
      const { code, out } = await explain("service", "web");
      equal(code, 1);
      const first =
        /^service web: 1 fault: \d of \d probes between containers of w1 and those of m1, w2/;
      match(out, first);
      match(out, /what helps: on w1, chain shut of table inet wall \(input\) drops some packets; /);
      match(out, /nft insert rule inet wall shut udp dport 4789 accept/);
    } finally {
      await w1.run("nft", "delete table inet wall");
    }
    await becomes(0, "service", "web");
  });

  it("names the program that holds a published port", async () => {
    const pid = lab.swarm.playground.node("w2").hostPid ?? 0;
    const script = `require("net").createServer().listen(${port}, () => console.log("listens")); process.stdin.on("end", () => process.exit()).resume()`;
    const [program = "", ...args] = [...enter(pid), process.execPath, "-e", script];
    const squatter: ChildProcess = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    const ended = new Promise((resolve) => squatter.once("close", resolve));
    try {
      await new Promise((resolve) => squatter.stdout?.once("data", resolve));
      const { code, out } = await explain("service", "web");
      equal(code, 1);
      match(out, /^service web: 1 fault: on w2, node \(\d+\) listens at ::, port 8080\/tcp/);
    } finally {
      squatter.stdin?.end();
      await ended;
    }
    await becomes(0, "service", "web");
  });
});
