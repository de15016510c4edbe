/**
 * Frames that go past a bridge: in a namespace with a bridge, with containers that are bare namespaces at its ports.
 */
import { equal, match, ok } from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Link, type SpaceState, spaceState } from "../../../../agent/network/model.ts";
import { makeNamespace, removeNamespace } from "../../../../agent/network/namespace.ts";
import { ThreadNftables } from "../../../../agent/network/nft/library.ts";
import { Shortcuts } from "../../../../agent/network/shortcut/shortcuts.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { inside, ping } from "../../../support/data-path-node.ts";
import { until } from "../../../support/wait.ts";

const containers = ["a", "b", "c"] as const;
type Name = (typeof containers)[number];
const bridge = "br7";
const numberOf = (name: Name) => containers.indexOf(name) + 1;
const mac = (name: Name) => `02:42:0a:00:00:0${numberOf(name)}`;
const address = (name: Name) => `10.0.0.${numberOf(name)}`;
/** Sends datagrams one after the other; that nobody listens does not matter. */
const sender = `
  const [to, count] = process.argv.slice(1);
  const socket = require("node:dgram").createSocket("udp4");
  const next = (left) => (left === 0 ? socket.close() : socket.send("x", 9, to, () => next(left - 1)));
  next(Number(count));`;
/** Enough that most come within the time for which a way is kept. */
const many = 2_000;

describe("agent/network/shortcut", function () {
  this.timeout(300_000);
  const thread = new ThreadNftables({ log: silentLog });
  let folder = "";
  let shortcuts = new Shortcuts({ thread, kind: "frames", isWanted: true, log: silentLog });
  const file = (name: string) => join(folder, name);
  const inSwarm = (...words: readonly string[]) => inside(file("swarm"), ...words);

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-shortcut-"));
    for (const name of ["swarm", ...containers]) await makeNamespace(file(name));
    inSwarm(..."ip link add br7 up type bridge mcast_snooping 0".split(" "));
    for (const name of containers) addPort(name);
    // All that the bridge leads is counted.
    const chain = "chain c_led { type filter hook forward priority 0; counter name c_frames; }";
    const input = `table bridge led { counter c_frames { }\n ${chain}\n }\n`;
    execFileSync("nsenter", [`--net=${file("swarm")}`, "nft", "-f", "-"], { input });
    shortcuts = new Shortcuts({ thread, kind: "frames", isWanted: true, log: silentLog });
  });

  afterEach(async () => {
    shortcuts.close();
    for (const name of ["swarm", ...containers]) await removeNamespace(file(name));
    await thread.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function addPort(name: Name): void {
    const far = `peer name ov0 address ${mac(name)} netns ${file(name)}`;
    inSwarm(...`ip link add port-${name} type veth ${far}`.split(" "));
    inSwarm("ip", "link", "set", `port-${name}`, "master", bridge, "up");
    inside(file(name), "ip", "addr", "add", `${address(name)}/24`, "dev", "ov0");
    inside(file(name), "ip", "link", "set", "ov0", "up");
  }

  /** Frames that the bridge itself has led. */
  const led = () => Number(/packets (\d+)/.exec(inSwarm("nft", "list", "counters"))?.[1]);
  const received = (name: Name) => {
    const [device] = JSON.parse(inside(file(name), "ip", "-json", "-s", "link", "show", "ov0"));
    return device.stats64.rx.packets as number;
  };
  const send = (from: Name, to: string, count: number) =>
    inside(file(from), process.execPath, "-e", sender, to, String(count));
  const programs = (name: string, side = "ingress") =>
    inSwarm("tc", "filter", "show", "dev", name, side).match(/ skep /g)?.length ?? 0;

  it("lead known destinations past the bridge, so that every frame arrives", async () => {
    await shortcuts.keep(file("swarm"), holding(containers), true);
    ok(ping(file("a"), address("b")));
    const before = { led: led(), received: received("b") };
    send("a", address("b"), many);
    ok(received("b") - before.received >= many);
    ok(led() - before.led < many / 2, `${led() - before.led} of ${many} through the bridge`);
  });

  it("find an endpoint that has moved to another port", async () => {
    await shortcuts.keep(file("swarm"), holding(containers), true);
    send("a", address("b"), many);
    inside(file("b"), "ip", "link", "set", "ov0", "down");
    inside(file("c"), "ip", "link", "set", "ov0", "address", mac("b"));
    inside(file("c"), "ip", "addr", "add", `${address("b")}/24`, "dev", "ov0");
    // The bridge hears of it; the first answers may go where the endpoint was.
    const heard = () => ping(file("c"), address("a")) !== "";
    await until(heard, { withinMs: 60_000, what: "the bridge has heard of it" });
    const what = "an answer from where it is now";
    await until(() => ping(file("a"), address("b")) !== "", { withinMs: 60_000, what });
    const before = { there: received("c"), led: led() };
    send("a", address("b"), many);
    ok(received("c") - before.there >= many);
    ok(led() - before.led < many / 2);
  });

  it("keep no way of frames that go to several ports", async () => {
    await shortcuts.keep(file("swarm"), holding(containers), true);
    const nobody = "10.0.0.9";
    const lladdr = "02:42:0a:00:00:09";
    inside(file("a"), "ip", "neigh", "add", nobody, "lladdr", lladdr, "dev", "ov0");
    const before = { b: received("b"), c: received("c") };
    send("a", nobody, many);
    ok(received("b") - before.b >= many);
    ok(received("c") - before.c >= many);
  });

  it("leave it to the bridge how neighbours are found", async () => {
    await shortcuts.keep(file("swarm"), holding(containers), true);
    for (const name of ["a", "b"] as const) {
      inside(file(name), "ip", "addr", "add", `fd00::${numberOf(name)}/64`, "dev", "ov0");
    }
    const ask = () => ping(file("a"), "fd00::2");
    await until(() => ask() !== "", { withinMs: 60_000, what: "an answer over IPv6" });
    const before = led();
    for (let asked = 0; asked < 10; asked++) ask();
    ok(led() - before >= 20);
  });

  it("are put at a port again that another one has taken the place of, and once only", async () => {
    const state = holding(containers);
    await shortcuts.keep(file("swarm"), state, true);
    inSwarm("ip", "link", "del", "port-b");
    addPort("b");
    equal(programs("port-b"), 0);
    await shortcuts.keep(file("swarm"), state, true);
    await shortcuts.keep(file("swarm"), state, true);
    equal(programs("port-b"), 1);
    inSwarm("tc", "qdisc", "del", "dev", "port-c", "clsact");
    await shortcuts.keep(file("swarm"), state, true);
    equal(programs("port-c"), 1);
  });

  it("are taken away where they are not wanted, and what others put there stays", async () => {
    const state = holding(containers);
    await shortcuts.keep(file("swarm"), state, true);
    shortcuts.close();
    const words = "filter add dev port-c ingress prio 7 protocol all bpf bytecode";
    inSwarm("tc", ...words.split(" "), "1,6 0 0 0,");
    shortcuts = new Shortcuts({ thread, kind: "frames", isWanted: false, log: silentLog });
    await shortcuts.keep(file("swarm"), state, true);
    for (const name of containers) {
      for (const side of ["ingress", "egress"]) equal(programs(`port-${name}`, side), 0);
    }
    const rooms = inSwarm("tc", "qdisc", "show").match(/clsact .* dev \S+/g) ?? [];
    equal(rooms.length, 1, `${rooms}`);
    match(inSwarm("tc", "filter", "show", "dev", "port-c", "ingress"), /pref 7 bpf .*bytecode/);
    const before = { led: led(), received: received("b") };
    send("a", address("b"), many);
    ok(received("b") - before.received >= many);
    ok(led() - before.led >= many);
  });

  it("belong together after the next start of the daemon, whose programs have taken the places", async () => {
    const state = holding(containers);
    await shortcuts.keep(file("swarm"), holding(["a"]), true);
    shortcuts.close();
    shortcuts = new Shortcuts({ thread, kind: "frames", isWanted: true, log: silentLog });
    await shortcuts.keep(file("swarm"), state, true);
    for (const name of containers) equal(programs(`port-${name}`), 1);
    ok(ping(file("a"), address("b")));
    const before = led();
    send("a", address("b"), many);
    ok(led() - before < many / 2);
  });
});

/** What a namespace with a bridge and these ports holds. */
function holding(names: readonly Name[]): SpaceState {
  const links = names.map(
    (name): Link => ({
      ...{ name: `port-${name}`, kind: "veth", mtu: 1500, mac: "", master: bridge },
      ...{ hairpin: false, peer: undefined, vxlan: undefined },
    }),
  );
  return spaceState({ links });
}
