/**
 * Encrypted networks by the docker command, on a manager and two workers: what the wire between them shows of an overlay and
 * of the routing mesh, a change of all keys under an open connection, and a node that cannot encrypt. The cluster has a port
 * of VXLAN of its own. Every frame of a worker's link is captured.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Capture, type Frame, withPort, withText } from "../support/capture.ts";
import { HostKernel } from "../support/host-kernel.ts";
import { Probe } from "../support/network-lab.ts";
import { OutsideClient } from "../support/outside.ts";
import { pushTestImagesTo } from "../support/registry.ts";
import { TaskLab, type TaskRow } from "../support/task-lab.ts";
import { until } from "../support/wait.ts";

const vxlanPort = 7789;
const wireguardPort = 51820;
const published = 8080;

describe("encrypted networks", function () {
  this.timeout(300_000);
  let lab: TaskLab;
  let client: OutsideClient;
  let marker: Probe;
  let capture: Capture;

  before(async () => {
    const init = ["--data-path-port", String(vxlanPort)];
    const nodes = { managers: ["m1"], workers: ["w1", "w2"], init };
    lab = await TaskLab.up("skep-e2e-secret", nodes);
    const labPid = lab.swarm.playground.labPid();
    ok(labPid !== undefined);
    await pushTestImagesTo(lab.registry.address, { networkOf: labPid, also: "echo" });
    client = await OutsideClient.start({ labPid, name: "outside", address: "10.77.0.101" });
    const space = `/proc/${lab.swarm.playground.node("w1").hostPid}/ns/net`;
    marker = new Probe(space);
    const host = lab.swarm.playground.node("m1").address;
    capture = await Capture.start({
      ...{ space, device: "eth0", file: join(lab.swarm.scratch(), "frames") },
      mark: (text) => marker.send({ host, port: 9, hex: Buffer.from(text).toString("hex") }),
    });
  });

  after(async () => {
    await capture?.stop();
    await marker?.end();
    await client?.stop();
    await lab?.down();
  });

  const docker = (...words: string[]) => lab.swarm.docker("m1", words);
  const on = (host: string) => ["--constraint", `node.hostname==${host}`];
  const kernel = (host: string) => new HostKernel(lab.swarm.playground.node(host).hostPid ?? 0);

  async function only(service: string): Promise<TaskRow> {
    const [task] = await lab.running("m1", service, 1);
    ok(task !== undefined);
    return task;
  }

  function inside(task: TaskRow, script: string): Promise<string> {
    const words = ["exec", lab.containerName(task), "sh", "-c", script];
    return lab.swarm.docker(task.node, words);
  }

  /** Frames between the nodes' data paths, after everything that was sent so far. */
  async function between(): Promise<{ all: Frame[]; clear: Frame[]; secured: Frame[] }> {
    const all = await capture.frames();
    return { all, clear: withPort(all, vxlanPort), secured: withPort(all, wireguardPort) };
  }

  it("shows the port that the cluster was made with, and refuses those that are none", async () => {
    match(await docker("info"), /Data Path Port: 7789/);
    match(await lab.swarm.docker("w1", ["info"]), /Swarm: active/);
    const init = ["swarm", "init", "--force-new-cluster", "--data-path-port", "80"];
    const why = /Datapath port number is not in valid range \(1024-49151\) : 80/i;
    await lab.swarm.refused("m1", init, why);
  });

  it("are read by nobody on the wire, where others are", async () => {
    for (const [name, flags] of [
      ["open", []],
      ["hidden", ["--opt", "encrypted"]],
    ] as const) {
      await docker("network", "create", "-d", "overlay", ...flags, `net-${name}`);
      const web = ["service", "create", "--detach", "--name", `web-${name}`];
      await docker(...web, "--network", `net-${name}`, ...on("w1"), lab.image("echo:1"));
      const network = ["--network", `net-${name}`, ...on("w2")];
      await lab.create("m1", `asks-${name}`, network, "sleep 3600");
      await only(`web-${name}`);
      const asks = await only(`asks-${name}`);
      const request = `printf 'GET /said-${name} HTTP/1.0\\r\\nHost: web-${name}\\r\\n\\r\\n' | nc -w 3 web-${name} 80`;
      await until(async () => (await inside(asks, request)).includes(" 10."), {
        withinMs: 60_000,
        what: `web-${name} answers`,
      });
    }
    const { all, clear, secured } = await between();
    ok(withText(clear, "GET /said-open").length > 0);
    deepEqual(withText(all, "said-hidden").length, 0);
    deepEqual(withText(all, "web-hidden").length, 0);
    ok(secured.length >= 8, `${secured.length} packets of WireGuard`);
    equal(withPort(all, 4789).length + withPort(all, 4790).length, 0);
  });

  it("keep a connection while the key of its node changes with its certificate", async () => {
    const script = "exec nc -ll -p 9000 -e cat";
    const network = ["--network", "net-hidden"];
    await lab.create("m1", "echoes", [...network, ...on("w1")], script);
    await only("echoes");
    const asks = await only("asks-hidden");
    const probe = "echo probe | nc -w 3 tasks.echoes 9000";
    await until(async () => (await inside(asks, probe)).includes("probe"), {
      withinMs: 60_000,
      what: "echoes listens",
    });
    const line = "x".repeat(99);
    const talk = `rm -f /tmp/over; (while [ ! -e /tmp/over ]; do echo ${line}; echo ${line} >> /tmp/said; sleep 0.05; done) | nc tasks.echoes 9000 > /tmp/heard`;
    const talking = lab.start(asks.node, ["exec", lab.containerName(asks), "sh", "-c", talk]);
    const bytes = async (file: string) => Number((await inside(asks, `wc -c < ${file}`)).trim());
    await until(async () => (await bytes("/tmp/heard")) > 1_000, {
      withinMs: 60_000,
      what: "the connection is open",
    });
    const key = () => kernel("w1").run("wg", "show", "all", "public-key");
    const before = await key();
    // Another role is another certificate.
    await docker("node", "promote", "w1");
    await until(async () => (await key()) !== before, {
      withinMs: 90_000,
      everyMs: 500,
      what: "the node has another key",
    });
    const then = await bytes("/tmp/heard");
    await until(async () => (await bytes("/tmp/heard")) > then + 2_000, {
      withinMs: 60_000,
      what: "it is heard on",
    });
    await inside(asks, "touch /tmp/over");
    await until(async () => (await bytes("/tmp/heard")) === (await bytes("/tmp/said")), {
      withinMs: 60_000,
      what: "all that was said is heard",
    });
    console.log(`      ${await bytes("/tmp/heard")} bytes there and back on one connection`);
    talking.child.kill();
    deepEqual(withText(await capture.frames(), line).length, 0);
    await docker("node", "demote", "w1");
    await lab.swarm.settles("m1", ["m1 Ready Manager", "w1 Ready", "w2 Ready"]);
  });

  it("may be the routing mesh: what nodes pass on is hidden, callers are true", async () => {
    const words = ["service", "create", "--detach", "--publish", `${published}:80`];
    const call = async (host: string) => {
      const { address } = lab.swarm.playground.node(host);
      const target = { protocol: "tcp", host: address, port: published } as const;
      await until(() => client.call(target), { withinMs: 60_000, what: `${host} answers` });
      const caller = await client.call(target);
      equal(caller.address, client.address);
    };
    // What the server says of its caller: it comes back through the node that was called.
    const said = ` ${client.address} `;
    await docker(...words, "--name", "open", ...on("w1"), lab.image("echo:1"));
    await only("open");
    await call("w2");
    ok(withText((await between()).clear, said).length > 0);
    await docker("service", "rm", "open");
    await until(
      async () => (await lab.swarm.try("m1", ["network", "rm", "ingress"], "y\n")).code === 0,
      { withinMs: 60_000, what: "the mesh is removed" },
    );
    const create = ["network", "create", "--ingress", "-d", "overlay", "--opt", "encrypted"];
    await docker(...create, "secret-ingress");
    const before = (await between()).all.length;
    await docker(...words, "--name", "hidden", ...on("w1"), lab.image("echo:1"));
    await only("hidden");
    await call("w2");
    await call("m1");
    const after = (await between()).all.slice(before);
    deepEqual(withText(after, said).length, 0);
    deepEqual(withPort(after, vxlanPort).length, 0);
    ok(withPort(after, wireguardPort).length > 0);
    // The way between client and node is in clear: the capture would have seen it.
    await call("w1");
    ok(withText((await between()).all.slice(before), said).length > 0);
    await docker("service", "rm", "hidden");
  });

  it("are not for a node that cannot encrypt: their tasks fail there, and say why", async () => {
    const folder = lab.swarm.scratch();
    writeFileSync(join(folder, "wireguard-go"), "#!/bin/sh\nexit 127\n");
    chmodSync(join(folder, "wireguard-go"), 0o755);
    await docker("service", "rm", "asks-hidden", "asks-open", "web-hidden", "web-open", "echoes");
    await until(async () => !/\b\S+-wg\b/.test(await kernel("w2").run("ip", "-o", "link")), {
      withinMs: 60_000,
      what: "the tunnel is not needed any more",
    });
    const type = await kernel("w2")
      .run("ip", "link", "add", "probe-wg", "type", "wireguard")
      .then(
        () => kernel("w2").run("ip", "link", "del", "probe-wg"),
        () => undefined,
      );
    // A kernel with WireGuard needs no program.
    if (type !== undefined) return;
    await lab.swarm.playground.stopDaemon("w2");
    const env = { PATH: `${folder}:${process.env["PATH"] ?? ""}` };
    await lab.swarm.playground.startNode("w2", { env });
    await lab.swarm.settles("m1", ["m1 Ready Manager", "w1 Ready", "w2 Ready"]);
    await lab.create("m1", "cannot", ["--network", "net-hidden", ...on("w2")], "sleep 3600");
    let tasks: Awaited<ReturnType<typeof lab.tasks>> = [];
    const error = await until(
      async () => {
        tasks = await lab.tasks("m1", "cannot");
        return tasks.find(({ state }) => state.startsWith("Failed"))?.error;
      },
      {
        withinMs: 60_000,
        get what() {
          const log = readFileSync(lab.swarm.playground.node("w2").log, "utf8");
          return `the task fails: ${JSON.stringify(tasks)}; log of w2: ${log.slice(-6_000)}`;
        },
      },
    );
    match(error, /this node cannot encrypt: install wireguard-tools and/);
    await lab.create("m1", "can", ["--network", "net-open", ...on("w2")], "sleep 3600");
    await only("can");
    await docker("service", "rm", "cannot", "can");
    await lab.swarm.playground.stopDaemon("w2");
    await lab.swarm.playground.startNode("w2", { env: {} });
  });
});
