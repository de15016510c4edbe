/**
 * Logs of services and tasks over the Engine API of a manager: tasks on several nodes, of which some cannot be reached.
 */
import assert from "node:assert/strict";
import { request } from "node:http";
import type { Duplex } from "node:stream";
import {
  ContainerSpec,
  Service,
  ServiceSpec,
  type Task,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";
import type { LogOptions, LogRecord } from "../../../../src/common/container/containers.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { newId } from "../../../../src/common/ids/ids.ts";
import { systemRandom } from "../../../../src/common/random/random.ts";
import { dockerClients, runDocker } from "../../../support/docker.ts";
import { duplexPair } from "../../../support/duplex-pair.ts";
import { startEngine, type TestEngine, testNode, testTask } from "../../../support/engine.ts";
import { Feed } from "../../../support/fake-runtime.ts";
import { until } from "../../../support/wait.ts";

const farId = newId(systemRandom);
const lostId = newId(systemRandom);

/** One line as the API sends it. */
interface Line {
  readonly stream: number;
  readonly text: string;
}

describe("src/engine/service-logs", () => {
  let near: TestEngine;
  let far: TestEngine;
  let serviceId: string;
  /** What each container has logged, by its name. */
  let logged: Map<string, Feed<LogRecord> | LogRecord[]>;
  let asked: LogOptions[];
  let isFarReachable: boolean;
  let tunnels: Duplex[];
  let silent: (() => void)[];

  beforeEach(async () => {
    near = await startEngine();
    far = await startEngine();
    serviceId = newId(systemRandom);
    logged = new Map();
    asked = [];
    tunnels = [];
    silent = [];
    isFarReachable = true;
    near.setTunnels({
      open: async (nodeId) => {
        if (nodeId !== farId || !isFarReachable) {
          throw new ClusterError("unavailable", `node ${nodeId} is not available`);
        }
        const [mine, theirs] = duplexPair();
        tunnels.push(mine);
        far.serveTunnel(theirs);
        return { stream: mine, onSilent: (tell) => void silent.push(tell) };
      },
    });
    for (const { runtime } of [near, far]) {
      runtime.containers.logs = (reference, options) => {
        asked.push(options);
        const log = logged.get(runtime.containers.find(reference).name) ?? [];
        return Array.isArray(log) ? given(log, options) : log.values(options.signal);
      };
    }
    await service(false);
    await near.store.update((tx) => {
      tx.create("node", testNode(farId, "far", "worker", 7));
      tx.create("node", testNode(lostId, "lost", "worker", 8));
    });
  });
  afterEach(async () => {
    await near.stop();
    await far.stop();
  });

  async function service(tty: boolean): Promise<void> {
    serviceId = newId(systemRandom);
    await near.store.update((tx) => {
      const task = TaskSpec.create({ container: ContainerSpec.create({ tty }) });
      const annotations = { name: tty ? "web-tty" : "web", labels: {} };
      const spec = ServiceSpec.create({ annotations, task });
      tx.create("service", Service.create({ id: serviceId, spec }));
    });
  }

  const nothing = (_: Task) => {};
  /** A task with a container on a node, which has said something before; on one that is gone the container is anywhere. */
  async function place(slot: number, nodeId: string, tty = false, says = nothing): Promise<Task> {
    const id = newId(systemRandom);
    const engine = nodeId === near.selfId ? near : far;
    const body = { Image: "busybox", Tty: tty };
    const made = await engine.send("POST", `/containers/create?name=web.${slot}.${id}`, { body });
    const container = { containerId: String(made.at("Id")), pid: 42, exitCode: 0 };
    const bare = testTask(id, {
      serviceId,
      slot,
      nodeId,
      serviceAnnotations: { name: "web", labels: {} },
      spec: TaskSpec.create({ container: ContainerSpec.create({ tty }) }),
    });
    const task = { ...bare, status: bare.status && { ...bare.status, container } };
    says(task);
    await near.store.update((tx) => tx.create("task", task));
    return task;
  }

  function log(task: Task, ...records: readonly LogRecord[]): void {
    logged.set(nameOf(task), [...records]);
  }
  function feed(task: Task): Feed<LogRecord> {
    const made = new Feed<LogRecord>();
    logged.set(nameOf(task), made);
    return made;
  }

  async function lines(path: string): Promise<Line[]> {
    const found: Line[] = [];
    for await (const line of read(near, path, new AbortController().signal)) found.push(line);
    return found;
  }
  const all = "logs?stdout=1&stderr=1";

  it("merges the tasks of all nodes by time", async () => {
    log(await place(1, farId), record(1, "far one"), record(4, "far four"));
    log(await place(2, near.selfId), record(2, "near two"), record(3, "near three", "stderr"));
    log(await place(3, farId), record(5, "third"));
    assert.deepEqual(await lines(`/services/web/${all}`), [
      { stream: 1, text: "far one\n" },
      { stream: 1, text: "near two\n" },
      { stream: 2, text: "near three\n" },
      { stream: 1, text: "far four\n" },
      { stream: 1, text: "third\n" },
    ]);
  });

  it("gives times and details as Docker does", async () => {
    const task = await place(1, farId);
    log(task, record(1, "text"));
    const [line] = await lines(`/services/web/${all}&details=1&timestamps=1`);
    const details = [
      `com.docker.swarm.node.id=${farId}`,
      `com.docker.swarm.service.id=${serviceId}`,
      `com.docker.swarm.task.id=${task.id}`,
    ].join(",");
    assert.equal(line?.text, `2023-11-14T22:13:21.000000005Z ${details} text\n`);
  });

  it("passes on what is wanted of each log", async () => {
    log(await place(1, farId), record(1, "old"), record(5, "new"), record(6, "newest"));
    log(await place(2, near.selfId), record(2, "old"), record(7, "new"));
    const wanted = await lines("/services/web/logs?stdout=1&since=1700000003.5&tail=1");
    assert.deepEqual(
      wanted.map(({ text }) => text),
      ["newest\n", "new\n"],
    );
    assert(asked.every(({ stderr, tail }) => !stderr && tail === 1));
  });

  it("takes a number or all for the tail, and refuses what is neither", async () => {
    log(await place(1, farId), record(1, "old"), record(2, "new"));
    assert.equal((await lines("/services/web/logs?stdout=1&tail=all")).length, 2);
    const refused = await near.send("GET", "/services/web/logs?stdout=1&tail=x");
    assert.equal(refused.status, 400);
    assert.match(JSON.stringify(refused), /tail value must be a positive integer or/);
  });

  it("gives the log of one task", async () => {
    const task = await place(1, farId);
    log(task, record(1, "mine"));
    log(await place(2, farId), record(1, "not mine"));
    assert.deepEqual(
      (await lines(`/tasks/${task.id}/${all}`)).map(({ text }) => text),
      ["mine\n"],
    );
  });

  it("gives the bare output of terminals", async () => {
    await service(true);
    log(await place(1, farId, true), record(2, "two\r"), record(3, "prompt$ ", "stdout", ""));
    log(await place(2, near.selfId, true), record(1, "one\r"));
    const answer = await near.send("GET", `/v1.44/services/web-tty/${all}`);
    assert.equal(answer.text, "one\r\ntwo\r\nprompt$ ");
    assert.equal(answer.headers["content-type"], "application/vnd.docker.raw-stream");
  });

  it("says at the end what could not be had, as Docker does", async () => {
    log(await place(1, farId), record(1, "here"));
    await place(2, lostId);
    const waiting = newId(systemRandom);
    await near.store.update((tx) => {
      tx.create("task", testTask(waiting, { serviceId, slot: 3, state: "new" }));
    });
    const [first, last, ...more] = await lines(`/services/web/${all}`);
    assert.equal(first?.text, "here\n");
    assert.equal(last?.stream, 3);
    assert(
      last?.text.startsWith(
        "Error grabbing logs: rpc error: code = Unknown desc = warning: incomplete log stream. " +
          "some logs could not be retrieved for the following reasons: ",
      ),
    );
    assert.match(last.text, new RegExp(`node ${lostId} is not available`));
    assert.match(last.text, new RegExp(`task ${waiting} has not been scheduled`));
    assert.deepEqual(more, []);
  });

  it("gives up a node that falls silent", async () => {
    const never = feed(await place(1, farId));
    const answer = lines(`/services/web/${all}`);
    await until(() => silent.length > 0, { withinMs: 60_000, what: "the log is asked for" });
    for (const tell of silent) tell();
    const [notice] = await answer;
    assert.equal(notice?.stream, 3);
    assert.match(notice.text, new RegExp(`node ${farId} is not available`));
    never.end();
  });

  it("leaves out containers that are gone", async () => {
    const task = await place(1, farId);
    await far.runtime.containers.remove(containerOf(task), { force: true });
    assert.deepEqual(await lines(`/services/web/${all}`), []);
  });

  it("refuses what is not there, and a wish for nothing", async () => {
    const missing = await near.send("GET", "/services/nothing/logs?stdout=1");
    assert.equal(missing.status, 404);
    assert.match(missing.message, /service nothing not found/);
    const nothing = await near.send("GET", "/services/web/logs");
    assert.equal(nothing.status, 400);
    assert.equal(nothing.message, "Bad parameters: you must choose at least one stream");
    near.setStatus({ isManager: false, controlAvailable: false });
    assert.equal((await near.send("GET", `/services/web/${all}`)).status, 503);
  });

  describe("followed", () => {
    let stop: AbortController;
    let heard: string[];
    let reading: Promise<void>;
    beforeEach(() => {
      stop = new AbortController();
      heard = [];
    });
    afterEach(async () => {
      stop.abort();
      await reading;
    });

    function follow(): void {
      reading = (async () => {
        try {
          for await (const { text } of read(near, `/services/web/${all}&follow=1`, stop.signal)) {
            heard.push(text);
          }
        } catch {
          // Stopped.
        }
      })();
    }
    const hears = (text: string) =>
      until(() => heard.some((line) => line.includes(text)), { withinMs: 60_000, what: text });

    it("gives what is said from now on, also by tasks that start later", async () => {
      const first = feed(await place(1, farId));
      follow();
      first.push(record(1, "first"));
      await hears("first");
      // Whoever follows asks for its log as soon as it is there.
      await place(2, near.selfId, false, (task) => feed(task).push(record(2, "second")));
      await hears("second");
      first.push(record(3, "third"));
      await hears("third");
    });

    it("tells once that a node is away, and goes on when it is back", async () => {
      const task = await place(1, farId);
      feed(task).push(record(1, "before"));
      await place(2, farId);
      follow();
      await hears("before");
      isFarReachable = false;
      for (const tunnel of tunnels) tunnel.destroy();
      await hears(`incomplete log stream: node ${farId} is not available`);
      isFarReachable = true;
      log(task, record(1, "before"), record(2, "meanwhile"));
      await hears("meanwhile");
      assert.equal(heard.filter((text) => text === "before\n").length, 1);
      assert.equal(heard.filter((text) => text.includes("incomplete")).length, 1);
    });

    it("tells of a node that is silent, without giving it up", async () => {
      const said = feed(await place(1, farId));
      follow();
      said.push(record(1, "before"));
      await hears("before");
      for (const tell of silent) tell();
      await hears("incomplete log stream");
      said.push(record(2, "after"));
      await hears("after");
    });

    it("lets go of all nodes when the client leaves", async () => {
      const said = feed(await place(1, farId));
      follow();
      said.push(record(1, "hello"));
      await hears("hello");
      stop.abort();
      await until(() => tunnels.every(({ destroyed }) => destroyed), {
        withinMs: 60_000,
        what: "the tunnels are closed",
      });
    });
  });

  for (const client of dockerClients()) {
    it(`serves docker service logs of the ${client.name} client`, async () => {
      const task = await place(1, farId);
      log(task, record(1, "said this"));
      const docker = (...args: string[]) => runDocker(client, near.socket, args);
      const whole = await docker("service", "logs", "web");
      assert.equal(whole.code, 0, whole.stderr);
      assert.match(
        whole.stdout,
        new RegExp(`^web\\.1\\.${task.id.slice(0, 12)}@far +\\| said this`),
      );
      const raw = await docker("service", "logs", "--raw", task.id);
      assert.equal(raw.stdout, "said this\n");
      await place(2, lostId);
      const partly = await docker("service", "logs", "web");
      assert.match(partly.stdout, /said this/);
      assert.match(partly.stderr, /incomplete log stream/);
      assert.equal(partly.code, 1);
    });
  }
});

function record(
  second: number,
  text: string,
  stream: "stdout" | "stderr" = "stdout",
  end = "\n",
): LogRecord {
  const timeNs = BigInt(1_700_000_000 + second) * 1_000_000_000n + 5n;
  return { stream, timeNs, data: Buffer.from(`${text}${end}`) };
}

async function* given(records: readonly LogRecord[], o: LogOptions): AsyncIterable<LogRecord> {
  const { sinceNs = 0n, tail } = o;
  const wanted = records.filter((r) => r.timeNs >= sinceNs && o[r.stream]);
  yield* tail === undefined ? wanted : wanted.slice(-tail);
}

function nameOf({ id, slot }: Task): string {
  return `web.${slot}.${id}`;
}

function containerOf(task: Task): string {
  return task.status?.container?.containerId ?? "";
}

/** The frames of an answer as they come. */
async function* read(engine: TestEngine, path: string, signal: AbortSignal): AsyncIterable<Line> {
  const sent = request({ socketPath: engine.socket, path, signal });
  sent.end();
  const answer = await new Promise<AsyncIterable<Buffer>>((resolve, reject) => {
    sent.on("response", resolve);
    sent.on("error", reject);
  });
  let rest = Buffer.alloc(0);
  for await (const piece of answer) {
    rest = Buffer.concat([rest, piece]);
    while (rest.length >= 8 && rest.length >= 8 + rest.readUInt32BE(4)) {
      const end = 8 + rest.readUInt32BE(4);
      yield { stream: rest[0] ?? 0, text: rest.toString("utf8", 8, end) };
      rest = rest.subarray(end);
    }
  }
}
