/**
 * The data path on three managers and two workers: services that find each other by name across hosts, and published ports
 * that answer on every node with the true address of the caller. Truth is what servers see and what the kernels have.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { HostKernel } from "../support/host-kernel.ts";
import { hostProcesses } from "../support/host-processes.ts";
import { OutsideClient } from "../support/outside.ts";
import type { Tally, Target } from "../support/outside-client.ts";
import { pushTestImagesTo } from "../support/registry.ts";
import { TaskLab, type TaskRow } from "../support/task-lab.ts";
import { until } from "../support/wait.ts";

const managers = ["m1", "m2", "m3"];
const workers = ["w1", "w2"];
const hosts = [...managers, ...workers];
const port = 8080;
/** What the data path changes on a node; IPv4 may have been forwarded before. */
const signsOfUse = [
  /device: sk\w+-up/,
  /device: sk\w+-wg/,
  /nft: table/,
  /route: 172/,
  /setting: net.ipv6.conf.all.forwarding = 1/,
];
/** A daemon takes away what it mounts for itself when it ends. */
const isMountOfDaemon = (change: string) =>
  /^gone mount: .*(\/volumes|\/layers|\/run\/skep)/.test(change);
/** Of the service whose connections stay. */
const talkPort = 8090;

describe("network", function () {
  this.timeout(300_000);
  let lab: TaskLab;
  let client: OutsideClient;
  /** What the kernel of each host had before there was a service. */
  const states = new Map<string, ReadonlySet<string>>();
  /** Nodes that are in the swarm no more. */
  const left: string[] = [];

  before(async () => {
    lab = await TaskLab.up("skep-e2e-network", { managers, workers });
    const labPid = lab.swarm.playground.labPid();
    ok(labPid !== undefined);
    await pushTestImagesTo(lab.registry.address, { networkOf: labPid, also: "echo" });
    client = await OutsideClient.start({ labPid, name: "outside", address: "10.77.0.101" });
    for (const { name, hostPid = 0 } of lab.swarm.playground.nodes())
      states.set(name, await new HostKernel(hostPid).state());
  });

  after(async () => {
    await client?.stop();
    await lab?.down();
  });

  afterEach(async () => {
    const names = async (what: string) => {
      const words = [what, "ls", "--format", "{{.Name}}"];
      return (await lab.swarm.docker("m1", words)).split("\n").filter((name) => name !== "");
    };
    for (const name of await names("service"))
      await lab.swarm.docker("m1", ["service", "rm", name]);
    for (const name of await names("network")) {
      if (!name.startsWith("net-")) continue;
      // A network can go only when the last task in it has ended.
      await until(async () => (await lab.swarm.try("m1", ["network", "rm", name])).code === 0, {
        withinMs: 60_000,
        what: `network ${name} is removed`,
      });
    }
  });

  async function echo(name: string, ...flags: readonly string[]): Promise<void> {
    const words = ["service", "create", "--detach", "--name", name, ...flags];
    await lab.swarm.docker("m1", [...words, lab.image("echo:1")]);
  }

  const on = (host: string) => ["--constraint", `node.hostname==${host}`];
  const published = ["tcp", "udp"].flatMap((protocol) => [
    "--publish",
    `published=${port},target=80,protocol=${protocol}`,
  ]);

  /** Runs a line of shell in the container of a task. */
  async function inside(task: TaskRow, script: string): Promise<string> {
    const words = ["exec", lab.containerName(task), "sh", "-c", script];
    return lab.swarm.docker(task.node, words);
  }

  async function only(service: string): Promise<TaskRow> {
    const [task] = await lab.running("m1", service, 1);
    ok(task !== undefined);
    return task;
  }

  const request = (host: string) => `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 ${host} 80`;

  /** Every way to a published port: each node, both protocols, both families. */
  function everyWay(): Target[] {
    return hosts.flatMap((name) => {
      const { address } = lab.swarm.playground.node(name);
      const six = `fd77::${address.split(".").at(-1)}`;
      return [address, six].flatMap((host) =>
        (["tcp", "udp"] as const).map((protocol) => ({ protocol, host, port })),
      );
    });
  }

  /** Ways that answer within a while, all of them; what fails is told way by way. */
  async function answersEverywhere(): Promise<void> {
    let missing: string[] = [];
    await until(
      async () => {
        const calls = everyWay().map((target) =>
          client.call(target, 1_000).then(
            () => [],
            (error) => [String(error)],
          ),
        );
        missing = (await Promise.all(calls)).flat();
        return missing.length === 0;
      },
      {
        withinMs: 60_000,
        get what() {
          return `the port answers everywhere: ${missing.join("; ")}`;
        },
      },
    );
  }

  function onlyOurs(tally: Tally): void {
    deepEqual(tally.failures, []);
    const seen = Object.keys(tally.addresses).sort();
    deepEqual(seen, [client.address, client.address6].sort());
  }

  it("lets services talk by name across hosts", async () => {
    await lab.swarm.docker("m1", ["network", "create", "-d", "overlay", "net-a"]);
    await echo("web", "--network", "net-a", ...on("w1"));
    await lab.create("m1", "asks", ["--network", "net-a", ...on("w2")], "sleep 3600");
    const [web, asks] = [await only("web"), await only("asks")];
    const answer = await until(
      async () => {
        const said = await inside(asks, request("web"));
        return said.includes(" 10.") && said;
      },
      { withinMs: 60_000, what: "web answers" },
    );
    const own = await inside(asks, "ip -4 addr show ov0");
    const [, address = "?"] = /inet ([0-9.]+)/.exec(own) ?? [];
    match(answer, new RegExp(` ${address.replaceAll(".", "\\.")} `));
    const inspect = ["service", "inspect", "--format"];
    const vip = await lab.swarm.docker("m2", [
      ...inspect,
      "{{(index .Endpoint.VirtualIPs 0).Addr}}",
      "web",
    ]);
    match(await inside(asks, "nslookup web"), new RegExp(`${vip.split("/")[0]}\\b`));
    const format = "{{(index .NetworksAttachments 0).Addresses}}";
    const addresses = await lab.swarm.docker("m2", ["inspect", "--format", format, web.id]);
    const [, taskAddress = "?"] = /([0-9.]+)\//.exec(addresses) ?? [];
    match(await inside(asks, "nslookup tasks.web"), new RegExp(`${taskAddress}\\b`));
    await lab.swarm.refused("m1", ["network", "rm", "net-a"], /is in use by/);
  });

  it("shows servers the address of the caller, on every node, while they are scaled", async () => {
    await echo("web", ...published, "--replicas", "1", ...on("w1"));
    await lab.running("m1", "web", 1);
    await answersEverywhere();
    for (const target of everyWay()) {
      const { address } = await client.call(target);
      equal(address, target.host.includes(":") ? client.address6 : client.address, target.host);
    }
    const update = ["service", "update", "--detach", "--constraint-rm", "node.hostname==w1"];
    const load = await client.begin(everyWay(), 8, 100);
    await lab.swarm.docker("m1", [...update, "--replicas", "6", "web"]);
    await lab.running("m1", "web", 6);
    await lab.swarm.docker("m1", ["service", "scale", "--detach", "web=3"]);
    await lab.running("m1", "web", 3);
    onlyOurs(await load.stop());
  });

  it("loses no request in a rolling update and while a node is drained", async () => {
    const flags = ["--replicas", "3", "--update-delay", "500ms", "--update-order", "start-first"];
    await echo("web", ...published, ...flags, "--constraint", "node.role==worker");
    await lab.running("m1", "web", 3);
    await answersEverywhere();
    const tcp = everyWay().filter(({ protocol }) => protocol === "tcp");
    const load = await client.begin(tcp, 16, 200);
    const update = ["service", "update", "--detach", "--env-add", "ROUND=2", "web"];
    await lab.swarm.docker("m1", update);
    const format = "{{.UpdateStatus.State}}";
    await until(
      async () =>
        (await lab.swarm.docker("m1", ["service", "inspect", "--format", format, "web"])) ===
        "completed",
      { withinMs: 60_000, everyMs: 200, what: "the update is over" },
    );
    await lab.swarm.docker("m1", ["node", "update", "--availability", "drain", "w1"]);
    await until(
      async () => (await lab.running("m1", "web", 3)).every(({ node }) => node === "w2"),
      { withinMs: 60_000, what: "w1 is drained" },
    );
    const tally = await load.stop();
    await lab.swarm.docker("m1", ["node", "update", "--availability", "active", "w1"]);
    onlyOurs(tally);
    ok(tally.calls > 500, `${tally.calls} calls`);
  });

  it("gives containers run by hand their networks, ports and addresses", async () => {
    const docker = (...words: string[]) => lab.swarm.docker("w1", words);
    const [image, box] = [lab.image("echo:1"), lab.image()];
    await docker("network", "create", "--ipv6", "net-local");
    await lab.swarm.docker("m1", ["network", "create", "-d", "overlay", "--attachable", "net-c"]);
    await echo("far", "--network", "net-c", ...on("w2"));
    await lab.running("m1", "far", 1);
    try {
      const open = ["-p", "8081:80", "-p", "8081:80/udp", "--network-alias", "site"];
      await docker("run", "-d", "--name", "near", "--network", "net-local", ...open, image);
      for (const target of everyWay().filter(({ host }) => /[.:]14$/.test(host))) {
        // Its program listens a moment after it has started.
        const call = () => client.call({ ...target, port: 8081 });
        const { address } = await until(call, { withinMs: 60_000, what: `${target.host} answers` });
        equal(address, target.host.includes(":") ? client.address6 : client.address, target.host);
      }
      match(await docker("ps", "--format", "{{.Ports}}"), /0\.0\.0\.0:8081->80\/tcp/);
      equal((await docker("port", "near", "80/udp")).split("\n")[0], "0.0.0.0:8081");
      const taken = ["run", "--rm", "-p", "8081:80", box, "true"];
      await lab.swarm.refused("w1", taken, /Bind for 0\.0\.0\.0:8081 failed: port is already/);
      const run = (...words: string[]) => docker("run", "--rm", ...words);
      const ask = (host: string) => ["sh", "-c", request(host)];
      match(
        await run("--network", "net-local", box, ...ask("site")),
        / (172\.\d+\.0\.3|fd[0-9a-f:]+::3) /,
      );
      const far = () => run("--network", "net-c", box, ...ask("far"));
      match(await until(far, { withinMs: 60_000, what: "far answers" }), / 10\.0\.\d+\.\d+ /);
      await docker("network", "connect", "net-c", "near");
      const format = "{{json .NetworkSettings.Networks}}";
      const networks = JSON.parse(await docker("inspect", "--format", format, "near"));
      deepEqual(Object.keys(networks).sort(), ["net-c", "net-local"]);
      match(networks["net-c"].IPAddress, /^10\.0\./);
      await lab.swarm.refused("w1", ["network", "rm", "net-local"], /has active endpoints/);
      await docker("network", "disconnect", "net-c", "near");
    } finally {
      await docker("rm", "-f", "near");
      await docker("network", "rm", "net-local");
    }
  });

  it("loses no connection while every daemon is killed and starts again", async () => {
    await echo("web", ...published, "--mode", "global");
    const talk = ["--publish", `${talkPort}:7`, "--mode", "global"];
    await lab.create("m1", "talk", talk, "exec nc -ll -p 7 -e cat");
    await lab.running("m1", "web", 5);
    await lab.running("m1", "talk", 5);
    await answersEverywhere();
    const streams = everyWay()
      .filter(({ protocol }) => protocol === "tcp")
      .flatMap((target) => [target, target].map((one) => ({ ...one, port: talkPort })));
    await until(async () => client.talk(streams).then(() => true), {
      withinMs: 60_000,
      what: "every stream is open",
    });
    const load = await client.begin(everyWay(), 16, 100);
    await Promise.all(hosts.map((host) => lab.swarm.playground.killDaemon(host)));
    await Promise.all(hosts.map((host) => lab.swarm.playground.startNode(host)));
    // They have looked at what the kernel has, and change it.
    await lab.swarm.settles("m1", [
      ...managers.map((name) => `${name} Ready Manager`),
      ...workers.map((name) => `${name} Ready`),
    ]);
    await echo("more", "--publish", `${talkPort + 1}:80`);
    await lab.running("m1", "more", 1);
    const tally = await load.stop();
    const talked = await client.hush();
    deepEqual(talked.lost, []);
    ok(talked.lines > 10 * streams.length, `${talked.lines} lines`);
    onlyOurs(tally);
    ok(tally.calls > 200, `${tally.calls} calls`);
  });

  it("does without programs at bridges and shared shims on a node that is told so", async () => {
    // One more than have shims of their own.
    const replicas = 2 * availableParallelism() + 1;
    const shims = () =>
      hostProcesses(lab.swarm, "w1").filter(({ words }) => /containerd-shim/.test(words[0] ?? ""))
        .length;
    const rooms = async () => {
      const words = ["nsenter", "--net=/run/skep/netns/swarm", "tc", "qdisc", "show"];
      const { code, stdout, stderr } = await lab.swarm.playground.exec("w1", words);
      equal(code, 0, stderr);
      return stdout.match(/ clsact /g)?.length ?? 0;
    };
    const becomes = (isSo: () => boolean | Promise<boolean>, what: string) =>
      until(isSo, { withinMs: 60_000, what });
    const restart = async (flags: readonly string[]) => {
      await lab.swarm.playground.killDaemon("w1");
      await lab.swarm.playground.startNode("w1", { flags });
    };
    await lab.swarm.docker("m1", ["network", "create", "-d", "overlay", "net-d"]);
    const many = ["--network", "net-d", "--replicas", `${replicas}`, "--update-parallelism", "0"];
    const script = "trap 'exit 0' TERM; sleep 3600 & wait";
    await lab.create("m1", "many", [...many, ...on("w1")], script);
    await lab.create("m1", "asks", ["--network", "net-d", ...on("w2")], script);
    await lab.running("m1", "many", replicas);
    await becomes(() => shims() === replicas - 1, "two tasks share a shim");
    ok((await rooms()) > 0);
    const file = join(lab.swarm.scratch(), "daemon.json");
    writeFileSync(file, JSON.stringify({ "bridge-shortcuts": false, "shared-shims": false }));
    await restart(["--config-file", file]);
    try {
      await becomes(async () => (await rooms()) === 0, "the programs are gone");
      const again = ["service", "update", "--detach", "--force", "many"];
      await lab.swarm.docker("m1", again);
      await becomes(() => shims() === replicas, "every task has a shim of its own");
      equal(await rooms(), 0);
      const asks = await only("asks");
      const answers = async () => {
        const said = await inside(asks, "ping -c1 -W2 tasks.many || true");
        return said.includes(" 0% packet loss");
      };
      await becomes(answers, "tasks on other nodes are reached");
    } finally {
      await restart([]);
    }
    await becomes(async () => (await rooms()) > 0, "the programs are there again");
  });

  for (const [node, how] of [
    ["w2", []],
    ["m3", ["--force"]],
  ] as const) {
    it(`leaves the kernel of ${node} as it was when that leaves, and when its daemon ends`, async () => {
      const secure = ["--opt", "encrypted", "--attachable", "net-s"];
      await lab.swarm.docker("m1", ["network", "create", "-d", "overlay", "net-b"]);
      await lab.swarm.docker("m1", ["network", "create", "-d", "overlay", ...secure]);
      const networks = ["--network", "net-b", "--network", "net-s"];
      await echo("web", ...published, ...networks, "--mode", "global");
      await lab.running("m1", "web", hosts.length - left.length);
      const box = ["run", "--rm", "-p", "8081:80", "--network", "net-s", lab.image(), "true"];
      await lab.swarm.docker(node, box);
      const kernel = new HostKernel(lab.swarm.playground.node(node).hostPid ?? 0);
      const before = states.get(node) ?? new Set();
      const inUse = (await kernel.changes(before)).join("\n");
      for (const sign of signsOfUse) ok(sign.test(inUse), `${sign}`);
      await lab.swarm.docker(node, ["swarm", "leave", ...how]);
      left.push(node);
      let changes: readonly string[] = [];
      const isAsBefore = {
        withinMs: 60_000,
        get what() {
          return `${node} is as before: ${changes.join("; ")}`;
        },
      };
      const look = async () => {
        changes = await kernel.changes(before);
        return changes.length === 0;
      };
      await until(look, isAsBefore);
      await lab.swarm.playground.stopDaemon(node);
      await until(async () => (await look()) || changes.every(isMountOfDaemon), isAsBefore);
    });
  }
});
