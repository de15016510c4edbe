/**
 * The decision against a slow and obvious one that looks at everything anew for each task, on random clusters from seeds.
 */
import assert from "node:assert/strict";
import { labelReader, nodeMatcher } from "../../../../manager/constraint/match.ts";
import { parseConstraints } from "../../../../manager/constraint/parse.ts";
import { assignTask, GroupDecision } from "../../../../manager/scheduler/decide.ts";
import { type Group, groupOf } from "../../../../manager/scheduler/group.ts";
import { isCharged, isWanted } from "../../../../manager/scheduler/node-info.ts";
import { NodeSet } from "../../../../manager/scheduler/node-set.ts";
import type { Node, Service, Task, TaskState } from "../../../../src/common/api/generated/api.ts";
import { nodeRunsImage } from "../../../../src/common/platform/match.ts";
import { type Random, seededRandom } from "../../../../src/common/random/random.ts";
import { aNode, aService, aTask } from "../../../support/scheduler.ts";

const now = 1_700_000_000_000;

/** A cluster as plain lists: what the slow scheduler knows. */
interface Cluster {
  nodes: Node[];
  tasks: Task[];
}

const zones = ["a", "b", ""];
const platformChoices = [
  ["linux/amd64/v3"],
  ["linux/arm64"],
  ["linux/arm/v7"],
  ["linux/amd64/v2", "linux/arm64*"],
];
const states: readonly TaskState[] = ["assigned", "running", "failed", "shutdown", "pending"];

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[random.int(choices.length)] as T;
}

function randomNode(random: Random, n: number): Node {
  const labels: Record<string, string> = {};
  const zone = pick(random, zones);
  if (zone !== "") labels["zone"] = zone;
  if (random.int(2) === 0) labels["rack"] = String(random.int(3));
  if (random.int(6) === 0) labels["skep.emulation"] = "allow";
  return aNode({
    id: `n${String.fromCharCode(97 + ((n * 7) % 26))}${n}`,
    cpus: 1 + random.int(8),
    memoryMb: 512 * (1 + random.int(8)),
    labels,
    platforms: pick(random, platformChoices),
    generic: random.int(3) === 0 ? [{ kind: "GPU", named: "", count: 1 + random.int(3) }] : [],
    state: random.int(8) === 0 ? "down" : "ready",
    availability: random.int(10) === 0 ? "drain" : "active",
  });
}

function randomService(random: Random, id: string): Service {
  const isReserving = random.int(2) === 0;
  return aService(id, {
    cpus: isReserving ? random.int(4) * 0.25 : 0,
    memoryMb: isReserving ? random.int(3) * 128 : 0,
    generic: random.int(6) === 0 ? [{ kind: "GPU", named: "", count: 1 }] : [],
    constraints: random.int(4) === 0 ? [`node.labels.zone${pick(random, ["==", "!="])}a`] : [],
    spread: ["node.labels.zone", "node.labels.rack", "node.id"].slice(0, random.int(4)),
    maxReplicas: random.int(4) === 0 ? 1 + random.int(3) : 0,
    ...(random.int(3) === 0 ? { platforms: pick(random, platformChoices).slice(0, 1) } : {}),
    labels: random.int(8) === 0 ? { "skep.emulation": "allow" } : {},
  });
}

function randomTask(random: Random, id: string, services: readonly Service[], nodes: Node[]): Task {
  const task = aTask({
    id,
    service: pick(random, services),
    nodeId: pick(random, nodes).id,
    state: pick(random, states),
    desired: random.int(4) === 0 ? "shutdown" : "running",
    atMs: now - random.int(6 * 60_000),
    hostPorts: random.int(5) === 0 ? [80 + random.int(2)] : [],
  });
  return random.int(10) === 0
    ? { ...task, assignedGeneric: [{ kind: "GPU", named: "", count: 1 }] }
    : task;
}

/** The set as it is built change by change. */
function setOf({ nodes, tasks }: Cluster): NodeSet {
  const set = new NodeSet();
  for (const node of nodes) set.put(node);
  for (const next of tasks) set.taskChanged({ old: undefined, next }, now, () => "");
  return set;
}

/** Tasks that take their share of a node. */
function on(cluster: Cluster, node: Node): Task[] {
  return cluster.tasks.filter((task) => task.nodeId === node.id && isCharged(task));
}

function sum(tasks: readonly Task[], of: (task: Task) => number): number {
  return tasks.reduce((total, task) => total + of(task), 0);
}

function reserved(task: Task) {
  return task.spec?.resources?.reservations ?? { nanoCpus: 0, memoryBytes: 0, generic: [] };
}

function fits(cluster: Cluster, node: Node, group: Group, task: Task): boolean {
  if (node.status?.state !== "ready" || node.spec?.availability !== "active") return false;
  const there = on(cluster, node);
  const has = node.description?.resources;
  if (has === undefined) return false;
  const wanted = reserved(task);
  const cpus = sum(there, (one) => reserved(one).nanoCpus) + wanted.nanoCpus;
  if (wanted.nanoCpus > 0 && cpus > has.nanoCpus) return false;
  const memory = sum(there, (one) => reserved(one).memoryBytes) + wanted.memoryBytes;
  if (wanted.memoryBytes > 0 && memory > has.memoryBytes) return false;
  const given = sum(there, (one) => sum2(one.assignedGeneric)) + sum2(wanted.generic);
  if (wanted.generic.length > 0 && given > sum2(has.generic)) return false;
  const { placement } = group.spec;
  if (!nodeMatcher(parseConstraints(placement?.constraints ?? []))(node)) return false;
  const emulated = group.mayEmulate || node.spec.annotations?.labels["skep.emulation"] === "allow";
  const { platforms = [] } = node.description ?? {};
  if (!nodeRunsImage(platforms, group.image.platforms, { emulated })) return false;
  const ports = (one: Task) => (one.endpoint?.ports ?? []).map((port) => port.publishedPort);
  const taken = there.flatMap(ports);
  if (ports(task).some((port) => taken.includes(port))) return false;
  const max = placement?.maxReplicas ?? 0;
  return max === 0 || own(cluster, node, group) < max;
}

function sum2(resources: readonly { readonly count: number }[]): number {
  return resources.reduce((total, { count }) => total + count, 0);
}

/** Wanted tasks of the service on a node. */
function own(cluster: Cluster, node: Node, { serviceId }: Group): number {
  return on(cluster, node).filter((one) => one.serviceId === serviceId && isWanted(one)).length;
}

function isFailing(cluster: Cluster, node: Node, group: Group): boolean {
  const failed = cluster.tasks.filter(
    ({ serviceId, nodeId, status }) =>
      serviceId === group.serviceId &&
      nodeId === node.id &&
      status?.state === "failed" &&
      status.timestampMs > now - 5 * 60_000,
  );
  return failed.length >= 5;
}

/** Compares lists of numbers and texts, item by item. */
function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  for (const [at, x] of a.entries()) {
    const y = b[at] as number | string;
    if (x !== y) return x < y ? -1 : 1;
  }
  return 0;
}

function rank(cluster: Cluster, node: Node, group: Group, task: Task): (number | string)[] {
  const there = on(cluster, node);
  const mine = own(cluster, node, group);
  const wanted = there.filter(isWanted).length;
  const last = isFailing(cluster, node, group) ? 1 : 0;
  if (group.reserved === undefined) return [last, mine, wanted, node.id];
  const want = reserved(task);
  const has = node.description?.resources;
  const share = (of: "nanoCpus" | "memoryBytes") =>
    want[of] > 0 ? (sum(there, (one) => reserved(one)[of]) + want[of]) / (has?.[of] ?? 0) : 0;
  const most = Math.max(share("nanoCpus"), share("memoryBytes"));
  return [last, mine > 0 ? 1 : 0, most, mine, wanted, node.id];
}

/** The best node of these, by the spread preferences from this level on. */
function best(
  cluster: Cluster,
  nodes: Node[],
  group: Group,
  task: Task,
  level = 0,
): Node | undefined {
  const preferences = (group.spec.placement?.preferences ?? []).flatMap(
    ({ spreadOver }) => labelReader(spreadOver) ?? [],
  );
  const read = preferences[level];
  const ranked = (node: Node) => rank(cluster, node, group, task);
  if (read === undefined) {
    return nodes
      .filter((node) => fits(cluster, node, group, task))
      .sort((a, b) => compare(ranked(a), ranked(b)))[0];
  }
  const branches = [...new Set(nodes.map(read))].flatMap((value) => {
    const members = nodes.filter((node) => read(node) === value);
    const top = best(cluster, members, group, task, level + 1);
    const tasks = members.reduce((total, node) => total + own(cluster, node, group), 0);
    return top === undefined ? [] : [{ top, key: [ranked(top)[0] ?? 0, tasks, ...ranked(top)] }];
  });
  return branches.sort((a, b) => compare(a.key, b.key))[0]?.top;
}

function decideSlowly(
  cluster: Cluster,
  group: Group,
  tasks: readonly Task[],
): (string | undefined)[] {
  return tasks.map((task) => {
    const node = best(cluster, cluster.nodes, group, task);
    if (node === undefined) return undefined;
    const given = group.reserved?.generic ?? [];
    cluster.tasks.push(assignTask(task, { nodeId: node.id, given, message: "", now }));
    return node.id;
  });
}

describe("manager/scheduler/decide", () => {
  it("decides as one would who looks at everything for each task", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = seededRandom(seed);
      const nodes = Array.from({ length: 1 + random.int(12) }, (_, n) => randomNode(random, n));
      const services = ["web", "db", "api"].map((id) => randomService(random, id));
      const few = random.int(4) === 0;
      const tasks = Array.from({ length: random.int(few ? 10 : 60) }, (_, n) =>
        randomTask(random, `old${n}`, services, nodes),
      );
      const bad = pick(random, nodes).id;
      for (let n = random.int(10); n > 0; n--) {
        const [service] = services;
        const failed = { id: `bad${n}`, nodeId: bad, state: "failed", atMs: now - n } as const;
        if (service !== undefined) tasks.push(aTask({ ...failed, service }));
      }
      const cluster: Cluster = { nodes, tasks };
      const set = setOf(cluster);
      for (const service of services) {
        const hostPorts = random.int(5) === 0 ? [80] : [];
        const fresh = Array.from({ length: 1 + random.int(14) }, (_, n) =>
          aTask({ id: `${service.id}${n}`, service, hostPorts }),
        );
        const [first] = fresh;
        const { reference = "", digest = "", platforms = [] } = service.image ?? {};
        const image = { reference, digest, platforms };
        assert.ok(first !== undefined);
        const group = groupOf(first, { service, image, networkDrivers: [], volumes: [] });
        const decision = new GroupDecision(group, set, now);
        const quick = fresh.map((task) => decision.place(task)?.next.nodeId);
        const slow = decideSlowly(cluster, group, fresh);
        assert.deepEqual(quick, slow, `seed ${seed}, service ${service.id}`);
      }
    }
  });

  it("has the same set of nodes however it came about", () => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = seededRandom(seed);
      const nodes = Array.from({ length: 2 + random.int(6) }, (_, n) => randomNode(random, n));
      const services = ["web", "db"].map((id) => randomService(random, id));
      const set = setOf({ nodes, tasks: [] });
      const tasks = new Map<string, Task>();
      for (let step = 0; step < 80; step++) {
        const id = `t${random.int(20)}`;
        const old = tasks.get(id);
        const next = random.int(6) === 0 ? undefined : randomTask(random, id, services, nodes);
        if (old === undefined && next === undefined) continue;
        set.taskChanged({ old, next }, now, () => "");
        if (next === undefined) tasks.delete(id);
        else tasks.set(id, next);
        if (random.int(20) === 0) set.put(pick(random, nodes));
        if (random.int(20) === 0) set.columns();
      }
      const gone = pick(random, nodes);
      set.remove(gone.id);
      const left = nodes.filter((node) => node !== gone);
      const fresh = setOf({ nodes: left, tasks: [...tasks.values()] });
      assert.deepEqual(factsOf(set, services), factsOf(fresh, services), `seed ${seed}`);
    }
  });

  it("gives named generic resources to one task each", () => {
    const generic = ["x", "y"].map((named) => ({ kind: "GPU", named, count: 0 }));
    const service = aService("web", { generic: [{ kind: "GPU", named: "", count: 1 }] });
    const set = setOf({ nodes: [aNode({ id: "a", generic })], tasks: [] });
    const tasks = [1, 2, 3].map((n) => aTask({ id: `t${n}`, service }));
    const [first] = tasks;
    assert.ok(first !== undefined);
    const image = { reference: "app", digest: "", platforms: [] };
    const group = groupOf(first, { service, image, networkDrivers: [], volumes: [] });
    const decision = new GroupDecision(group, set, now);
    const given = tasks.map((task) => decision.place(task)?.next.assignedGeneric[0]?.named);
    assert.deepEqual(given, ["x", "y", undefined]);
    assert.equal(
      decision.explain(),
      "no suitable node (insufficient resources on 1 node: GPU (1 wanted))",
    );
  });
});

/** Everything a set says of its nodes, by node. */
function factsOf(set: NodeSet, services: readonly Service[]): unknown {
  const columns = set.columns();
  return set
    .list()
    .map((info) => ({
      id: info.id,
      columns: Object.values(columns).map((column: Float64Array) => column[info.position]),
      tasks: info.tasks,
      used: [info.usedCpus, info.usedMemory],
      ports: [80, 81].map((publishedPort) => {
        const [port] = aTask({ id: "p", hostPorts: [publishedPort] }).endpoint?.ports ?? [];
        return port !== undefined && info.hasPort([port]);
      }),
      generic: [1, 2, 3].map((count) => info.generic.has([{ kind: "GPU", named: "", count }])),
      own: services.map(({ id }) => set.tasksOf(id).get(info) ?? 0),
    }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}
