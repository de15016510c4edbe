/**
 * What is told of a service that is not reached, and in which order. Nodes are m1, w1 (with task web.1) and w2 (with asks.1).
 */
import { deepEqual, equal, match } from "node:assert/strict";
import type { NodeLook, ProbeResult } from "../../../../../src/common/container/data-path.ts";
import type { NodeAnswer } from "../../../../../src/engine/explain/ask.ts";
import { findingsOf } from "../../../../../src/engine/explain/findings.ts";
import { explanationToJson } from "../../../../../src/engine/explain/json.ts";
import type { Known } from "../../../../../src/engine/explain/known.ts";
import { plannedNames } from "../../../../../src/engine/explain/names.ts";
import type { NodeFacts, Picture, TaskFacts } from "../../../../../src/engine/explain/picture.ts";
import { type PlannedProbe, plannedProbes } from "../../../../../src/engine/explain/probes.ts";
import { plainLook } from "../../../../support/fake-runtime.ts";

const web: TaskFacts = {
  id: "t1",
  name: "web.1",
  fullName: "web.1.t1",
  nodeId: "w1",
  node: "w1",
  state: "running",
  desiredState: "running",
  ready: true,
  message: "started",
  error: "",
  before: "",
  addresses: new Map([
    ["net", ["10.0.1.3"]],
    ["mesh", ["10.255.0.3"]],
  ]),
};

function node(id: string, address: string, standpoints: NodeFacts["standpoints"] = []): NodeFacts {
  const state = { state: "ready", message: "", isReady: true };
  return { id, name: id, address, ...state, isEntry: true, standpoints };
}

const at = (name: string, address: string, isBackend: boolean) => ({
  name,
  networkId: "net",
  address,
  isBackend,
});
const picture: Picture = {
  subject: { kind: "service", name: "web", id: "s1" },
  serviceId: "s1",
  serviceName: "web",
  mode: "replicated",
  endpointMode: "vip",
  wanted: 1,
  networks: [
    { id: "net", name: "back", encrypted: false, virtualIps: ["10.0.1.2"], names: ["web"] },
  ],
  meshId: "mesh",
  meshEncrypted: false,
  tunnelPort: 4789,
  isBehind: false,
  ports: [
    { name: "", protocol: "tcp", targetPort: 80, publishedPort: 8080, publishMode: "ingress" },
  ],
  boundTo: "",
  tasks: [web],
  focusId: "",
  nodes: [
    node("m1", "10.77.0.11"),
    node("w1", "10.77.0.14", [at("web.1", "10.0.1.3", true)]),
    node("w2", "10.77.0.15", [at("asks.1", "10.0.1.5", false)]),
  ],
  nodesLeftOut: 0,
};

type Outcome = Pick<ProbeResult, "outcome"> & Partial<ProbeResult>;

/** All is well but for what is said. */
function known(
  o: {
    picture?: Partial<Picture>;
    looks?: Readonly<Record<string, Partial<NodeLook>>>;
    silent?: Readonly<Record<string, string>>;
    probes?: (planned: PlannedProbe) => Outcome;
    names?: (name: string) => { addresses?: string[]; error?: string };
  } = {},
): Known {
  const seen = { ...picture, ...o.picture };
  const probes = plannedProbes(seen);
  const names = plannedNames(seen);
  const outcome = (one: PlannedProbe) => o.probes?.(one) ?? { outcome: "open" as const };
  const answers = new Map<string, NodeAnswer>();
  for (const { id, isReady } of seen.nodes) {
    const reason = o.silent?.[id];
    if (reason !== undefined) answers.set(id, { kind: "silent", reason });
    else if (isReady) {
      const look: NodeLook = {
        ...plainLook,
        compared: 100,
        told: ["net", "mesh"].map((networkId) => ({
          serviceId: "s1",
          networkId,
          addresses: seen.tasks.flatMap((task) =>
            task.ready ? (task.addresses.get(networkId) ?? []) : [],
          ),
        })),
        listens: [{ protocol: "tcp", port: 8080 }],
        probes: (probes.get(id) ?? []).map((one) => ({
          ...one,
          ms: 1,
          error: "",
          ...outcome(one),
        })),
        names: (names.get(id) ?? []).map((one) => ({
          ...one,
          addresses: one.expected,
          error: "",
          ...o.names?.(one.name),
        })),
        ...o.looks?.[id],
      };
      answers.set(id, { kind: "look", look });
    }
  }
  return { picture: seen, answers, probes, names };
}

function told(of: Known): string[] {
  return findingsOf(of).map(({ severity, what, remedy }) => `${severity}: ${what}. ${remedy}`);
}

function verdict(of: Known): unknown {
  return explanationToJson(of, findingsOf(of))["Verdict"];
}

describe("src/engine/explain", () => {
  it("finds nothing where all is well", () => {
    const all = known();
    deepEqual(told(all), []);
    equal(
      verdict(all),
      "service web: no fault found: 1 of 1 task ready, 3 nodes as planned, 14 probes answered, 4 names right",
    );
  });

  it("goes every way once, from both ends", () => {
    const ways = [...plannedProbes(picture).values()].flat().map((one) => {
      return `${one.way} ${one.fromNodeId}>${one.toNodeId} ${one.address}:${one.port}`;
    });
    deepEqual(ways.sort(), [
      "address w1> 10.0.1.2:80",
      "address w2> 10.0.1.2:80",
      "back w1>w2 10.0.1.5:1",
      "entry m1>m1 10.77.0.11:8080",
      "entry m1>w1 10.77.0.14:8080",
      "entry w1>w1 10.77.0.14:8080",
      "entry w1>w2 10.77.0.15:8080",
      "entry w2>m1 10.77.0.11:8080",
      "entry w2>w2 10.77.0.15:8080",
      "mesh m1>w1 10.255.0.3:80",
      "mesh w1>w1 10.255.0.3:80",
      "mesh w2>w1 10.255.0.3:80",
      "task w1>w1 10.0.1.3:80",
      "task w2>w1 10.0.1.3:80",
    ]);
  });

  it("tells what is lost between nodes as one fault, with the chain that may keep it back", () => {
    const wall = {
      family: "inet",
      table: "wall",
      chain: "shut",
      hook: "input",
      drops: "some",
    } as const;
    const forward = { ...wall, chain: "on", hook: "forward" };
    const all = known({
      looks: { w1: { foreign: [wall, forward] } },
      probes: ({ fromNodeId: from, toNodeId: to, way }) => {
        const isLocal = from === to && way !== "entry";
        const isLost =
          !isLocal && (way !== "entry" || to !== "w1") && (way !== "address" || from !== "w1");
        return { outcome: isLost ? "silent" : "open" };
      },
    });
    deepEqual(told(all), [
      "fault: 4 of 4 probes between containers of w1 and those of m1, w2 (4789/udp) had no answer, such as from " +
        "the routing mesh of m1 to web.1 on w1, 10.255.0.3:80. " +
        "on w1, chain shut of table inet wall (input) drops some packets; to let 4789/udp pass: " +
        "nft insert rule inet wall shut udp dport 4789 accept",
    ]);
    match(String(verdict(all)), /^service web: 1 fault: 4 of 4 probes between containers of w1/);
  });

  it("names the port and both ends where no chain is known", () => {
    const all = known({
      probes: ({ way, fromNodeId, toNodeId }) => ({
        outcome: (way === "task" || way === "back") && fromNodeId !== toNodeId ? "silent" : "open",
      }),
    });
    const [only = "", ...rest] = told(all);
    deepEqual(rest, []);
    match(
      only,
      /is 4789\/udp let through between w. \(10\.77\.0\.1.\) and w. \(10\.77\.0\.1.\), both ways\?/,
    );
  });

  it("names the port of WireGuard and its last handshakes where networks are encrypted", () => {
    const networks = picture.networks.map((one) => ({ ...one, encrypted: true }));
    const tunnels = [{ nodeId: "w1", endpoint: "10.77.0.14:51820", handshakeAgeS: 300 }];
    const all = known({
      picture: { networks },
      looks: { w2: { tunnels }, w1: { tunnels: [] } },
      probes: ({ way, fromNodeId, toNodeId }) => ({
        outcome: (way === "task" || way === "back") && fromNodeId !== toNodeId ? "silent" : "open",
      }),
    });
    match(told(all)[0] ?? "", /\(51820\/udp\) had no answer/);
    match(
      told(all)[0] ?? "",
      /last handshake: (w1 300 s ago|w2 was never heard of)\. is 51820\/udp/,
    );
  });

  it("says first that there is no leader", () => {
    match(
      told(known({ picture: { isBehind: true } }))[0] ?? "",
      /^fault: the managers have no leader/,
    );
  });

  it("says with which command of iptables its own chains let packets pass", () => {
    const chain = {
      family: "ip",
      table: "filter",
      chain: "INPUT",
      hook: "input",
      drops: "rest",
    } as const;
    const all = known({
      looks: { w1: { foreign: [chain] } },
      probes: ({ way, fromNodeId, toNodeId }) => ({
        outcome: way === "mesh" && fromNodeId !== toNodeId ? "silent" : "open",
      }),
    });
    match(
      told(all)[0] ?? "",
      /everything that it does not name; .* iptables -I INPUT -p udp --dport 4789 -j ACCEPT$/,
    );
  });

  it("tells a published port that does not answer where the mesh does", () => {
    const all = known({
      probes: ({ way, toNodeId }) => ({
        outcome: way === "entry" && toNodeId === "w2" ? "silent" : "open",
      }),
    });
    match(
      told(all)[0] ?? "",
      /^fault: published port 8080\/tcp of node w2 \(10\.77\.0\.15\) has no answer from w1, w2\./,
    );
  });

  it("tells a task at whose port nothing listens once", () => {
    const all = known({
      probes: ({ mustListen }) => ({ outcome: mustListen ? "refused" : "open" }),
    });
    deepEqual(told(all), [
      "fault: task web.1 on w1 refuses connections at port 80: nothing listens there in the container. " +
        "have the program listen on 0.0.0.0:80, or publish the port at which it does",
    ]);
  });

  it("counts a refusal as an answer where nothing has to listen", () => {
    const all = known({
      picture: { ports: [] },
      probes: () => ({ outcome: "refused" }),
    });
    deepEqual(told(all), []);
  });

  it("names the node that does not answer, and nothing that follows from it", () => {
    const all = known({
      silent: { w1: "it does not answer" },
      probes: ({ toNodeId, way }) => ({
        outcome: toNodeId === "w1" || way === "address" ? "silent" : "open",
      }),
    });
    const [first = ""] = told(all);
    match(
      first,
      /^fault: node w1 \(10\.77\.0\.14\) does not answer: .*; connections to web\.1 there are lost\./,
    );
  });

  it("tells a task whose node is down, once", () => {
    const nodes = picture.nodes.map((one) =>
      one.id === "w1" ? { ...one, state: "down", isReady: false } : one,
    );
    const [first = "", ...rest] = told(known({ picture: { nodes } }));
    match(
      first,
      /^fault: task web\.1 counts as running, but its node w1 is down: connections to it are lost\./,
    );
    deepEqual(rest, []);
  });

  it("puts what the kernel lacks before probes, with where it is", () => {
    const all = known({
      looks: { w2: { differences: [{ where: "swarm", what: "device vx4097 is missing" }] } },
      probes: ({ way }) => ({ outcome: way === "task" ? "silent" : "open" }),
    });
    match(
      told(all)[0] ?? "",
      /^fault: on w2, in the namespace of the data path: device vx4097 is missing\. the node repairs/,
    );
  });

  it("names the program at a published port", () => {
    const program = {
      protocol: "tcp",
      port: 8080,
      address: "0.0.0.0",
      program: "nginx (7)",
    } as const;
    const [first = ""] = told(known({ looks: { w2: { programs: [program] } } }));
    match(
      first,
      /^fault: on w2, nginx \(7\) listens at 0\.0\.0\.0, port 8080\/tcp, which service web publishes/,
    );
  });

  it("tells what keeps forwarded packets back, with what helps", () => {
    const barrier =
      "chain c of table inet f drops what containers send; let it pass with: nft insert rule x";
    const [first = ""] = told(known({ looks: { m1: { barriers: [barrier] } } }));
    equal(
      first,
      "fault: on m1: chain c of table inet f drops what containers send. nft insert rule x",
    );
  });

  it("tells a node that was told of other tasks, as what may pass", () => {
    const all = known({
      looks: { w2: { told: [{ serviceId: "s1", networkId: "net", addresses: ["10.0.1.9"] }] } },
    });
    const findings = findingsOf(all).filter(({ what }) => what.includes("back"));
    equal(
      findings[0]?.what,
      "node w2 is behind in back: it does not know of 10.0.1.3 and still leads to 10.0.1.9",
    );
    equal(findings[0]?.mayPass, true);
  });

  it("tells a name that leads elsewhere, and one that has no answer", () => {
    const wrong = known({ names: (name) => (name === "web" ? { addresses: ["10.0.1.3"] } : {}) });
    match(
      told(wrong)[0] ?? "",
      /^fault: name web leads to 10\.0\.1\.3 in container web\.1 on w1 \(network back\) instead of 10\.0\.1\.2\./,
    );
    const silent = known({ names: () => ({ error: "no answer within 1000 ms" }) });
    match(
      told(silent)[0] ?? "",
      /^fault: container web\.1 on w1 has no answer from its name server for web \(no answer/,
    );
  });

  it("says why a task has no node, and what helps", () => {
    const task: TaskFacts = {
      ...web,
      nodeId: "",
      node: "",
      state: "pending",
      ready: false,
      error: "no suitable node (insufficient resources on 3 nodes)",
      addresses: new Map(),
    };
    const all = told(known({ picture: { tasks: [task] } }));
    deepEqual(all, [
      "fault: no task of service web is ready, 1 should be: whoever calls it is refused. docker service ps --no-trunc web",
      "fault: task web.1 has no node yet: no suitable node (insufficient resources on 3 nodes). " +
        "lower the reservations of the service, or add a node",
    ]);
  });

  it("tells a task that starts as a warning, and one that goes round in a circle as a fault", () => {
    const starting: TaskFacts = { ...web, state: "starting", ready: false, message: "starting" };
    const tasks = [web, { ...starting, id: "t2", name: "web.2" }];
    match(
      told(known({ picture: { tasks, wanted: 2 } }))[0] ?? "",
      /^warning: task web\.2 on w1 is starting, not running yet/,
    );
    const failing = [web, { ...starting, id: "t2", name: "web.2", before: "failed: exit code 1" }];
    match(
      told(known({ picture: { tasks: failing, wanted: 2 } }))[0] ?? "",
      /^fault: task web\.2 .* the one before it failed: exit code 1/,
    );
  });

  it("warns of a service that nobody can reach", () => {
    const all = known({ picture: { networks: [], ports: [] } });
    match(
      told(all)[0] ?? "",
      /^warning: service web is in no network between nodes and publishes no port/,
    );
  });

  it("says what helps where no task is wanted, and nothing of jobs, which serve nobody", () => {
    const idle = (mode: string) => told(known({ picture: { mode, wanted: 0, tasks: [] } }))[0];
    const what = "warning: service web is to have no tasks: whoever calls it is refused.";
    equal(idle("replicated"), `${what} docker service scale web=1`);
    equal(idle("global"), `${what} docker service ps --no-trunc web`);
    equal(idle("replicated-job"), undefined);
    equal(idle("global-job"), undefined);
  });
});
