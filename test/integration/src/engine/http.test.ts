/**
 * The HTTP side of the Engine API: negotiation, headers, malformed and hostile input, cut and streamed connections.
 */
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { createConnection } from "node:net";
import type { Task } from "../../../../src/common/api/generated/api.ts";
import { systemClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { systemRandom } from "../../../../src/common/random/random.ts";
import { EngineServer } from "../../../../src/engine/server.ts";
import { startEngine, type TestEngine, testFacts, testTask } from "../../../support/engine.ts";

describe("engine over HTTP", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine.stop());

  const secret = (name: string, data = "eA==") => ({ Name: name, Labels: {}, Data: data });

  it("answers the ping with the headers clients negotiate by", async () => {
    for (const method of ["GET", "HEAD"]) {
      const { status, headers, text } = await engine.send(method, "/_ping");
      assert.equal(status, 200);
      assert.equal(text, method === "GET" ? "OK" : "");
      assert.equal(headers["api-version"], "1.47");
      assert.equal(headers["ostype"], "linux");
      assert.equal(headers["docker-experimental"], "false");
      assert.equal(headers["builder-version"], "");
      assert.equal(headers["swarm"], "active/manager");
      assert.equal(headers["server"], "Docker/0.1.0 (linux)");
      assert.equal(headers["cache-control"], "no-cache, no-store, must-revalidate");
      assert.equal(headers["pragma"], "no-cache");
      assert.match(String(headers["content-type"]), /^text\/plain/);
    }
  });

  it("keeps a connection for a slow client's next request", async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const client = createConnection(engine.socket, () => {
        client.write("GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n");
      });
      client.once("error", reject).once("data", (chunk) => {
        client.destroy();
        resolve(chunk.toString());
      });
    });
    assert.match(answer, /^keep-alive: timeout=120\r$/im);
  });

  it("answers the ping in every state of the node", async () => {
    const texts = [
      [{ state: "inactive", controlAvailable: false }, "inactive"],
      [{ state: "locked", controlAvailable: false }, "locked"],
      [{ state: "active", isManager: false, controlAvailable: false }, "active/worker"],
      [{ state: "active", isManager: true, controlAvailable: true }, "active/manager"],
    ] as const;
    for (const [status, text] of texts) {
      engine.setStatus(status);
      assert.equal((await engine.send("HEAD", "/v1.41/_ping")).headers["swarm"], text);
    }
  });

  it("serves versions 1.24 to 1.47 and says why not others", async () => {
    for (const version of ["1.24", "1.41", "1.47"])
      assert.equal((await engine.send("GET", `/v${version}/version`)).status, 200);
    const fresh = await engine.send("GET", "/v1.48/version");
    assert.equal(fresh.status, 400);
    assert.equal(
      fresh.message,
      "client version 1.48 is too new. Maximum supported API version is 1.47",
    );
    const stale = await engine.send("GET", "/v1.23/version");
    assert.equal(stale.status, 400);
    assert.match(
      stale.message,
      /^client version 1\.23 is too old\. Minimum supported API version is 1\.24,/,
    );
  });

  it("says page not found for unknown paths and methods", async () => {
    for (const [method, path] of [
      ["GET", "/nothing"],
      ["GET", "/v1.41/"],
      ["PATCH", "/services"],
      ["DELETE", "/swarm"],
      ["OPTIONS", "*"],
    ] as const) {
      const { status, json } = await engine.send(method, path);
      assert.equal(status, 404, path);
      assert.deepEqual(json, { message: "page not found" });
    }
  });

  it("names what is wrong with a body", async () => {
    const cases: readonly (readonly [unknown, RegExp])[] = [
      ["{", /invalid JSON: .*(end of JSON|byte)/],
      ["not json", /invalid JSON: /],
      ["[]", /invalid JSON: the request body must be an object, not a list/],
      ["null", /must be an object, not null/],
      [{ Name: 5, Data: "eA==" }, /invalid JSON: Name must be a string, not 5/],
      [{ Name: "a", Data: "e" }, /invalid JSON: Data must be base64 data/],
      [
        { Name: "a", Labels: { x: [] } },
        /invalid JSON: Labels\["x"\] must be a string, not a list/,
      ],
      [{ Name: "a", Labels: "x" }, /invalid JSON: Labels must be an object, not text/],
    ];
    for (const [body, expected] of cases) {
      const { status, message } = await engine.send("POST", "/secrets/create", { body });
      assert.equal(status, 400, JSON.stringify(body));
      assert.match(message, expected);
    }
  });

  it("never repeats a malformed body in its answer", async () => {
    const body = '{"Name":"a","Data":"c2VjcmV0c2VjcmV0" oops';
    const { message } = await engine.send("POST", "/secrets/create", { body });
    assert.ok(!message.includes("c2VjcmV0"), message);
  });

  it("refuses another content type and a body that is too large", async () => {
    const headers = { "content-type": "text/plain" };
    const other = await engine.send("POST", "/secrets/create", { body: "{}", headers });
    assert.equal(other.status, 400);
    assert.match(
      other.message,
      /unsupported Content-Type header \(text\/plain\): must be 'application\/json'/,
    );
    const large = await engine.send("POST", "/secrets/create", {
      body: secret("big", "A".repeat(5 * 2 ** 20)),
    });
    assert.equal(large.status, 400);
    assert.match(large.message, /request body is too large/);
  });

  it("holds the limits of secrets and configs", async () => {
    const data = (bytes: number) => Buffer.alloc(bytes, 1).toString("base64");
    const cases = [
      ["secrets", 511_999, 201],
      ["secrets", 512_000, 400],
      ["secrets", 0, 400],
      ["configs", 1_023_999, 201],
      ["configs", 1_024_000, 400],
      ["configs", 0, 400],
    ] as const;
    for (const [kind, bytes, expected] of cases) {
      const body = secret(`size-${bytes}`, data(bytes));
      const { status, message } = await engine.send("POST", `/${kind}/create`, { body });
      assert.equal(status, expected, `${kind} of ${bytes}: ${message}`);
      if (status === 400)
        assert.match(
          message,
          /rpc error: code = InvalidArgument desc = (secret|config) data must be larger than 0 and less than \d+ bytes/,
        );
    }
  });

  it("keeps __proto__ and friends as plain labels", async () => {
    const body =
      '{"Name":"proto","Labels":{"__proto__":"a","constructor":"b","toString":"c"},"Data":"eA=="}';
    assert.equal((await engine.send("POST", "/configs/create", { body })).status, 201);
    const { text } = await engine.send("GET", "/configs/proto");
    assert.match(text, /"__proto__":"a"/);
    const filters = encodeURIComponent('{"label":{"__proto__=a":true}}');
    assert.equal((await engine.send("GET", `/configs?filters=${filters}`)).at("length"), 1);
    assert.equal(
      (await engine.send("GET", "/configs?filters=%7B%22__proto__%22%3A%7B%7D%7D")).status,
      400,
    );
    assert.equal(Object.hasOwn(Object.prototype, "a"), false);
  });

  it("refuses filters it does not know or cannot read", async () => {
    const cases = [
      ['{"nope":{"a":true}}', "invalid filter 'nope'"],
      ["{", "invalid filter"],
      ['{"name":5}', "invalid filter"],
      ["[]", "invalid filter"],
    ] as const;
    for (const [filters, message] of cases) {
      const path = `/services?filters=${encodeURIComponent(filters)}`;
      const answer = await engine.send("GET", path);
      assert.equal(answer.status, 400);
      assert.equal(answer.message, message);
    }
    const role = encodeURIComponent('{"role":{"boss":true}}');
    const { message } = await engine.send("GET", `/nodes?filters=${role}`);
    assert.equal(message, "Invalid role filter: 'boss'");
  });

  it("changes labels and data of a secret, and not its name", async () => {
    const made = await engine.send("POST", "/secrets/create", { body: secret("fixed") });
    const shown = await engine.send("GET", `/secrets/${made.at("ID")}`);
    const update = (version: unknown, body: unknown) =>
      engine.send("POST", `/secrets/${made.at("ID")}/update?version=${version}`, { body });
    const changed = await update(shown.at("Version", "Index"), { Name: "other", Data: "eQ==" });
    assert.equal(changed.status, 400);
    assert.match(changed.message, /only updates to Labels are allowed/);
    const labels = { Name: "fixed", Labels: { a: "b" }, Data: "eQ==" };
    assert.equal((await update(shown.at("Version", "Index"), labels)).status, 200);
    const stale = await update(shown.at("Version", "Index"), labels);
    assert.equal(stale.status, 500);
    assert.equal(stale.message, "rpc error: code = Unknown desc = update out of sequence");
    assert.equal((await update(Number.NaN, labels)).status, 400);
    const after = await engine.send("GET", "/secrets/fixed");
    assert.deepEqual(after.at("Spec"), { Name: "fixed", Labels: { a: "b" } });
  });

  it("finds by id, name and prefix, and says when that is not one", async () => {
    const made = await engine.send("POST", "/configs/create", { body: secret("found") });
    const id = String(made.at("ID"));
    for (const reference of [id, "found", id.slice(0, 12)])
      assert.equal((await engine.send("GET", `/configs/${reference}`)).at("ID"), id);
    const { status, message } = await engine.send("GET", "/configs/missing");
    assert.equal(status, 404);
    assert.equal(message, "config missing not found");
    assert.equal((await engine.send("GET", "/configs/%ff%")).status, 400);
  });

  it("streams a large list as whole JSON", async () => {
    const ids = Array.from({ length: 5000 }, (_, i) => String(i).padStart(25, "0"));
    await engine.store.batch(ids, (tx, id) => {
      const annotations = { name: `t${id}`, labels: {} };
      tx.create("task", testTask(id, { annotations, nodeId: engine.selfId }));
    });
    const all = await engine.send("GET", "/tasks");
    assert.equal(all.at("length"), 5000);
    assert.equal(all.at(0, "Status", "State"), "running");
    const filters = encodeURIComponent('{"node":{"host-1":true},"desired-state":{"running":true}}');
    assert.equal((await engine.send("GET", `/tasks?filters=${filters}`)).at("length"), 5000);
    await engine.store.batch(ids, (tx, id) => tx.remove("task", id));
  });

  it("tells of the specs a service had, and goes back to one by its number", async () => {
    const body = (Image: string) => ({ Name: "old", TaskTemplate: { ContainerSpec: { Image } } });
    const id = String(
      (await engine.send("POST", "/services/create", { body: body("a") })).at("ID"),
    );
    const post = async (query: string, spec: object) => {
      const version = String((await engine.send("GET", "/services/old")).at("Version", "Index"));
      return engine.send("POST", `/services/${id}/update?version=${version}${query}`, {
        body: spec,
      });
    };
    assert.equal((await post("", body("b"))).status, 200);
    const images = async () => {
      const history = await engine.send("GET", "/skep/services/old/history");
      assert.equal(history.status, 200);
      return [0, 1, 2].flatMap((at) => {
        const image = history.at(at, "Spec", "TaskTemplate", "ContainerSpec", "Image");
        return image === undefined ? [] : `${String(history.at(at, "Revision"))} ${String(image)}`;
      });
    };
    assert.deepEqual(await images(), ["2 b", "1 a"]);
    assert.match(
      String((await post("&rollbackTo=7", body("b"))).at("message")),
      /revision 7 of service old/,
    );
    assert.match(
      String((await post("&rollbackTo=x", body("b"))).at("message")),
      /invalid rollbackTo 'x'/,
    );
    assert.equal((await post("&rollbackTo=1", body("b"))).status, 200);
    assert.deepEqual(await images(), ["3 a", "2 b"]);
    assert.equal((await engine.send("DELETE", "/services/old")).status, 200);
  });

  it("counts running and desired tasks with status=true", async () => {
    const body = {
      Name: "counted",
      TaskTemplate: { ContainerSpec: { Image: "nginx" } },
      Mode: { Replicated: { Replicas: 4 } },
    };
    const made = await engine.send("POST", "/services/create", { body });
    await engine.store.update((tx) => {
      const states = ["running", "running", "failed", "running"] as const;
      for (const [i, state] of states.entries()) {
        // The last one is on a node that is gone: nobody knows whether it runs.
        const nodeId = i === 3 ? "gone" : engine.selfId;
        const fields: Partial<Task> = { serviceId: String(made.at("ID")), slot: i + 1, nodeId };
        tx.create("task", testTask(`a${i}`.padEnd(25, "0"), { ...fields, state }));
      }
    });
    const fresh = await engine.send("GET", "/services?status=true");
    assert.deepEqual(fresh.at(0, "ServiceStatus"), {
      RunningTasks: 2,
      DesiredTasks: 4,
      CompletedTasks: 0,
    });
    const old = await engine.send("GET", "/v1.40/services?status=true");
    assert.equal(old.at(0, "ServiceStatus"), undefined);
    assert.equal((await engine.send("DELETE", "/services/counted")).status, 200);
  });

  it("takes names of services for tasks, and refuses unknown ones", async () => {
    const filters = encodeURIComponent('{"service":["nobody"],"_up-to-date":["true"]}');
    const { status, message } = await engine.send("GET", `/tasks?filters=${filters}`);
    assert.equal(status, 404);
    assert.equal(message, "service nobody not found");
  });

  it("gives the socket mode 0660 and refuses a second daemon on it", async () => {
    assert.equal(statSync(engine.socket).mode & 0o777, 0o660);
    const second = new EngineServer({
      ports: { facts: testFacts } as never,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    await assert.rejects(second.listenUnix(engine.socket), { code: "already-exists" });
  });

  it("answers what is no HTTP and goes on", async () => {
    const answer = await raw(engine.socket, "hello\r\n\r\n");
    assert.match(answer, /^HTTP\/1\.1 400 Bad Request/);
    assert.match(answer, /the request is not valid HTTP/);
    const upgrade =
      "POST /session HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    assert.match(await raw(engine.socket, upgrade), /^HTTP\/1\.1 501 /);
    assert.equal((await engine.send("GET", "/_ping")).status, 200);
  });

  it("cuts a client that says nothing", async function () {
    this.timeout(300_000);
    assert.match(await raw(engine.socket, "GET /_ping HTTP/1.1\r\n"), /^HTTP\/1\.1 408 /);
  });
});

/** Writes bytes and reads until the other side closes or has answered a request. */
function raw(path: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = createConnection(path, () => socket.write(text));
    socket.on("data", (piece) => {
      answer += piece;
      if (/\r\n\r\n.*\}\n$/s.test(answer)) socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(answer));
  });
}
