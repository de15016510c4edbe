/**
 * Containers and processes over HTTP, with a runtime in memory: routes, statuses, messages, hijacked connections.
 */
import assert from "node:assert/strict";
import { createConnection, type Socket } from "node:net";
import { startEngine, type TestEngine } from "../../../support/engine.ts";
import { until } from "../../../support/wait.ts";

describe("engine's containers over HTTP", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine.stop());

  const create = async (name: string, body: object = {}): Promise<string> => {
    const answer = await engine.send("POST", `/containers/create?name=${name}`, {
      body: { Image: "busybox", Cmd: ["cat"], ...body },
    });
    assert.equal(answer.status, 201, answer.message);
    return String(answer.at("Id"));
  };
  const filter = (filters: object) => encodeURIComponent(JSON.stringify(filters));

  it("goes through the life of a container with Docker's statuses", async () => {
    const id = await create("life");
    const steps = [
      ["POST", "/containers/life/stop", 304],
      ["POST", "/containers/life/pause", 409],
      ["POST", "/containers/life/start", 204],
      ["POST", `/containers/${id.slice(0, 12)}/start`, 304],
      ["POST", "/containers/life/pause", 204],
      ["POST", "/containers/life/pause", 409],
      ["POST", "/containers/life/start", 409],
      ["POST", "/containers/life/unpause", 204],
      ["POST", "/containers/life/unpause", 409],
      ["POST", "/containers/life/resize?h=20&w=80", 200],
      ["DELETE", "/containers/life", 409],
      ["POST", "/containers/life/rename?name=other", 204],
      ["POST", "/containers/life/stop", 404],
      ["POST", "/containers//other/stop?t=1", 204],
      ["POST", "/containers/other/kill", 409],
      ["DELETE", "/containers/other?force=1", 204],
      ["GET", "/containers/other/json", 404],
    ] as const;
    for (const [method, path, status] of steps)
      assert.equal((await engine.send(method, path)).status, status, `${method} ${path}`);
  });

  it("says in Docker's words what is wrong", async () => {
    const id = await create("taken");
    const again = await engine.send("POST", "/containers/create?name=taken", {
      body: { Image: "busybox" },
    });
    assert.equal(again.status, 409);
    assert.equal(
      again.message,
      `Conflict. The container name "/taken" is already in use by container "${id}". You have to remove (or rename) that container to be able to reuse that name.`,
    );
    const cases = [
      ["POST", "/containers/create", { Image: "nothing" }, 404, "No such image: nothing:latest"],
      ["POST", "/containers/create", {}, 400, "config cannot be empty"],
      ["GET", "/containers/none/json", undefined, 404, "No such container: none"],
      ["POST", "/containers/taken/kill", undefined, 409, `Container ${id} is not running`],
      ["POST", "/containers/taken/exec", { Cmd: ["a"] }, 409, `Container ${id} is not running`],
      ["POST", "/containers/taken/exec", {}, 400, "No exec command specified"],
      ["POST", "/containers/taken/wait?condition=odd", undefined, 400, 'invalid condition: "odd"'],
      ["GET", "/containers/taken/logs", undefined, 400, "you must choose at least one stream"],
      ["GET", "/exec/none/json", undefined, 404, "No such exec instance: none"],
      ["POST", "/containers/taken/attach?detachKeys=ctrl-1", undefined, 400, "Invalid detach keys"],
      ["GET", "/containers/taken/attach/ws", undefined, 501, "websocket"],
      ["POST", "/containers/taken/rename", undefined, 400, "names may be empty"],
      [
        "GET",
        `/containers/json?filters=${filter({ status: ["odd"] })}`,
        undefined,
        400,
        "status=odd",
      ],
      [
        "GET",
        `/containers/json?filters=${filter({ odd: ["x"] })}`,
        undefined,
        400,
        "invalid filter 'odd'",
      ],
    ] as const;
    for (const [method, path, body, status, text] of cases) {
      const answer = await engine.send(method, path, { body });
      assert.equal(answer.status, status, `${method} ${path}: ${answer.message}`);
      assert.ok(answer.message.includes(text), answer.message);
    }
  });

  it("filters and limits the list, newest first", async () => {
    const ids = [
      await create("f-one", { Labels: { f: "1" } }),
      await create("f-two", { Labels: { f: "2" } }),
    ];
    await engine.send("POST", "/containers/f-one/start");
    const names = async (query: string) => {
      const { json } = await engine.send("GET", `/containers/json?${query}`);
      return (json as { Names: string[] }[]).map(({ Names }) => Names[0]);
    };
    const cases: readonly (readonly [string, readonly string[]])[] = [
      [`filters=${filter({ name: ["^/?f-"] })}`, ["/f-one"]],
      [`all=1&filters=${filter({ name: ["f-"] })}`, ["/f-two", "/f-one"]],
      [`limit=1&filters=${filter({ label: ["f"] })}`, ["/f-two"]],
      [`all=1&filters=${filter({ label: ["f=1"] })}`, ["/f-one"]],
      [`filters=${filter({ label: ["f"], status: ["created"] })}`, ["/f-two"]],
      [`all=1&filters=${filter({ id: [ids[1]?.slice(0, 12)] })}`, ["/f-two"]],
      [`all=1&filters=${filter({ label: ["f"], ancestor: ["busybox"] })}`, ["/f-two", "/f-one"]],
      [`all=1&filters=${filter({ label: ["f"], ancestor: ["nothing"] })}`, []],
      [`all=1&filters=${filter({ since: ["f-one"] })}`, ["/f-two"]],
      [`all=1&filters=${filter({ label: ["f"], before: ["f-two"] })}`, ["/f-one"]],
      [`all=1&filters=${filter({ label: ["f"], "is-task": ["true"] })}`, []],
      [`all=1&filters=${filter({ label: ["f"], health: ["healthy"] })}`, []],
    ];
    for (const [query, expected] of cases) assert.deepEqual(await names(query), expected, query);
    const [line] = (await engine.send("GET", "/containers/json?size=1")).json as Record<
      string,
      unknown
    >[];
    assert.equal(line?.["SizeRw"], 10);
    assert.equal(line?.["Image"], "busybox");
    assert.match(String(line?.["Status"]), /^Up /);
  });

  it("lists a container by the name of its image, also where that stands for several platforms", async () => {
    const { images } = engine.runtime;
    const shown = async (name: string) => {
      const { json } = await engine.send("GET", "/containers/json?all=1");
      const lines = json as { readonly Names: readonly string[]; readonly Image: string }[];
      return lines.find(({ Names }) => Names.includes(`/${name}`))?.Image;
    };
    const mine = images.add("multi:1");
    images.add("multi:1", "arm");
    await create("named", { Image: "multi:1" });
    await create("by-id", { Image: mine.id.slice(7, 19) });
    assert.equal(await shown("named"), "multi:1");
    assert.equal(await shown("by-id"), mine.id.slice(7, 19));
    await images.remove(mine.id, { force: true, inUse: () => false });
    assert.equal(await shown("named"), mine.id);
  });

  it("shows what was asked for as it was asked for", async () => {
    const host = {
      Binds: ["data:/data:ro"],
      NetworkMode: "none",
      CapAdd: ["NET_ADMIN"],
      SecurityOpt: ["no-new-privileges"],
      Memory: 64 * 2 ** 20,
      RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 },
      LogConfig: { Type: "json-file", Config: { "max-size": "1m" } },
      Tmpfs: { "/t": "size=1m" },
      Ulimits: [{ Name: "nofile", Soft: 10, Hard: 20 }],
      Dns: ["10.0.0.1"],
    };
    await create("round", { HostConfig: host, Labels: { a: "b" }, ExposedPorts: { "80/tcp": {} } });
    const { json } = await engine.send("GET", "/containers/round/json");
    const shown = json as { HostConfig: Record<string, unknown>; Config: Record<string, unknown> };
    for (const [key, value] of Object.entries(host))
      assert.deepEqual(shown.HostConfig[key], value, key);
    assert.equal(shown.HostConfig["MemorySwap"], 128 * 2 ** 20);
    assert.deepEqual(shown.Config["Cmd"], ["cat"]);
    assert.deepEqual(shown.Config["ExposedPorts"], { "80/tcp": {} });
    assert.deepEqual(shown.Config["Env"], ["PATH=/bin"]);
    await engine.send("POST", "/containers/round/update", {
      body: { Memory: 32 * 2 ** 20, CpuShares: 5, RestartPolicy: { Name: "always" } },
    });
    const after = await engine.send("GET", "/containers/round/json");
    assert.equal(after.at("HostConfig", "Memory"), 32 * 2 ** 20);
    assert.equal(after.at("HostConfig", "CpuShares"), 5);
    assert.deepEqual(after.at("HostConfig", "RestartPolicy"), {
      Name: "always",
      MaximumRetryCount: 0,
    });
  });

  it("sends the head of a wait at once, and its body at the end", async () => {
    await create("waited");
    await engine.send("POST", "/containers/waited/start");
    const client = open(engine, "POST /containers/waited/wait?condition=next-exit");
    await received(client, "200 OK");
    assert.ok(!client.text().includes("StatusCode"));
    await engine.send("POST", "/containers/waited/kill?signal=TERM");
    await received(client, '{"StatusCode":137}');
    assert.ok(engine.runtime.containers.calls.includes("kill TERM"));
    client.socket.destroy();
  });

  it("attaches with 101, frames, and the end of input", async () => {
    await create("attached", { OpenStdin: true, StdinOnce: true });
    await engine.send("POST", "/containers/attached/start");
    const client = open(
      engine,
      "POST /v1.42/containers/attached/attach?stream=1&stdin=1&stdout=1",
      upgrade,
    );
    await received(client, "\r\n\r\n");
    assert.match(client.text(), /^HTTP\/1\.1 101 UPGRADED\r\n/);
    assert.match(client.text(), /Content-Type: application\/vnd\.docker\.multiplexed-stream/);
    client.socket.end("hello");
    await client.closed;
    assert.ok(
      client.text().endsWith("\u0001\0\0\0\0\0\0\u0005hello"),
      JSON.stringify(client.text()),
    );
  });

  it("detaches from a terminal by its keys", async () => {
    await create("terminal", { OpenStdin: true, Tty: true });
    await engine.send("POST", "/containers/terminal/start");
    const client = open(
      engine,
      "POST /containers/terminal/attach?stream=1&stdin=1&stdout=1",
      upgrade,
    );
    await received(client, "\r\n\r\n");
    client.socket.write("raw\x10");
    client.socket.write("\x11");
    await client.closed;
    assert.ok(client.text().endsWith("raw"), JSON.stringify(client.text()));
    const shown = await engine.send("GET", "/containers/terminal/json");
    assert.equal(shown.at("State", "Running"), true);
  });

  it("runs a process attached, reads its body from the upgraded connection, and tells its end", async () => {
    await create("boxed");
    await engine.send("POST", "/containers/boxed/start");
    const made = await engine.send("POST", "/containers/boxed/exec", {
      body: { Cmd: ["cat"], AttachStdin: true, AttachStdout: true },
    });
    assert.equal(made.status, 201);
    const path = `/exec/${made.at("Id")}`;
    const body = '{"Detach":false,"Tty":false}';
    const head = `${upgrade}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
    const client = open(engine, `POST ${path}/start`, head, body);
    await received(client, "\r\n\r\n");
    // 1 MB in many pieces: all of it comes back, in order.
    const sent = Buffer.alloc(2 ** 20, "abcdefghij");
    client.socket.end(sent);
    await client.closed;
    const back = framesOf(client.bytes());
    assert.equal(Buffer.compare(back, sent), 0);
    const after = await engine.send("GET", `${path}/json`);
    assert.equal(after.at("ExitCode"), 7);
    assert.equal(after.at("Running"), false);
  });

  it("says where the output goes that a program is missing", async () => {
    await create("short");
    await engine.send("POST", "/containers/short/start");
    const made = await engine.send("POST", "/containers/short/exec", {
      body: { Cmd: ["missing"] },
    });
    const path = `/exec/${made.at("Id")}`;
    const plain = await engine.send("POST", `${path}/start`, { body: {} });
    assert.equal(plain.status, 200);
    assert.match(plain.text, /executable file not found in \$PATH\r\n$/);
    const again = await engine.send("POST", `${path}/start`, { body: {} });
    assert.equal(again.status, 409);
    assert.match(again.message, /has already run/);
  });

  it("gives logs in frames, with times and details", async () => {
    const options = { Type: "json-file", Config: { labels: "tier", env: "A" } };
    await create("logged", {
      Labels: { tier: "front" },
      Env: ["A=1 2"],
      HostConfig: { LogConfig: options },
    });
    const { records } = engine.runtime.containers;
    records.push(
      { stream: "stdout", timeNs: 1_700_000_000_000_000_001n, data: Buffer.from("one\n") },
      { stream: "stderr", timeNs: 1_700_000_001_000_000_000n, data: Buffer.from("two\n") },
    );
    const plain = await engine.send("GET", "/v1.41/containers/logged/logs?stdout=1&stderr=1");
    assert.equal(plain.text, "\u0001\0\0\0\0\0\0\u0004one\n\u0002\0\0\0\0\0\0\u0004two\n");
    assert.equal(plain.headers["content-type"], undefined);
    const query = "stdout=1&stderr=1&timestamps=1&details=1&since=1700000000.5&tail=5";
    const detailed = await engine.send("GET", `/containers/logged/logs?${query}`);
    assert.ok(
      detailed.text.endsWith("2023-11-14T22:13:21.000000000Z A=1%202,tier=front two\n"),
      detailed.text,
    );
    assert.equal(detailed.headers["content-type"], "application/vnd.docker.multiplexed-stream");
  });

  it("prunes what has stopped", async () => {
    await create("pruned", { Labels: { p: "1" } });
    await create("kept", { Labels: { p: "2" } });
    const path = `/containers/prune?filters=${filter({ label: ["p"], "label!": ["p=2"] })}`;
    const { json } = await engine.send("POST", path);
    assert.equal((json as { ContainersDeleted: string[] }).ContainersDeleted.length, 1);
    assert.equal((json as { SpaceReclaimed: number }).SpaceReclaimed, 10);
    assert.equal((await engine.send("GET", "/containers/kept/json")).status, 200);
  });
});

const upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";

/** A bare connection on which a request was sent. */
function open(engine: TestEngine, line: string, headers = "", body = "") {
  const received: Buffer[] = [];
  const socket: Socket = createConnection({ path: engine.socket, allowHalfOpen: true });
  socket.write(`${line} HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`);
  socket.on("data", (piece: Buffer) => received.push(piece));
  socket.on("end", () => socket.end());
  return {
    socket,
    bytes: () => Buffer.concat(received),
    text: () => Buffer.concat(received).toString("latin1"),
    closed: new Promise<void>((resolve) => socket.once("close", () => resolve())),
  };
}

/** Waits for a text in what the other side has sent. */
function received(client: ReturnType<typeof open>, text: string): Promise<true> {
  const what = `${JSON.stringify(text)} to be received`;
  return until(() => client.text().includes(text), { withinMs: 60_000, everyMs: 5, what });
}

/** What the frames after the head hold. */
function framesOf(bytes: Buffer): Buffer {
  const pieces: Buffer[] = [];
  let at = bytes.indexOf("\r\n\r\n") + 4;
  while (at < bytes.length) {
    const length = bytes.readUInt32BE(at + 4);
    pieces.push(bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return Buffer.concat(pieces);
}
