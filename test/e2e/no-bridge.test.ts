/**
 * A node whose daemon runs with `--bridge none`, by the docker command: what is not there, and what works all the same.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { TaskLab } from "../support/task-lab.ts";
import { until } from "../support/wait.ts";

const devices = ["ls", "/sys/class/net"];

describe("a node without the network bridge", function () {
  this.timeout(300_000);
  let lab: TaskLab;

  before(async () => {
    lab = await TaskLab.up("skep-e2e-no-bridge", { managers: ["m1"], workers: [] });
  });
  after(() => lab?.down());

  const docker = (...words: string[]) => lab.swarm.docker("m1", words);
  const run = (...words: string[]) => docker("run", "--rm", ...words);
  const start = (name: string, ...words: string[]) =>
    docker("run", "-d", "--name", name, ...words, lab.image(), "sleep", "1000");
  const names = async () => (await docker("network", "ls", "--format", "{{.Name}}")).split("\n");
  const restart = async (flags: readonly string[]) => {
    await lab.swarm.playground.stopDaemon("m1");
    await lab.swarm.playground.startNode("m1", { flags });
  };

  it("keeps the bridge while a container runs in it, and has none at the next start", async () => {
    await start("old");
    const before = await docker("exec", "old", ...devices);
    match(before, /\n/);
    await restart(["--bridge", "none"]);
    equal(await docker("exec", "old", ...devices), before);
    equal((await names()).includes("bridge"), true);
    await docker("rm", "-f", "old");
    await restart(["--bridge", "none"]);
    deepEqual((await names()).sort(), ["docker_gwbridge", "host", "ingress", "none"]);
    await lab.swarm.refused(
      "m1",
      ["network", "inspect", "bridge"],
      /No such network: bridge|network bridge not found/,
    );
  });

  it("gives who names no network a loopback device alone", async () => {
    equal(await run(lab.image(), ...devices), "lo");
    equal(await run("--network", "bridge", "-p", "8080:80", lab.image(), ...devices), "lo");
    match(await run(lab.image(), "ip", "addr", "show", "lo"), /127\.0\.0\.1/);
    match(await run("--hostname", "hive", lab.image(), "cat", "/etc/hosts"), /localhost/);
    const flags = ["--replicas", "2"];
    await lab.create("m1", "alone", flags, "ls /sys/class/net; exec sleep 1000");
    for (const task of await lab.running("m1", "alone", 2)) {
      equal(await docker("exec", lab.containerName(task), ...devices), "lo");
      const format = "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}";
      equal(await docker("inspect", "-f", format, lab.containerName(task)), "bridge=");
    }
    await docker("service", "rm", "alone");
  });

  it("has the networks that users make, overlay networks and published ports", async () => {
    await docker("network", "create", "own");
    match(await run("--network", "own", lab.image(), ...devices), /\n/);
    await start("box");
    await lab.swarm.refused("m1", ["network", "connect", "own", "box"], /started without networks/);
    await docker("stop", "-t", "0", "box");
    await docker("network", "connect", "own", "box");
    await docker("start", "box");
    match(await docker("exec", "box", ...devices), /\n/);
    await docker("rm", "-f", "box");
    await docker("network", "rm", "own");
    await docker("network", "create", "-d", "overlay", "wide");
    const flags = ["--network", "wide", "--publish", "8080:80"];
    await lab.create("m1", "web", flags, "exec httpd -f -p 80 -h /etc");
    await lab.running("m1", "web", 1);
    const ask = ["run", "--rm", "--network", "host", lab.image(), "wget", "-qO-"];
    // The task runs as soon as its shell does, which starts the server.
    await until(
      async () => (await docker(...ask, "http://10.77.0.11:8080/passwd")).includes("root:"),
      {
        withinMs: 60_000,
        what: "the server answers",
      },
    );
    await docker("service", "rm", "web");
  });

  it("has the bridge again when the flag is left out", async () => {
    await restart([]);
    equal((await names()).includes("bridge"), true);
    match(await run(lab.image(), ...devices), /\n/);
  });
});
