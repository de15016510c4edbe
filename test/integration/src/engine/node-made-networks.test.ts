/**
 * Networks of the swarm that nodes make for themselves, by a stock docker client on a real daemon: a service on a device of
 * the node, with the settings of that node.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { dockerClients } from "../../../support/docker.ts";
import { DockerSession } from "../../../support/docker-session.ts";
import { freePort } from "../../../support/free-port.ts";
import { busyboxArchive } from "../../../support/image-archive.ts";
import { type RealDaemon, startDaemon } from "../../../support/real-daemon.ts";
import { until } from "../../../support/wait.ts";

describe("networks that nodes make for the swarm", function () {
  this.timeout(300_000);
  const parent = `skm${process.pid}`;
  let daemon: RealDaemon;
  let d: DockerSession;
  before(async () => {
    execFileSync("ip", `link add ${parent} up type veth peer name ${parent}-p`.split(" "));
    daemon = await startDaemon();
    const [client] = dockerClients();
    assert.ok(client, "scripts/setup brings a docker client");
    d = new DockerSession(client, daemon);
    const loaded = await d.run(["load"], await busyboxArchive("busybox:1"));
    assert.equal(loaded.code, 0, `${loaded.stderr}${daemon.log()}`);
    const port = await freePort();
    await d.docker(`swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:${port}`);
  });
  after(async () => {
    await d?.docker("swarm leave --force");
    await daemon?.stop();
    execFileSync("ip", ["link", "delete", parent]);
  });

  it("are made from settings of the node, for services, and go with the last task", async () => {
    const made = "network create -d macvlan --scope swarm --config-from held lan";
    assert.match((await d.refused(made)).stderr, /configuration network "held" does not exist/);
    const settings = `--subnet 10.198.3.0/24 --ip-range 10.198.3.64/28 -o parent=${parent}`;
    await d.docker(`network create --config-only ${settings} held`);
    await d.docker(made);
    const shown = await d.docker("network ls --format", "{{.Name}} {{.Driver}} {{.Scope}}");
    assert.deepEqual(
      shown.split("\n").filter((line) => /^(held|lan) /.test(line)),
      ["held null local", "lan macvlan swarm"],
    );
    const flags = "--detach --network name=lan,alias=web --replicas 2 --stop-grace-period 0s";
    await d.docker(`service create ${flags} --name s busybox:1 sleep 1000`);
    const running = () => d.docker("ps -q --filter label=com.docker.swarm.service.name=s");
    await until(async () => (await running()).split("\n").length === 2, {
      withinMs: 60_000,
      what: "two tasks",
    });
    const addresses = await Promise.all(
      (await running()).split("\n").map((id) => d.docker(`exec ${id} ip -4 -o addr show eth0`)),
    );
    assert.deepEqual(addresses.map((text) => /inet (\S+)/.exec(text)?.[1]).sort(), [
      "10.198.3.64/24",
      "10.198.3.65/24",
    ]);
    const [first = ""] = (await running()).split("\n");
    const found = await d.docker(`exec ${first} nslookup -type=a web`);
    assert.match(found, /10\.198\.3\.64/);
    assert.match(found, /10\.198\.3\.65/);
    const members = await d.docker("network inspect lan --format", "{{len .Containers}}");
    assert.equal(members, "2");
    assert.match((await d.refused("network rm lan")).stderr, /is in use by service/);
    assert.match((await d.refused("network rm held")).stderr, /network "held" is in use/);
    await d.docker("service rm s");
    await until(async () => (await d.run(["network", "rm", "held"])).code === 0, {
      withinMs: 60_000,
      what: "the settings are of no use",
    });
    await d.docker("network rm lan");
  });
});
