/**
 * The data path through faults of its surroundings: a node that is cut off, the device to the other nodes with another MTU or
 * gone for a while, firewalls that flush rules or close forwarding, garbage and floods of questions, clocks that are off,
 * hosts that lose their power while no manager is there, and nodes that have IPv6 alone.
 *
 * After each: published ports answer on every node over TCP and UDP, IPv4 and IPv6, with the caller's address; names lead to
 * exactly what lives, by containerd and kernel of each host; and every container that asks reaches every server itself and by
 * the service's address. `SKEP_FAULT_CUT_MS` and `SKEP_FAULT_DNS` make it longer.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { attach } from "../../src/playground/lab.ts";
import { shiftedClock } from "../../src/playground/playground.ts";
import { run } from "../../src/playground/run.ts";
import { HostContainers, type LivingContainer } from "../support/host-containers.ts";
import { NameAsker } from "../support/name-asker.ts";
import { OutsideClient } from "../support/outside.ts";
import type { Target } from "../support/outside-client.ts";
import { pushTestImagesTo } from "../support/registry.ts";
import { TaskLab } from "../support/task-lab.ts";
import { until } from "../support/wait.ts";

const workers = ["w1", "w2"];
const hosts = ["m1", ...workers];
const port = 8080;
const subnet = "10.198.8.";
const cutMs = Number(process.env["SKEP_FAULT_CUT_MS"] ?? 2000);
/** Questions of a flood. */
const floodOf = Number(process.env["SKEP_FAULT_DNS"] ?? 20_000);

describe("network faults", function () {
  this.timeout(300_000 + cutMs);
  let lab: TaskLab;
  let client: OutsideClient;
  let containers: HostContainers;
  let labPid = 0;
  /** Address of the service. */
  let serviceAddress = "";
  /** Hosts that are on. */
  let on: readonly string[] = hosts;
  /** Families of addresses that nodes have. */
  let families: readonly (4 | 6)[] = [4, 6];
  const askers = new Map<string, NameAsker>();

  before(async () => {
    lab = await TaskLab.up("skep-e2e-net-faults", { managers: ["m1"], workers });
    labPid = lab.swarm.playground.labPid() ?? 0;
    await pushTestImagesTo(lab.registry.address, { networkOf: labPid, also: "echo" });
    client = await OutsideClient.start({ labPid, name: "outside", address: "10.77.0.101" });
    containers = new HostContainers(lab.swarm.playground);
    await createAll();
    await isWell("the start", 60_000);
  });

  after(async () => {
    for (const asker of askers.values()) asker.close();
    containers?.close();
    await client?.stop();
    await lab?.down();
  });

  /** A server on each worker, and a container that asks on each node. */
  async function createAll(): Promise<void> {
    const network = ["network", "create", "-d", "overlay", "--subnet", `${subnet}0/24`, "net-f"];
    await lab.swarm.docker("m1", network);
    const service = ["service", "create", "--detach", "--no-resolve-image", "--mode", "global"];
    const flags = ["--network", "net-f", "--stop-grace-period", "1s", "--restart-delay", "100ms"];
    const published = ["tcp", "udp"].flatMap((protocol) => [
      ...["--publish", `published=${port},target=80,protocol=${protocol}`],
    ]);
    const only = ["--constraint", "node.role==worker", "--name", "web"];
    await lab.swarm.docker("m1", [
      ...[...service, ...flags, ...published, ...only, lab.image("echo:1")],
    ]);
    const asks = ["--name", "asks", lab.image(), "sleep", "36000"];
    await lab.swarm.docker("m1", [...service, ...flags, ...asks]);
    const format = `{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}`;
    const found = await until(
      async () => {
        const said = await lab.swarm.docker("m1", [
          ...["service", "inspect", "--format", format, "web"],
        ]);
        return said.split(" ").find((address) => address.startsWith(subnet));
      },
      { withinMs: 60_000, what: "the service has an address" },
    );
    serviceAddress = found.split("/")[0] ?? "";
  }

  const host = (name: string) => lab.swarm.playground.node(name);
  const inHost = (name: string, ...words: string[]) => lab.swarm.playground.exec(name, words);

  async function works(name: string, ...words: string[]): Promise<void> {
    const { code, stderr } = await inHost(name, ...words);
    equal(code, 0, `${words.join(" ")}: ${stderr}`);
  }

  /** Every way to the published port that there is. */
  function everyWay(): Target[] {
    return on.flatMap((name) => {
      const last = host(name).address.split(".").at(-1);
      return families.flatMap((family) =>
        (["tcp", "udp"] as const).map((protocol) => {
          const address = family === 4 ? `10.77.0.${last}` : `fd77::${last}`;
          return { protocol, host: address, port };
        }),
      );
    });
  }

  async function wrongPorts(): Promise<string[]> {
    const calls = everyWay().map(async (target) => {
      const way = `${target.protocol} ${target.host}`;
      try {
        const { address } = await client.call(target, 3000);
        const own = target.host.includes(":") ? client.address6 : client.address;
        return address === own ? [] : [`${way}: told of ${address}`];
      } catch (error) {
        return [`${way}: ${error}`];
      }
    });
    return (await Promise.all(calls)).flat();
  }

  function inNetwork({ addresses }: LivingContainer): string {
    return addresses.find((address) => address.startsWith(subnet)) ?? "";
  }

  async function askerOf({ proc }: LivingContainer): Promise<NameAsker> {
    const asker = askers.get(proc) ?? (await NameAsker.in(`${proc}/ns/net`));
    askers.set(proc, asker);
    return asker;
  }

  /** What a container's names and calls come to that should not be. */
  async function wrongWithin(
    one: LivingContainer,
    servers: readonly LivingContainer[],
  ): Promise<string[]> {
    const asker = await askerOf(one);
    const expected = [
      ["tasks.web", servers.map(inNetwork).sort()],
      ["web", [serviceAddress]],
    ] as const;
    const names = expected.map(async ([name, addresses]) => {
      const found = await asker.ask(name);
      return `${found}` === `${addresses}` ? [] : [`${name} on ${one.host}: ${found}`];
    });
    const calls = [...servers.map(inNetwork), serviceAddress].map(async (address) => {
      const words = ["nsenter", `--net=${one.proc}/ns/net`, "busybox", "nc", "-w", "2"];
      const input = "GET / HTTP/1.0\r\n\r\n";
      const { stdout, stderr } = await run([...words, address, "80"], { input });
      const isRight = stdout.includes(` ${inNetwork(one)} `);
      return isRight ? [] : [`${one.host} to ${address}: ${stdout.trim()} ${stderr.trim()}`];
    });
    return (await Promise.all([...names, ...calls])).flat();
  }

  async function wrong(): Promise<string[]> {
    const all = await containers.all(on);
    if (all === undefined) return ["containerd and kernel differ"];
    const of = (service: string) => all.filter(({ name }) => name.startsWith(`${service}.`));
    const [servers, asking] = [of("web"), of("asks")];
    if (servers.length !== on.filter((name) => workers.includes(name)).length) {
      return [`${servers.length} servers`];
    }
    if (asking.length !== on.length) return [`${asking.length} containers that ask`];
    const inside = asking.map((one) => wrongWithin(one, servers));
    return (await Promise.all([wrongPorts(), ...inside])).flat();
  }

  /** Waits until everything is as it should be. */
  async function isWell(after: string, withinMs: number): Promise<void> {
    let found: string[] = [];
    await until(
      async () => {
        found = await wrong();
        return found.length === 0;
      },
      {
        withinMs,
        everyMs: 100,
        get what() {
          return `all is well after ${after}: ${found.join("; ")}`;
        },
      },
    );
  }

  it("goes on when a node was cut off", async () => {
    await lab.swarm.playground.partition(["w2"]);
    await new Promise((resolve) => setTimeout(resolve, cutMs));
    // Whoever is not cut off answers there, too; what was led to the other one has to be asked again.
    const target = { protocol: "udp", host: host("w1").address, port } as const;
    await until(async () => (await client.call(target, 500)).server, {
      withinMs: 60_000,
      what: "the others answer",
    });
    await lab.swarm.playground.heal();
    await isWell("a cut", 60_000);
  });

  it("follows the MTU of the device to the other nodes", async () => {
    const mtus = async () => {
      const all = (await containers.on("w1")) ?? [];
      const read = all.map(async ({ proc }) => {
        const link = ["nsenter", `--net=${proc}/ns/net`, "ip", "-o", "link", "show", "ov0"];
        return / mtu (\d+) /.exec((await run(link)).stdout)?.[1];
      });
      return [...new Set(await Promise.all(read))];
    };
    const set = async (mtu: number) => {
      const inLab = ["nsenter", `--net=/proc/${labPid}/ns/net`, "ip", "link", "set", "w1"];
      equal((await run([...inLab, "mtu", `${mtu}`])).code, 0);
      await works("w1", "ip", "link", "set", "eth0", "mtu", `${mtu}`);
      await until(async () => `${await mtus()}` === `${mtu - 50}`, {
        withinMs: 60_000,
        what: `containers have an MTU of ${mtu - 50}`,
      });
    };
    deepEqual(await mtus(), ["1450"]);
    await set(1400);
    await isWell("another MTU", 60_000);
    await manyBytes();
    await set(1500);
    await isWell("the old MTU", 60_000);
  });

  /** More than fits a packet goes from each worker's container to the other's. */
  async function manyBytes(): Promise<void> {
    const all = ((await containers.all(hosts)) ?? []).filter(({ name }) => /^asks/.test(name));
    const [from, to] = workers.map((name) => all.find((one) => one.host === name));
    ok(from !== undefined && to !== undefined);
    for (const [a, b] of [
      [from, to],
      [to, from],
    ] as const) {
      const within = (one: LivingContainer, script: string) =>
        run(["nsenter", `--net=${one.proc}/ns/net`, "sh", "-c", script], { timeoutMs: 30_000 });
      // The one who listens says how many came.
      const heard = within(b, "busybox nc -l -p 7000 -e busybox wc -c");
      let said = "";
      await until(
        async () => {
          const send = `head -c 3000000 /dev/zero | busybox nc -w 10 ${inNetwork(b)} 7000`;
          said = (await within(a, send)).stdout.trim();
          return said !== "";
        },
        { withinMs: 60_000, what: "somebody listens" },
      );
      equal(said, "3000000");
      await heard;
    }
  }

  it("goes on when the device to the other nodes was gone", async () => {
    await works("w1", "ip", "link", "del", "eth0");
    const target = { protocol: "tcp", host: host("w2").address, port } as const;
    await until(async () => (await client.call(target, 1000)).server, {
      withinMs: 60_000,
      what: "the others answer",
    });
    const { hostPid = 0, address } = host("w1");
    await attach({ labPid, hostPid, node: "w1", address, cut: false });
    await isWell("a lost device", 60_000);
  });

  it("is repaired when a firewall flushes rules and closes forwarding", async () => {
    await works("w1", "nft", "flush", "ruleset");
    for (const program of ["iptables", "ip6tables"]) {
      await works("m1", program, "-P", "FORWARD", "DROP");
      await works("w2", program, "-A", "FORWARD", "-j", "REJECT");
    }
    await isWell("a firewall", 60_000);
    // And again, as what was put beside the firewall's rules is flushed with them.
    for (const name of ["m1", "w2"]) {
      await works(name, "iptables", "-F");
      await works(name, "nft", "flush", "ruleset");
    }
    await isWell("another flush", 60_000);
  });

  it("answers others while a container sends garbage and floods of questions", async () => {
    const all = await until(() => containers.on("w1"), { withinMs: 60_000, what: "containers" });
    const [mad, calm] = ["asks", "web"].map((s) => all.find(({ name }) => name.startsWith(s)));
    ok(mad !== undefined && calm !== undefined);
    const [flood, asker] = [await askerOf(mad), await askerOf(calm)];
    const sorry: (string[] | undefined)[] = [];
    for (let sent = 0; sent < floodOf; sent += 500) {
      for (let i = 0; i < 500; i++) flood.send(garbage(sent + i));
      sorry.push(await asker.ask("web"));
    }
    // All share one socket: a question may be lost, and programs ask again.
    const answered = sorry.filter((found) => `${found}` === serviceAddress).length;
    ok(answered > sorry.length / 2, `${answered} of ${sorry.length} answered`);
    await isWell("a flood", 60_000);
  });

  it("does not depend on what time it is", async () => {
    for (const shift of ["+30d", "-30m"]) {
      await lab.swarm.playground.killDaemon("w1");
      await lab.swarm.playground.startNode("w1", { env: shiftedClock(shift) });
      const before = await lab.tasks("m1", "web");
      const ids = before.map(({ id }) => id);
      await lab.swarm.docker("m1", ["service", "update", "--detach", "--force", "web"]);
      await until(
        async () => {
          const now = (await lab.tasks("m1", "web")).filter(({ desired }) => desired === "Running");
          return (
            now.length === 2 &&
            now.every(({ id, state }) => !ids.includes(id) && /^Run/.test(state))
          );
        },
        { withinMs: 60_000, everyMs: 200, what: `the update with a clock of ${shift}` },
      );
      await isWell(`a clock of ${shift}`, 60_000);
    }
    await lab.swarm.playground.killDaemon("w1");
    await lab.swarm.playground.startNode("w1", { env: {} });
    await isWell("the right time", 60_000);
  });

  it("is there again after the power failed everywhere, without a manager", async () => {
    for (const name of hosts) await lab.swarm.playground.killNode(name);
    closeAll();
    await Promise.all(workers.map((name) => lab.swarm.playground.startNode(name)));
    on = workers;
    await isWell("a start without managers", 60_000);
    await lab.swarm.playground.startNode("m1");
    on = hosts;
    await isWell("the managers' start", 60_000);
  });

  it("connects nodes that have IPv6 alone", async () => {
    await lab.swarm.docker("m1", ["service", "rm", "web", "asks"]);
    await lab.swarm.disband();
    for (const name of hosts) await works(name, "ip", "-4", "addr", "flush", "dev", "eth0");
    const six = (name: string) => `fd77::${host(name).address.split(".").at(-1)}`;
    await lab.swarm.docker("m1", ["swarm", "init", "--advertise-addr", six("m1")]);
    const token = await lab.swarm.token("m1", "worker");
    for (const name of workers) {
      const join = ["swarm", "join", "--token", token, "--advertise-addr", six(name)];
      await lab.swarm.docker(name, [...join, `[${six("m1")}]:2377`]);
    }
    families = [6];
    closeAll();
    await createAll();
    await isWell("the start over IPv6", 60_000);
  });

  function closeAll(): void {
    for (const asker of askers.values()) asker.close();
    askers.clear();
  }
});

/** Bytes that look more or less like a question. */
function garbage(number: number): Buffer {
  const bytes = Buffer.alloc(12 + (number % 500), number);
  // Half of them ask for one name, whatever follows.
  if (number % 2 === 0) bytes.set([0, number & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return bytes;
}
