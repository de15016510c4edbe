/**
 * The playground's simulated hosts on the real kernel, with a stand-in for the daemon: what a host is made of, what each
 * way of dying takes with it, partitions, addresses, clocks, and that nothing is left behind.
 */
import { deepEqual, equal, match, notEqual, ok, rejects, throws } from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { hasCode } from "../../src/common/errors/cluster-error.ts";
import { cgroupParentOf } from "../../src/common/ids/instance.ts";
import { removeControlGroups } from "../../src/playground/leftovers.ts";
import { Playground, shiftedClock } from "../../src/playground/playground.ts";
import type { HostFacts } from "../support/fake-daemon.ts";
import { leftBehind, type MachineState, machineState } from "../support/leaks.ts";
import { until } from "../support/wait.ts";

const program = [
  process.execPath,
  fileURLToPath(new URL("../support/fake-daemon.js", import.meta.url)),
];

describe("src/playground", function () {
  this.timeout(300_000);
  let before: MachineState;
  let parent: string;
  let lab: Playground;

  beforeEach(async () => {
    before = machineState();
    parent = mkdtempSync(join(tmpdir(), "skep-pg-"));
    lab = Playground.create({ dir: join(parent, "lab"), nodes: ["a", "b", "c"], program });
  });

  afterEach(async () => {
    if (existsSync(join(parent, "lab", "playground.json"))) await lab.down();
    deepEqual(readdirSync(parent), []);
    rmSync(parent, { recursive: true });
    deepEqual(await leftBehind(before, { waitMs: 10_000 }), []);
  });

  it("gives every host its name, address, /run and cgroups, with the daemon below a first process", async () => {
    await lab.up();
    const facts = await Promise.all(lab.nodes().map((node) => factsOf(node.socket)));
    deepEqual(
      facts.map((f) => f.hostname),
      ["a", "b", "c"],
    );
    deepEqual(
      facts.map((f) => f.address),
      lab.nodes().map((node) => node.address),
    );
    for (const f of facts) {
      equal(f.parent, 1);
      ok(!f.run.includes("cgroup-aside"));
      deepEqual(f.cgroups, readdirSync("/sys/fs/cgroup"));
    }
    await reachesSoon(lab, "a", "b");
  });

  it("kills the daemon alone, reaps it, and starts it again on the same host", async () => {
    await lab.up();
    const host = lab.node("a").hostPid;
    await lab.killDaemon("a");
    equal(lab.node("a").daemonPid, undefined);
    const { stdout } = await lab.exec("a", ["ps", "-eo", "stat="]);
    ok(!stdout.includes("Z"), stdout);
    await lab.startNode("a");
    equal(lab.node("a").hostPid, host);
    notEqual(lab.node("a").daemonPid, undefined);
    await lab.stopDaemon("a");
    equal(lab.node("a").daemonPid, undefined);
  });

  it("takes everything on a host with it when its power is cut, and boots it anew", async () => {
    await lab.up();
    const card = await hardwareOf(lab, "a");
    await lab.exec("a", ["sh", "-c", "touch /run/volatile; setsid sleep 7777 >/dev/null 2>&1 &"]);
    await lab.killNode("a");
    equal(lab.node("a").hostPid, undefined);
    ok(![...machineState().process].some((line) => line.includes("sleep 7777")));
    await rejects(lab.exec("a", ["true"]), (error) => hasCode(error, "failed-precondition"));
    await lab.startNode("a");
    ok(!(await factsOf(lab.node("a").socket)).run.includes("volatile"));
    equal(await hardwareOf(lab, "a"), card);
    notEqual(await hardwareOf(lab, "b"), card);
    await reachesSoon(lab, "b", "a");
  });

  it("cuts the named nodes off from the others, not from each other, until healed", async () => {
    await lab.up();
    await lab.partition(["a", "b"]);
    equal(await reaches(lab, "a", "c"), false);
    await reachesSoon(lab, "a", "b");
    await lab.killNode("b");
    await lab.startNode("b");
    equal(await reaches(lab, "b", "c"), false);
    await lab.heal();
    await reachesSoon(lab, "a", "c");
    await reachesSoon(lab, "b", "c");
  });

  it("moves a node to another address, running or off", async () => {
    await lab.up();
    await lab.readdress("a", "10.77.0.99");
    equal((await factsOf(lab.node("a").socket)).address, "10.77.0.99");
    await reachesSoon(lab, "b", "a");
    await lab.killNode("b");
    await lab.readdress("b", "10.77.0.98");
    await lab.startNode("b");
    await reachesSoon(lab, "a", "b");
    await rejects(lab.readdress("c", "10.77.0.98"), /is the address of b/);
    await rejects(lab.readdress("c", "10.78.0.1"), (error) => hasCode(error, "invalid-argument"));
  });

  it("lets a node pretend another platform while it is up, and takes nothing that cannot be", async () => {
    const dir = join(parent, "other");
    const nodes = ["pi"];
    const wish = (platform: string) =>
      Playground.create({ dir, nodes, program, platforms: { pi: platform } });
    throws(() => wish("linux/vax"), /no node can pretend to be linux\/vax/);
    const other = wish("linux/arm/v7");
    const formats = () =>
      readdirSync("/proc/sys/fs/binfmt_misc").filter((name) => /^skep-.*-arm$/.test(name));
    const before = formats();
    try {
      await other.up();
      equal(formats().filter((name) => !before.includes(name)).length, 1);
      const environment = readFileSync(`/proc/${other.node("pi").daemonPid}/environ`, "utf8");
      ok(environment.split("\0").includes("SKEP_PLATFORM=linux/arm/v7"));
    } finally {
      await other.down();
    }
  });

  it("shifts the clock of a daemon and keeps the shift over restarts", async () => {
    await lab.startNode("a", { env: { ...shiftedClock("+200d"), SKEP_TEST_FACT: "kept" } });
    await lab.killNode("a");
    await lab.startNode("a");
    const facts = await factsOf(lab.node("a").socket);
    const days = (facts.now - Date.now()) / 86_400_000;
    ok(Math.abs(days - 200) < 0.1, `${days}`);
    equal(facts.env, "kept");
  });

  it("removes the control groups of its hosts, also when a process in one of them ends late", async () => {
    await lab.up();
    const data = join(lab.dir, "a", "data");
    const isV2 = existsSync("/sys/fs/cgroup/cgroup.procs");
    const trees = isV2 ? ["/sys/fs/cgroup"] : cgroupTrees();
    const groups = trees.map((tree) => join(tree, cgroupParentOf(data)));
    for (const group of groups) mkdirSync(join(group, "container"), { recursive: true });
    const late = spawn("sleep", ["7777"]);
    const ended = once(late, "exit");
    try {
      const pids = groups.find((group) => group.includes("/pids/")) ?? groups[0] ?? "";
      writeFileSync(join(pids, "container", "cgroup.procs"), String(late.pid));
      const removed = removeControlGroups(data);
      ok(existsSync(pids));
      late.kill("SIGKILL");
      await removed;
      deepEqual(
        groups.filter((group) => existsSync(group)),
        [],
      );
    } finally {
      late.kill("SIGKILL");
      await ended;
    }
  });

  it("goes down from a new object and from any half-made state", async () => {
    await lab.up();
    await lab.killNode("b");
    await Playground.open(lab.dir).down();
    equal(existsSync(lab.dir), false);
    lab = Playground.create({ dir: lab.dir, nodes: ["a"], program: ["false"] });
    await rejects(lab.up(), (error) => hasCode(error, "unavailable"));
    await lab.down();
    throws(() => Playground.open(lab.dir), /no playground/);
  });

  it("refuses a folder in use, a second playground, bad names and long paths", async () => {
    const create = (dir: string, nodes: string[]) => () =>
      Playground.create({ dir, nodes, program });
    throws(create(lab.dir, ["a"]), (error) => hasCode(error, "already-exists"));
    throws(create(parent, ["a"]), (error) => hasCode(error, "failed-precondition"));
    throws(create(join(parent, "x"), ["A!"]), /no node name/);
    throws(create(join(parent, "x"), ["a", "a"]), /same name/);
    throws(create(join(parent, "x".repeat(90)), ["a"]), /too long/);
    throws(create("/run/lab", ["a"]), /own \/run/);
  });

  it("is driven by the command line", async () => {
    await lab.up();
    const skep = fileURLToPath(new URL("../../src/bin/skep.js", import.meta.url));
    const listed = await lab.exec("a", [process.execPath, skep, "version"]);
    match(listed.stdout, /^skep \d/);
    const inside = await lab.exec("a", ["sh", "-c", "echo $DOCKER_HOST"]);
    equal(inside.stdout.trim(), `unix://${lab.node("a").socket}`);
  });
});

function factsOf(socketPath: string): Promise<HostFacts> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path: "/facts" }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve(JSON.parse(text) as HostFacts));
    });
    sent.once("error", reject);
    sent.end();
  });
}

/** Whether a TCP connection from one host reaches the other: refused counts as reached, silence does not. */
async function reaches(lab: Playground, from: string, to: string): Promise<boolean> {
  const script = `require("net").connect({host: ${JSON.stringify(lab.node(to).address)}, port: 9})
    .on("error", (error) => { console.log(error.code); process.exit(); });
    setTimeout(() => { console.log("silence"); process.exit(); }, 700);`;
  const { stdout } = await lab.exec(from, [process.execPath, "-e", script]);
  return stdout.trim() === "ECONNREFUSED";
}

/** The address of a host's network card. */
async function hardwareOf(lab: Playground, name: string): Promise<string> {
  const { stdout } = await lab.exec(name, ["cat", "/sys/class/net/eth0/address"]);
  return stdout.trim();
}

/** Folders of the trees of control groups, version 1. */
function cgroupTrees(): string[] {
  return readdirSync("/sys/fs/cgroup").map((tree) => join("/sys/fs/cgroup", tree));
}

/** After a partition the kernel takes up to three seconds to ask for the other's link address again. */
async function reachesSoon(lab: Playground, from: string, to: string): Promise<void> {
  await until(() => reaches(lab, from, to), { withinMs: 60_000, what: `${from} reaches ${to}` });
}
