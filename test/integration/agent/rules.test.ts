/**
 * The rules of the data path in a kernel: three hosts, tasks on two of them, and a client outside, as bare network namespaces.
 */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { compareTable, readTable } from "../../../agent/network/explain/tables.ts";
import { RulesApplier } from "../../../agent/network/nft/applier.ts";
import { ForwardKeeper } from "../../../agent/network/nft/forward-keeper.ts";
import { type GuardRules, guardTable, portTable } from "../../../agent/network/nft/host-tables.ts";
import { ProcessNftables, ThreadNftables } from "../../../agent/network/nft/library.ts";
import {
  type MeshPort,
  type MeshRules,
  meshTable,
  returnTable,
} from "../../../agent/network/nft/mesh-table.ts";
import { wholeTable } from "../../../agent/network/nft/table.ts";
import {
  type TaskRules,
  type TaskTable,
  taskTable,
} from "../../../agent/network/nft/task-table.ts";
import {
  ingress6Of,
  macOf,
  meshVni,
  transitMac,
  vxlanPort,
  vxlanPortsOf,
} from "../../../agent/network/pools.ts";
import { hasCode } from "../../../src/common/errors/cluster-error.ts";
import { newLog, silentLog } from "../../../src/common/log/log.ts";
import {
  batch,
  forgedFrame,
  type LabHost,
  labClient,
  labVni,
  NetworkLab,
  type Probe,
  run,
} from "../../support/network-lab.ts";
import { until } from "../../support/wait.ts";
import { cases } from "../../unit/agent/network/nft/cases.ts";

const vip = "10.0.1.200";
const vip6 = "fd01::200";
const entrance = { address: "172.19.0.2", address6: "fd19::2" };

describe("agent/network/nft in a kernel", () => {
  const warnings: string[] = [];
  const log = newLog((line) => warnings.push(line), { level: "warn" });
  const nftables = new ThreadNftables({ log });
  const applier = new RulesApplier({ nftables, log: silentLog });
  let served: TaskTable | undefined;
  const lab = new NetworkLab();
  let one: LabHost;
  let two: LabHost;
  let client: Probe;
  let tasks: readonly [Probe, Probe];
  let hostProbe: Probe;

  before(async () => {
    [one, two] = lab.build();
    client = await lab.probe(lab.client);
    tasks = [await lab.probe(one.task), await lab.probe(two.task)];
    hostProbe = await lab.probe(one.host);
    await Promise.all([
      tasks[0].serve(80, "one"),
      tasks[1].serve(80, "two"),
      ...lab.hosts.map((host) => applier.apply(host.host, guardTable(guard()))),
      ...lab.hosts.map((host) => applier.apply(host.host, ports())),
      mesh(bothTasks()),
    ]);
  });

  after(async () => {
    await applier.close();
    await lab.remove();
  });

  it("takes every text that is generated, and finds no difference in what it lists then", async () => {
    const space = lab.client;
    batch(space, ["link add vx-ing type bridge"]);
    for (const [name, table] of cases) {
      run(space, ["nft", "-f", "-"], wholeTable(table));
      const listing = run(space, ["nft", "-j", "list", "table", table.family, table.name]);
      deepEqual(compareTable(table, readTable(listing)).differences, [], name);
      run(space, ["nft", "delete", "table", table.family, table.name]);
    }
    batch(space, ["link del vx-ing"]);
  });

  it("speaks to the kernel without processes", () => {
    deepEqual(warnings, []);
  });

  describe("published ports", () => {
    for (const protocol of ["tcp", "udp"] as const) {
      for (const family of ["address", "address6"] as const) {
        it(`show the client's own address over ${protocol}, ${family}, at each host`, async () => {
          for (const host of lab.hosts) {
            const answers = await client.call({
              protocol,
              host: host[family],
              port: 8080,
              count: 40,
            });
            equal(answers.length, 40);
            deepEqual(wordsOf(answers, 1), [labClient[family]]);
            deepEqual(wordsOf(answers, 0), ["one", "two"]);
          }
        });
      }
    }

    it("serve one client port through three hosts at once", async () => {
      const onlyTwo = bothTasks().map((port) => ({ ...port, backends: port.backends.slice(1, 2) }));
      await mesh(onlyTwo);
      const opened = [];
      for (const host of lab.hosts) {
        opened.push(await client.open({ host: host.address, port: 8080, localPort: 40_000 }));
      }
      for (const stream of opened) {
        match(await client.say(stream, "hello"), /^two 10\.99\.0\.101 \d+ /);
      }
      await mesh(bothTasks());
    });

    it("are refused at once when no task is ready, and over UDP, too", async () => {
      await mesh(bothTasks().map((port) => ({ ...port, backends: [] })));
      for (const host of [one.address, two.address6]) {
        deepEqual(await client.call({ host, port: 8080 }), ["ECONNREFUSED"]);
        const socket = await client.openUdp(host, 8080);
        equal(await client.sayUdp(socket, "x").catch(String), "Error: ECONNREFUSED");
      }
      await mesh(bothTasks());
    });

    it("hide the client on demand", async () => {
      await mesh(bothTasks().map((port) => ({ ...port, sourceNat: true })));
      const answers = await client.call({ host: one.address, port: 8080, count: 40 });
      deepEqual(wordsOf(answers, 1), ["10.254.0.1", "172.18.0.1"]);
      await mesh(bothTasks());
    });

    it("keep a client at one task on demand, through whichever host", async () => {
      await mesh(bothTasks().map((port) => ({ ...port, affinity: true })));
      const answers = [];
      for (const host of lab.hosts) {
        answers.push(...(await client.call({ host: host.address, port: 8080, count: 8 })));
      }
      equal(wordsOf(answers, 0).length, 1);
      await mesh(bothTasks());
    });

    it("answer the host itself and tasks, by each address", async () => {
      for (const host of ["127.0.0.1", one.address, two.address]) {
        const answers = await hostProbe.call({ host, port: 8080, count: 40 });
        deepEqual(wordsOf(answers, 0), ["one", "two"], host);
      }
      for (const host of [one.address, two.address]) {
        const answers = await tasks[0].call({ host, port: 8080, count: 40 });
        deepEqual(wordsOf(answers, 0), ["one", "two"], host);
      }
    });

    it("find their way with very many nodes", async () => {
      for (const host of lab.hosts) {
        for (const family of ["-4", "-6"]) {
          const others = lab.hosts.filter((other) => other !== host);
          const rules = [
            ...others.map((other) => `rule del pref ${1_000 + other.number}`),
            "rule add pref 999 fwmark 0x10000/0x10000 lookup 999",
          ];
          batch(host.swarm, rules, family);
        }
        batch(host.swarm, [
          "neigh replace 10.254.255.254 lladdr 02:00:00:00:00:01 dev vx-ing nud permanent",
          "neigh replace fd54::ffff lladdr 02:00:00:00:00:01 dev vx-ing nud permanent",
          "route replace default via 10.254.255.254 dev vx-ing table 999 onlink",
          "route replace default via fd54::ffff dev vx-ing table 999 onlink",
        ]);
      }
      const others = Array.from({ length: 100 }, (_, n) => 1_000 + n);
      await mesh(bothTasks(), others);
      for (const { address, address6 } of lab.hosts) {
        for (const host of [address, address6]) {
          const answers = await client.call({ host, port: 8080, count: 40 });
          deepEqual(wordsOf(answers, 1), [
            host === address ? labClient.address : labClient.address6,
          ]);
          deepEqual(wordsOf(answers, 0), ["one", "two"]);
        }
      }
    });
  });

  describe("ports of one host", () => {
    it("lead to the container, from outside and from the host, by the address they are bound to", async () => {
      const call = (probe: Probe, host: string, port: number) =>
        probe.call({ host, port }).then((answers) => answers[0]);
      match((await call(client, one.address, 81)) ?? "", /^one 10\.99\.0\.101 /);
      match((await call(client, one.address6, 81)) ?? "", /^one fd99::101 /);
      match((await call(hostProbe, "127.0.0.1", 82)) ?? "", /^one 172\.19\.0\.1 /);
      match((await call(tasks[0], one.address, 81)) ?? "", /^one 172\.19\.0\.1 /);
      equal(await call(client, one.address, 82), "ECONNREFUSED");
      equal(await call(client, one.address6, 82), "ECONNREFUSED");
    });

    it("lead a container back to itself, also one whose address is not translated", async () => {
      await applier.apply(one.host, ports([`${one.mesh}/32`]));
      match((await tasks[0].call({ host: one.address, port: 81 }))[0] ?? "", /^one 172/);
      await applier.apply(one.host, ports());
    });
  });

  describe("service addresses", () => {
    const balance = (backends: readonly string[], backends6: readonly string[] = []) =>
      services({
        services: [
          { address: vip, backends, affinity: false },
          { address: vip6, backends: backends6, affinity: false },
        ],
        dns: undefined,
      });

    it("spread connections evenly", async () => {
      const { overlay } = two;
      await balance(overlay);
      const count = 1_000;
      const answers = await tasks[0].call({ host: vip, port: 80, count });
      const shares = overlay.map((one) => answers.filter((a) => a.split(" ")[3] === one).length);
      equal(
        shares.reduce((sum, share) => sum + share),
        count,
      );
      // More than seven times the deviation that chance has: exceeded once in 10^12 runs.
      for (const share of shares) ok(Math.abs(share - count / 4) < count / 10, shares.join(" "));
      deepEqual(wordsOf(answers, 1), [one.overlay[0]]);
    });

    it("work over UDP and IPv6", async () => {
      await balance(two.overlay.slice(0, 1), [two.overlay6]);
      for (const host of [vip, vip6]) {
        for (const protocol of ["tcp", "udp"] as const) {
          match((await tasks[0].call({ host, port: 80, protocol }))[0] ?? "", /^two /);
        }
      }
    });

    it("let open streams end when their backend leaves, and lead new ones to the others", async () => {
      const [first = "", second = "", ...rest] = two.overlay;
      await balance([first, second]);
      const streams = await Promise.all(
        Array.from({ length: 4 }, () => tasks[0].open({ host: vip, port: 80 })),
      );
      const before = await Promise.all(streams.map((stream) => tasks[0].say(stream, "before")));
      await balance(rest);
      const answers = await tasks[0].call({ host: vip, port: 80, count: 100 });
      deepEqual(wordsOf(answers, 3), [...rest]);
      await balance([]);
      const after = await Promise.all(streams.map((stream) => tasks[0].say(stream, "before")));
      deepEqual(after, before);
    });

    it("are refused at once when no task is ready", async () => {
      await balance([]);
      for (const host of [vip, vip6]) {
        deepEqual(await tasks[0].call({ host, port: 80 }), ["ECONNREFUSED"]);
        const socket = await tasks[0].openUdp(host, 80);
        equal(await tasks[0].sayUdp(socket, "x").catch(String), "Error: ECONNREFUSED");
      }
    });

    it("lead UDP flows elsewhere when their backend leaves", async () => {
      await balance([two.overlay[0] ?? ""], [two.overlay6]);
      const streams = [await tasks[0].openUdp(vip, 80), await tasks[0].openUdp(vip6, 80)];
      for (const stream of streams) match(await tasks[0].sayUdp(stream, "x"), /^two /);
      await balance([one.overlay[0] ?? ""], [one.overlay6]);
      for (const stream of streams) {
        await until(async () => /^one /.test(await tasks[0].sayUdp(stream, "x")), {
          withinMs: 60_000,
          what: "the flow is led elsewhere",
        });
      }
    });

    it("lose no connection while rules are replaced", async () => {
      const { overlay } = two;
      await balance(overlay);
      let calling = true;
      const calls = tasks[0].call({ host: vip, port: 80, count: 300 }).finally(() => {
        calling = false;
      });
      for (let round = 0; calling; round++) await balance(overlay.slice(round % 3));
      deepEqual(wordsOf(await calls, 0), ["two"]);
    });
  });

  describe("the filter", () => {
    it("tracks connections between tasks, not the packets of the overlay around them", async () => {
      const meshed = { protocol: "udp", host: one.address, port: 8080 } as const;
      const heard = await Promise.all(Array.from({ length: 40 }, () => client.call(meshed)));
      deepEqual([...new Set(heard.map(([text]) => text?.split(" ")[0]))].sort(), ["one", "two"]);
      const tracked = lab.hosts.map(({ host }) => run(host, ["cat", "/proc/net/nf_conntrack"]));
      match(tracked[0] ?? "", /dport=8080/);
      equal(tracked.join("").includes(`dport=${vxlanPort} `), false);
    });

    it("keeps forged overlay packets of strangers and of containers out", async () => {
      const forge = async (probe: Probe, text: string) => {
        await probe.send({ host: two.address, port: vxlanPort, hex: ofOverlay(two, text) });
        await probe.send({ host: two.address, port: vxlanPort, hex: ofMesh(two, text) });
      };
      await Promise.all(lab.hosts.map((host) => applier.remove(host.host, guard())));
      await forge(client, "open");
      await forge(tasks[0], "from a container");
      await afterwards();
      deepEqual(
        (await tasks[1].heard()).filter((text) => text === "open" || text === "from a container"),
        ["open", "open", "from a container", "from a container"],
      );
      await Promise.all(lab.hosts.map((host) => applier.apply(host.host, guardTable(guard()))));
      await forge(client, "filtered");
      await forge(tasks[0], "filtered");
      await afterwards();
      equal((await tasks[1].heard()).includes("filtered"), false);
    });

    it("lets nobody outside route himself to a task", async () => {
      batch(lab.client, [`route add 10.255.0.0/16 via ${one.address}`]);
      const direct = { host: one.mesh, port: 80, protocol: "udp" } as const;
      await client.send({ host: one.mesh, port: 80, hex: Buffer.from("direct").toString("hex") });
      match(
        (await client.call({ ...direct, host: one.address, port: 8080 }))[0] ?? "",
        /^(one|two) /,
      );
      equal((await tasks[0].heard()).includes("direct"), false);
      batch(lab.client, ["route del 10.255.0.0/16"]);
    });

    it("lets a task reach others only by published ports", async () => {
      const { mesh: address } = two;
      await tasks[0].send({ host: address, port: 80, hex: Buffer.from("direct").toString("hex") });
      await afterwards();
      equal((await tasks[1].heard()).includes("direct"), false);
    });
  });

  describe("a host that forwards nothing", () => {
    const keeper = () =>
      new ForwardKeeper({
        nftables,
        log: silentLog,
        device: "sw-up",
        ownPrefix: "skep_t",
        namespace: one.host,
      });
    const saved = () => run(one.host, ["iptables", "-S"]);
    const answer = async () =>
      (await client.call({ protocol: "udp", host: one.address, port: 8080 }))[0]?.split(" ")[1];

    it("is opened for containers, by rules that go again", async () => {
      run(one.host, ["iptables", "-P", "FORWARD", "DROP"]);
      const before = saved();
      deepEqual(await keeper().ensure(), []);
      equal(await answer(), labClient.address);
      const opened = saved();
      await keeper().ensure();
      equal(saved(), opened);
      await keeper().remove();
      equal(saved(), before);
      run(one.host, ["iptables", "-P", "FORWARD", "ACCEPT"]);
    });

    it("is opened beside Docker where Docker leaves room", async () => {
      for (const words of ["-P FORWARD DROP", "-N DOCKER-USER", "-I FORWARD -j DOCKER-USER"]) {
        run(one.host, ["iptables", ...words.split(" ")]);
      }
      await keeper().ensure();
      match(saved(), /-A DOCKER-USER -i sw-up /);
      equal(await answer(), labClient.address);
      await keeper().remove();
      run(one.host, ["nft", "delete", "table", "ip", "filter"]);
    });

    it("is explained where no rule of ours belongs", async () => {
      const base = "{ type filter hook forward priority 0; policy drop; }";
      run(one.host, ["nft", "-f", "-"], `table inet own {\n chain c_forward ${base}\n}\n`);
      match((await keeper().ensure())[0] ?? "", /^chain c_forward of table inet own drops /);
      run(one.host, ["nft", "delete", "table", "inet", "own"]);
      deepEqual(await keeper().ensure(), []);
    });

    it("is left alone when it is open", async () => {
      equal(run(one.host, ["nft", "list", "tables"]).includes("filter"), false);
    });
  });

  describe("the applier", () => {
    it("finds and repairs what others changed", async () => {
      const { task } = one;
      await services({ services: [], dns: undefined });
      deepEqual(await applier.check(), []);
      run(task, ["nft", "flush", "chain", "inet", "skep", "c_out"]);
      run(task, ["nft", "add", "rule", "inet", "skep", "c_post", "accept"]);
      run(two.host, ["nft", "flush", "ruleset"]);
      const found = await applier.check();
      deepEqual(found.map((drift) => drift.table).sort(), [
        "inet skep",
        "inet skep_t_guard",
        "inet skep_t_ports",
      ]);
      deepEqual(await applier.check(), []);
    });

    it("does the same by processes", async () => {
      const { task } = two;
      const slow = new RulesApplier({ nftables: new ProcessNftables(), log: silentLog });
      const [, table = taskTable({ services: [], dns: undefined })] = cases[1] ?? [];
      await slow.apply(task, table);
      deepEqual(await slow.check(), []);
      run(task, ["nft", "flush", "chain", "inet", "skep", "c_out"]);
      equal((await slow.check())[0]?.found, "chain c_out has 0 rules instead of 6");
      deepEqual(await slow.check(), []);
      const wrong = {
        ...table,
        name: "wrong",
        chains: new Map([["c", { hook: "", rules: ["?"] }]]),
      };
      await rejects(slow.apply(task, wrong), (error) => hasCode(error, "failed-precondition"));
      await slow.remove(task, table);
      equal(run(task, ["nft", "list", "tables"]), "");
    });

    it("leaves the tables of others alone", async () => {
      const { task } = one;
      run(task, ["nft", "add", "table", "inet", "other"]);
      await applier.remove(task, { family: "inet", name: "skep" });
      equal(run(task, ["nft", "list", "tables"]), "table inet other\n");
      run(task, ["nft", "delete", "table", "inet", "other"]);
    });
  });

  /** Answers that took the same way as what was sent before are behind it. */
  async function afterwards(): Promise<void> {
    await client.call({ host: one.address, port: 8080, protocol: "udp", count: 40 });
    await client.call({ host: two.address, port: 8080, protocol: "udp", count: 40 });
  }

  function bothTasks(): MeshPort[] {
    const addresses = [one.mesh, two.mesh];
    const backends = [...addresses, ...addresses.map(ingress6Of)];
    const both = { published: 8080, target: 80, backends, affinity: false, sourceNat: false };
    return [
      { protocol: "tcp", ...both },
      { protocol: "udp", ...both },
    ];
  }

  async function mesh(ports: readonly MeshPort[], others: readonly number[] = []): Promise<void> {
    await Promise.all(
      lab.hosts.flatMap((host) => {
        const rules = meshRulesOf(host, { ports, others });
        const back = returnTable(rules);
        const tables = back === undefined ? [] : [applier.apply(host.swarm, back)];
        return [applier.apply(host.swarm, meshTable(rules)), ...tables];
      }),
    );
  }

  function meshRulesOf(
    host: LabHost,
    o: { ports: readonly MeshPort[]; others: readonly number[] },
  ): MeshRules {
    return {
      names: { mesh: "skep_t_mesh", return: "skep_t_return" },
      devices: { uplink: "up0", gateway: "gw0", mesh: "vx-ing", bridges: [] },
      entrance,
      peers: [...lab.hosts.map((one) => one.number).filter((n) => n !== host.number), ...o.others],
      ports: o.ports,
      outward: [host.mesh, ingress6Of(host.mesh)],
      inner: ["10.255.0.0/16", "fd55::/64"],
      dns: undefined,
    };
  }

  function ports(untranslated: readonly string[] = []) {
    const binding = {
      protocol: "tcp",
      addresses: [one.mesh, ingress6Of(one.mesh)],
      containerPort: 80,
    } as const;
    return portTable({
      name: "skep_t_ports",
      uplink: "sw-up",
      entrance,
      published: [
        { protocol: "tcp", port: 8080, at: undefined },
        { protocol: "udp", port: 8080, at: undefined },
      ],
      bindings: [
        { ...binding, hostAddress: "", hostPort: 81 },
        { ...binding, hostAddress: "127.0.0.1", hostPort: 82 },
      ],
      untranslated,
    });
  }

  function guard(): GuardRules & { family: "inet" } {
    const peers = lab.hosts.map((host) => host.address);
    const name = "skep_t_guard";
    const none = { wireguard: undefined, ports: vxlanPortsOf(0) };
    return { family: "inet", name, uplink: "sw-up", ...none, peers };
  }

  async function services(rules: TaskRules): Promise<void> {
    const space = one.task;
    served = taskTable(rules, served);
    await applier.apply(space, served);
  }
});

function ofOverlay(host: LabHost, text: string): string {
  const [to = ""] = host.overlay;
  return forgedFrame({ vni: labVni, mac: macOf(to), from: "10.0.1.99", to, port: 80, text });
}

function ofMesh(host: LabHost, text: string): string {
  const mac = transitMac(host.number);
  return forgedFrame({ vni: meshVni, mac, from: "10.99.9.9", to: host.mesh, port: 80, text });
}

/** The distinct words at one place of the answers, in order. */
function wordsOf(answers: readonly string[], place: number): string[] {
  return [...new Set(answers.map((answer) => answer.split(" ")[place] ?? answer))].sort();
}
