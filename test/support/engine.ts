/**
 * An Engine API over a real store in this process: one replica whose log is itself, no Raft, no network.
 *
 * What the tests of the HTTP API talk to, over a unix socket, with plain requests or with a stock docker client.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { Control } from "../../manager/control/control.ts";
import { Rehearsal } from "../../manager/plan/rehearsal.ts";
import { findOne, type NamedTable } from "../../manager/state/find.ts";
import type { Store } from "../../manager/state/store.ts";
import {
  Cluster,
  JoinTokens,
  Network,
  Node,
  RootCa,
  Task,
} from "../../src/common/api/generated/api.ts";
import { systemClock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { noLeader } from "../../src/common/errors/no-leader.ts";
import { createRootCa } from "../../src/common/identity/root.ts";
import { createJoinToken } from "../../src/common/identity/token.ts";
import { unlockKeyToText } from "../../src/common/identity/unlock-key.ts";
import { newId } from "../../src/common/ids/ids.ts";
import { silentLog } from "../../src/common/log/log.ts";
import { systemRandom } from "../../src/common/random/random.ts";
import { defaultClusterSpec } from "../../src/common/spec/cluster-defaults.ts";
import type {
  DaemonFacts,
  EnginePorts,
  ObjectChange,
  ObjectView,
  SwarmPort,
  SwarmStatus,
  TunnelsPort,
} from "../../src/engine/ports.ts";
import { EngineServer } from "../../src/engine/server.ts";
import { type FakeRuntime, fakeRuntime } from "./fake-runtime.ts";
import { loopbackRegistry } from "./images.ts";
import { localStore } from "./local-log.ts";

/** Facts of a machine that is not there. */
export const testFacts: DaemonFacts = {
  engineId: "0f0e0d0c-0000-4000-8000-000000000001",
  version: "0.1.0",
  gitCommit: "0000000",
  buildTime: "2026-11-01T00:00:00Z",
  hostname: "host-1",
  kernelVersion: "6.1.0",
  operatingSystem: "Debian GNU/Linux 12 (bookworm)",
  osVersion: "12",
  platforms: [{ architecture: "amd64", os: "linux", variant: "", emulated: false }],
  machine: "x86_64",
  cpus: 2,
  memoryBytes: 2 ** 31,
  dataDir: "/var/lib/skep",
  labels: [],
  debug: false,
  experimental: false,
  liveRestore: false,
  httpProxy: "",
  httpsProxy: "",
  noProxy: "",
  insecureRegistries: ["::1/128", "127.0.0.0/8"],
  registryMirrors: [],
  warnings: [],
};

/** One answer of the API. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly text: string;
  /** The parsed body; undefined when it is no JSON. */
  readonly json: unknown;
  /** The error message of the body; empty when there is none. */
  readonly message: string;
  /** What lies at a path in the body: `at("Version", "Index")`, `at(0, "ID")`; undefined when nothing does. */
  at(...path: readonly (string | number)[]): unknown;
}

/** How to send a request. */
export interface Sending {
  /** Sent as JSON unless it is a string, which is sent as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A served API and the store behind it. */
export interface TestEngine {
  readonly socket: string;
  readonly store: Store;
  /** In memory, with one image. */
  readonly runtime: FakeRuntime;
  /** Node id of the only manager. */
  readonly selfId: string;
  /** Sets what the node says of its swarm. */
  setStatus(status: Partial<SwarmStatus>): void;
  /** From now on nobody leads: reads that have to be up to date are refused. */
  loseLeader(): void;
  /** Sets the way to other nodes; without it none can be reached. */
  setTunnels(tunnels: TunnelsPort): void;
  /** Serves what a manager sends through a tunnel. */
  serveTunnel(stream: Duplex): void;
  send(method: string, path: string, sending?: Sending): Promise<Answer>;
  stop(): Promise<void>;
}

/** Starts an API whose node is the manager of a cluster of one, with one more node that is a worker. */
export async function startEngine(): Promise<TestEngine> {
  const folder = mkdtempSync(join(tmpdir(), "skep-engine-"));
  const socket = join(folder, "docker.sock");
  const { store } = localStore();
  const selfId = newId(systemRandom);
  await seed(store, selfId);
  let status = managerStatus(selfId);
  let tunnels: TunnelsPort = {
    open: async (nodeId) => {
      throw new ClusterError("unavailable", `node ${nodeId} is not available`);
    },
  };
  let hasLeader = true;
  const runtime = fakeRuntime();
  const ports = portsOver(store, selfId, {
    status: () => status,
    runtime,
    tunnels: { open: (nodeId, signal) => tunnels.open(nodeId, signal) },
    hasLeader: () => hasLeader,
  });
  const server = new EngineServer({
    ports,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
  await server.listenUnix(socket, "no-such-group");
  const stop = new AbortController();
  const run = server.run(stop.signal);
  return {
    socket,
    store,
    runtime,
    selfId,
    loseLeader: () => {
      hasLeader = false;
    },
    setTunnels: (port) => {
      tunnels = port;
    },
    serveTunnel: (stream) => server.serveTunnel(stream),
    setStatus: (change) => {
      status = { ...status, ...change };
    },
    send: (method, path, sending = {}) => send(socket, method, path, sending),
    stop: async () => {
      stop.abort();
      await run;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** What a working manager says of itself. */
export function managerStatus(selfId: string): SwarmStatus {
  return {
    state: "active",
    nodeId: selfId,
    nodeAddress: "127.0.0.1",
    isManager: true,
    controlAvailable: true,
    error: "",
    certificateExpired: false,
    remoteManagers: [{ nodeId: selfId, address: "127.0.0.1:2377", raftId: 1 }],
  };
}

async function seed(store: Store, selfId: string): Promise<void> {
  const root = await createRootCa({ nowMs: Date.now(), random: systemRandom });
  const tokens = JoinTokens.create({
    worker: createJoinToken(root.certificate, systemRandom),
    manager: createJoinToken(root.certificate, systemRandom),
  });
  const annotations = (name: string, labels = {}) => ({ name, labels });
  await store.update((tx) => {
    tx.create(
      "cluster",
      Cluster.create({
        id: newId(systemRandom),
        spec: defaultClusterSpec,
        rootCa: RootCa.create({
          caCert: new Uint8Array(Buffer.from(root.certificate)),
          caKey: new Uint8Array(Buffer.from(root.key)),
          joinTokens: tokens,
        }),
      }),
    );
    tx.create("node", testNode(selfId, "host-1", "manager", 1));
    tx.create("node", testNode(newId(systemRandom), "host-2", "worker", 2));
    for (const [name, driver, ingress] of [
      ["ingress", "overlay", true],
      ["bridge", "bridge", false],
      ["host", "host", false],
    ] as const) {
      const labels = ingress ? {} : { "com.docker.swarm.predefined": "true" };
      const spec = {
        ...Network.create().spec,
        annotations: annotations(name, labels),
        driver: { name: driver, options: {} },
        ipv6Enabled: false,
        internal: false,
        ipam: undefined,
        attachable: false,
        ingress,
        configFrom: "",
        scope: "swarm",
        configOnly: false,
      };
      tx.create("network", Network.create({ id: newId(systemRandom), spec }));
    }
  });
}

/** A node that is ready. */
export function testNode(
  id: string,
  hostname: string,
  role: "worker" | "manager",
  number: number,
): Node {
  return Node.create({
    id,
    spec: {
      annotations: { name: "", labels: {} },
      desiredRole: role,
      availability: "active",
    },
    description: {
      hostname,
      platform: { architecture: "x86_64", os: "linux", variant: "", emulated: false },
      resources: { nanoCpus: 2e9, memoryBytes: 2 ** 31, pids: 0, generic: [] },
      engine: { engineVersion: "0.1.0", labels: {}, plugins: [] },
      tlsInfo: undefined,
      platforms: [],
      warnings: [],
      wireguardPublicKey: new Uint8Array(0),
      nextWireguardPublicKey: new Uint8Array(0),
      localVolumes: [],
    },
    status: { state: "ready", message: "", address: "127.0.0.1" },
    role,
    membership: "accepted",
    number,
  });
}

function portsOver(
  store: Store,
  selfId: string,
  rest: {
    readonly status: () => SwarmStatus;
    readonly runtime: FakeRuntime;
    readonly tunnels: TunnelsPort;
    readonly hasLeader: () => boolean;
  },
): EnginePorts {
  const { status, runtime, tunnels, hasLeader } = rest;
  const member = { raftId: 1, nodeId: selfId, reachable: true, learner: false };
  const control = new Control({
    store,
    group: {
      leadership: () => ({ leaderNodeId: selfId, isLeader: true }),
      members: () => [member],
    },
    forward: () => Promise.reject(new ClusterError("unavailable", "there is no other manager")),
    selfId,
    clock: systemClock,
    random: systemRandom,
  });
  return {
    swarm: swarmPort(store, selfId, status),
    registry: loopbackRegistry(),
    objects: {
      view: async () => {
        if (!hasLeader()) throw noLeader();
        return viewOf(store);
      },
      present: () => viewOf(store),
      call: (method, message, signal) => control.call(method, message, signal),
      rehearse: async () => {
        const tools = { clock: systemClock, random: systemRandom };
        const rehearsal = new Rehearsal(store, { ...tools, selfId, members: [member] });
        return {
          view: () => viewOf(rehearsal),
          call: (method, request) => rehearsal.call(method, request),
          services: () => rehearsal.services(),
          plan: (o) => rehearsal.plan(o),
        };
      },
    },
    events: { changes: (signal) => changesOf(store, signal) },
    tunnels,
    runtime,
    facts: testFacts,
  };
}

function swarmPort(store: Store, selfId: string, status: () => SwarmStatus): SwarmPort {
  return {
    status,
    members: () => [{ nodeId: selfId, address: "127.0.0.1:2377", leader: true, reachable: true }],
    init: async () => selfId,
    join: async () => {},
    leave: async () => {},
    unlock: async () => {},
    unlockKey: async () => {
      const [key] = store.view().list("cluster")[0]?.unlockKeys ?? [];
      return key === undefined ? "" : unlockKeyToText(key.key);
    },
  };
}

function viewOf(store: Pick<Store, "view">): ObjectView {
  const view = store.view();
  return {
    get: (table, id) => view.get(table, id),
    byName: (table, name) =>
      table === "task" ? [] : view.find(table, "name" as never, name.toLowerCase()),
    lookup: (table, reference) => findOne(view, table as NamedTable, reference) as never,
    list: (table) => view.each(table),
    tasksOfService: (id) => view.find("task", "service", id),
    tasksOfNode: (id) => view.find("task", "node", id),
  };
}

async function* changesOf(
  store: Store,
  signal: AbortSignal,
): AsyncIterable<readonly ObjectChange[]> {
  for await (const item of store.watch({}, { signal })) {
    if (!item.resync) yield item.changes as unknown as readonly ObjectChange[];
  }
}

/** A task of a service, as an orchestrator would make it. */
export function testTask(
  id: string,
  fields: Partial<Task> & { readonly state?: "new" | "running" | "complete" | "failed" },
): Task {
  const { state = "running", ...rest } = fields;
  return Task.create({
    id,
    desiredState: "running",
    status: {
      timestampMs: 1_700_000_000_000,
      state,
      message: "started",
      error: "",
      container: undefined,
      portStatus: undefined,
      appliedBy: "",
      appliedAtMs: 0,
    },
    ...rest,
  });
}

function send(socket: string, method: string, path: string, sending: Sending): Promise<Answer> {
  const { body } = sending;
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const headers = {
    ...(text === undefined ? {} : { "content-type": "application/json" }),
    ...sending.headers,
  };
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: socket, method, path, headers }, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () => {
        const all = Buffer.concat(pieces).toString();
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: all,
          ...parsed(all),
        });
      });
    });
    sent.on("error", reject);
    sent.end(text);
  });
}

function parsed(text: string): Pick<Answer, "json" | "message" | "at"> {
  const json = jsonOf(text);
  const at = (...path: readonly (string | number)[]) =>
    path.reduce<unknown>((value, key) => (value as Record<string, unknown>)?.[key], json);
  const message = at("message");
  return { json, at, message: typeof message === "string" ? message : "" };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not every answer is JSON; the test that expects one finds nothing in it.
    return undefined;
  }
}
