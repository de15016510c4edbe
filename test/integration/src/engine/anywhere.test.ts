/**
 * Containers of tasks on other nodes over the Engine API of a manager: two APIs in this process, joined by a pair of streams
 * in place of a tunnel.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import type { Duplex } from "node:stream";
import { Service, ServiceSpec, type Task } from "../../../../src/common/api/generated/api.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { newId } from "../../../../src/common/ids/ids.ts";
import { systemRandom } from "../../../../src/common/random/random.ts";
import { dockerClients, runDocker } from "../../../support/docker.ts";
import { duplexPair } from "../../../support/duplex-pair.ts";
import { startEngine, type TestEngine, testTask } from "../../../support/engine.ts";

const farId = newId(systemRandom);
const serviceId = newId(systemRandom);

describe("src/engine/far", () => {
  let near: TestEngine;
  let far: TestEngine;
  /** Ends of the open tunnels on this side. */
  let tunnels: Duplex[];
  let silent: (() => void)[];
  let task: Task;
  let containerId: string;

  beforeEach(async () => {
    near = await startEngine();
    far = await startEngine();
    tunnels = [];
    silent = [];
    far.setStatus({ nodeId: farId, isManager: false, controlAvailable: false });
    near.setTunnels({
      open: async (nodeId) => {
        if (nodeId !== farId) {
          throw new ClusterError("unavailable", `node ${nodeId} is not available`);
        }
        const [mine, theirs] = duplexPair();
        tunnels.push(mine);
        far.serveTunnel(theirs);
        return { stream: mine, onSilent: (tell) => void silent.push(tell) };
      },
    });
    ({ task, containerId } = await place("web", { slot: 1 }));
  });
  afterEach(async () => {
    await near.stop();
    await far.stop();
  });

  /** A task of a service with a running container on the other node. */
  async function place(
    service: string,
    o: { readonly slot: number; readonly tty?: boolean; readonly nodeId?: string },
  ): Promise<{ task: Task; containerId: string }> {
    const id = newId(systemRandom);
    const name = `${service}.${o.slot}.${id}`;
    const container = await make(far, name, {
      Tty: o.tty ?? false,
      OpenStdin: true,
      StdinOnce: true,
    });
    await far.runtime.containers.start(container);
    const annotations = { name: service, labels: {} };
    const made = testTask(id, {
      serviceId,
      slot: o.slot,
      nodeId: o.nodeId ?? farId,
      serviceAnnotations: annotations,
    });
    const status = made.status && {
      ...made.status,
      container: { containerId: container, pid: 42, exitCode: 0 },
    };
    const placed = { ...made, status };
    await near.store.update((tx) => {
      if (tx.get("service", serviceId) === undefined) {
        const spec = ServiceSpec.create({ annotations });
        tx.create("service", Service.create({ id: serviceId, spec }));
      }
      tx.create("task", placed);
    });
    return { task: placed, containerId: container };
  }

  const names = (): Record<string, string> => ({
    "the name of its container": `web.1.${task.id}`,
    "the id of its container": containerId,
    "the beginning of its container's id": containerId.slice(0, 12),
    "the name of the task": "web.1",
    "the id of the task": task.id,
    "the beginning of the task's id": task.id.slice(0, 12),
  });
  for (const what of Object.keys({
    "the name of its container": 1,
    "the id of its container": 1,
    "the beginning of its container's id": 1,
    "the name of the task": 1,
    "the id of the task": 1,
    "the beginning of the task's id": 1,
  })) {
    it(`finds a container on another node by ${what}`, async () => {
      const answer = await near.send("GET", `/v1.41/containers/${names()[what]}/json`);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.at("Id"), containerId);
      assert.equal(answer.at("State", "Running"), true);
    });
  }

  it("shows a task that is named as such with what a task has, too", async () => {
    const byTask = await near.send("GET", `/containers/${task.id}/json`);
    assert.equal(byTask.at("NodeID"), farId);
    assert.equal(byTask.at("Status", "ContainerStatus", "ContainerID"), containerId);
    assert.equal(byTask.at("ID"), task.id);
    assert(byTask.text.indexOf('"ID"') < byTask.text.indexOf('"Id"'));
    const byContainer = await near.send("GET", `/containers/${containerId}/json`);
    assert.equal(byContainer.at("NodeID"), undefined);
  });

  it("prefers what this node has itself", async () => {
    await make(near, "other");
    const own = await make(near, "web.1");
    const answer = await near.send("GET", "/containers/web.1/json");
    assert.equal(answer.at("Id"), own);
    assert.notEqual(own, containerId);
  });

  it("asks for more of an id that several begin with", async () => {
    const { task: other } = await place("web", { slot: 2 });
    await near.store.update((tx) => {
      const found = tx.get("task", other.id);
      if (found === undefined) return;
      const status = found.status && {
        ...found.status,
        container: { containerId: `${containerId.slice(0, 60)}ffff`, pid: 1, exitCode: 0 },
      };
      tx.update("task", { ...found, status });
    });
    const answer = await near.send("GET", `/containers/${containerId.slice(0, 12)}/json`);
    assert.equal(answer.status, 400);
    assert.match(answer.message, /is ambiguous in the cluster \(2 matches found\)/);
  });

  it("does not take a short word for the beginning of an id elsewhere", async () => {
    const answer = await near.send("GET", `/containers/${containerId.slice(0, 5)}/json`);
    assert.equal(answer.status, 404);
  });

  it("carries the verbs with their queries, and the refusals", async () => {
    const send = (verb: string) => near.send("POST", `/v1.41/containers/web.1/${verb}`);
    assert.equal((await send("kill?signal=USR1")).status, 204);
    assert(far.runtime.containers.calls.includes("kill USR1"));
    const refusal = await send("kill");
    assert.equal(refusal.status, 409);
    assert.match(refusal.message, /is not running/);
    assert.equal((await send("start")).status, 204);
    assert.equal((await send("pause")).status, 204);
    assert.equal(far.runtime.containers.find(containerId).state.phase, "paused");
    assert.equal((await send("unpause")).status, 204);
    assert.equal((await send("resize?h=40&w=100")).status, 200);
    assert(far.runtime.containers.calls.includes("resize 100x40"));
  });

  it("changes, renames and removes a container elsewhere", async () => {
    const sent = await near.send("POST", "/containers/web.1/update", { body: { CpuShares: 512 } });
    assert.equal(sent.status, 200, sent.text);
    assert.equal(far.runtime.containers.find(containerId).config.extraLimits?.cpuShares, 512);
    const renamed = await near.send("POST", "/containers/web.1/rename?name=other");
    assert.equal(renamed.status, 204, renamed.text);
    assert.equal(far.runtime.containers.find(containerId).name, "other");
    const refusal = await near.send("DELETE", "/containers/web.1");
    assert.equal(refusal.status, 409);
    assert.match(refusal.message, /container is running: stop the container before removing/);
    assert.equal((await near.send("DELETE", "/containers/web.1?force=1")).status, 204);
    assert.equal((await far.send("GET", `/containers/${containerId}/json`)).status, 404);
  });

  it("says on which node an image of a container elsewhere is to be made", async () => {
    for (const reference of ["web.1", containerId, task.id]) {
      const answer = await near.send("POST", `/commit?container=${reference}&repo=mine`);
      assert.equal(answer.status, 400, answer.text);
      assert.match(answer.message, new RegExp(`${reference} is on node ${farId}: .* run it there`));
    }
    const unknown = await near.send("POST", "/commit?container=nothing");
    assert.equal(unknown.status, 404);
  });

  it("sends the head of a wait at once and its body when the container has ended", async () => {
    const response = await begin(near, "POST", "/containers/web.1/wait");
    assert.equal(response.statusCode, 200);
    await near.send("POST", "/containers/web.1/kill");
    let text = "";
    for await (const piece of response) text += piece;
    assert.equal(JSON.parse(text).StatusCode, 137);
  });

  it("copies out of and into a container elsewhere", async () => {
    const stat = await near.send("HEAD", "/containers/web.1/archive?path=/x");
    assert.equal(stat.status, 200);
    assert.equal(typeof stat.headers["x-docker-container-path-stat"], "string");
    const out = await near.send("GET", "/containers/web.1/archive?path=/x");
    assert.equal(out.text, "an archive");
    const sent = request({
      socketPath: near.socket,
      method: "PUT",
      path: "/containers/web.1/archive?path=/x",
      headers: { "content-type": "application/x-tar" },
    });
    const piece = Buffer.alloc(100_000);
    for (let i = 0; i < 50; i++) if (!sent.write(piece)) await once(sent, "drain");
    sent.end();
    const [response] = await once(sent, "response");
    response.resume();
    assert.equal(response.statusCode, 200);
    assert(far.runtime.containers.calls.includes("put 5000000"));
  });

  it("makes, starts, looks at and resizes an exec elsewhere", async () => {
    const made = await near.send("POST", "/containers/web.1/exec", {
      body: { AttachStdin: true, AttachStdout: true, Cmd: ["cat"] },
    });
    assert.equal(made.status, 201);
    const id = String(made.at("Id"));
    const socket = await upgrade(near, `/exec/${id}/start`, { Detach: false, Tty: false });
    const bytes = Buffer.alloc(3_000_000, "0123456789");
    socket.end(bytes);
    const answer = await bytesOf(socket);
    assert.deepEqual(unframed(answer), bytes);
    const shown = await near.send("GET", `/exec/${id}/json`);
    assert.equal(shown.at("ExitCode"), 7);
    assert.equal((await near.send("POST", `/exec/${id}/resize?h=1&w=2`)).status, 200);
  });

  it("lets a conversation go on after the client has ended its side, and ends with the process", async () => {
    const socket = await upgrade(near, "/containers/web.1/attach?stream=1&stdin=1&stdout=1");
    socket.write("hello");
    assert.equal(String(unframed((await once(socket, "data"))[0])), "hello");
    const ended = once(socket, "end");
    await near.send("POST", "/containers/web.1/kill");
    await ended;
    socket.end();
  });

  it("ends the far side of a conversation when the client leaves", async () => {
    const socket = await upgrade(near, "/containers/web.1/attach?stream=1&stdin=1&stdout=1");
    const [tunnel] = tunnels;
    assert(tunnel !== undefined);
    socket.destroy();
    await once(tunnel, "close");
  });

  it("breaks off, rather than ends, an answer that is cut in the middle", async () => {
    const response = await begin(near, "POST", "/containers/web.1/wait");
    const broken = assert.rejects(async () => {
      for await (const _ of response);
    });
    tunnels.at(-1)?.destroy();
    await broken;
  });

  it("says which node cannot be reached", async () => {
    const lost = newId(systemRandom);
    const { task: other } = await place("web", { slot: 3, nodeId: lost });
    const answer = await near.send("GET", `/containers/${other.id}/json`);
    assert.equal(answer.status, 503);
    assert.match(answer.message, new RegExp(`node ${lost} is not available`));
    const socketAnswer = await plainUpgrade(
      near,
      `/containers/${other.id}/attach?stream=1&stdout=1`,
    );
    assert.equal(socketAnswer, 503);
  });

  it("says what a task without a container is waiting for", async () => {
    const id = newId(systemRandom);
    await near.store.update((tx) => {
      tx.create("task", testTask(id, { serviceId, slot: 9, state: "new" }));
    });
    const answer = await near.send("POST", `/containers/${id}/kill`);
    assert.equal(answer.status, 404);
    assert.match(answer.message, /^No such container: .*has none: it is new/);
  });

  it("refuses a worker clearly, and a wrong name as ever", async () => {
    near.setStatus({ isManager: false, controlAvailable: false });
    const task1 = await near.send("GET", `/containers/web.1.${task.id}/json`);
    assert.equal(task1.status, 503);
    assert.match(task1.message, /is not on this node, which is a worker: ask a manager/);
    const name = await near.send("GET", "/containers/nothing/json");
    assert.equal(name.message, "No such container: nothing");
  });

  it("serves single containers through a tunnel, nothing else, and passes nothing on", async () => {
    const through = async (method: string, path: string): Promise<number> => {
      const [mine, theirs] = duplexPair();
      near.serveTunnel(theirs);
      const sent = request({ createConnection: () => mine, method, path });
      // The connection ends with the answer.
      sent.on("error", () => {});
      sent.end();
      const [response] = await once(sent, "response");
      response.resume();
      return response.statusCode;
    };
    assert.equal(await through("GET", "/containers/web.1/json"), 404);
    for (const [method, path] of [
      ["GET", "/info"],
      ["GET", "/services"],
      ["GET", "/containers/json"],
      ["POST", "/containers/create"],
      ["DELETE", "/containers/x"],
      ["GET", "/images/json"],
    ] as const) {
      assert.equal(await through(method, path), 404, path);
    }
  });

  for (const client of dockerClients()) {
    it(`serves docker ${client.name}: exec, inspect, logs, top, cp, kill`, async () => {
      const docker = async (...args: string[]): Promise<string> => {
        const { code, stdout, stderr } = await runDocker(client, near.socket, args, {
          input: "typed",
        });
        assert(code === 0 || code === 7, `docker ${args.join(" ")}: ${code} ${stderr}`);
        return stdout;
      };
      assert.equal(await docker("exec", "-i", "web.1", "cat"), "typed");
      assert.equal(
        (await docker("inspect", "-f", "{{.Status.ContainerStatus.ContainerID}}", task.id)).trim(),
        containerId,
      );
      assert.equal((await docker("inspect", "-f", "{{.State.Pid}}", "web.1")).trim(), "42");
      far.runtime.containers.records.push(logRecord(1, "said"));
      assert.equal(await docker("logs", "web.1"), "said\n");
      assert.match(await docker("top", `web.1.${task.id}`), /PID/);
      await docker("cp", "package.json", "web.1:/file");
      await docker("kill", "web.1");
    });
  }
});

/** Id of a new container. */
async function make(engine: TestEngine, name: string, config = {}): Promise<string> {
  const body = { Image: "busybox", ...config };
  const made = await engine.send("POST", `/containers/create?name=${name}`, { body });
  assert.equal(made.status, 201, made.text);
  return String(made.at("Id"));
}

function logRecord(second: number, text: string) {
  const timeNs = BigInt(1_700_000_000 + second) * 1_000_000_000n;
  return { stream: "stdout", timeNs, data: Buffer.from(`${text}\n`) } as const;
}

/** The head of an answer. */
async function begin(engine: TestEngine, method: string, path: string) {
  const sent = request({ socketPath: engine.socket, method, path });
  sent.end();
  const [response] = await once(sent, "response");
  return response;
}

async function upgrade(engine: TestEngine, path: string, body?: unknown): Promise<Duplex> {
  const text = body === undefined ? "" : JSON.stringify(body);
  const sent = request({
    socketPath: engine.socket,
    method: "POST",
    path,
    headers: {
      Connection: "Upgrade",
      Upgrade: "tcp",
      "Content-Type": "application/json",
      "Content-Length": text.length,
    },
  });
  sent.end(text);
  const [, socket, head] = await once(sent, "upgrade");
  socket.unshift(head);
  return socket;
}

async function plainUpgrade(engine: TestEngine, path: string): Promise<number> {
  const headers = { Connection: "Upgrade", Upgrade: "tcp", "Content-Length": 0 };
  const sent = request({ socketPath: engine.socket, method: "POST", path, headers });
  sent.end();
  const [response] = await once(sent, "response");
  response.resume();
  return response.statusCode;
}

async function bytesOf(stream: Duplex): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of stream.iterator({ destroyOnReturn: false })) pieces.push(piece);
  return Buffer.concat(pieces);
}

function unframed(bytes: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 8 + bytes.readUInt32BE(at + 4);
    pieces.push(bytes.subarray(at + 8, end));
    at = end;
  }
  return Buffer.concat(pieces);
}
