/**
 * The RPC layer over loopback: mutual TLS, roles, hot swap, bounds and silence, with the real grpc-js on both ends.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import {
  AgentHello,
  AgentMessage,
  ControlService,
  CreateSecretRequest,
  DispatcherService,
  type MethodDescriptor,
  NodeCaService,
  ObjectId,
  RaftSnapshotChunk,
  RaftSnapshotReply,
  RaftTransportService,
  SessionMessage,
} from "../../../../src/common/api/generated/api.ts";
import { systemClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import type { Standing } from "../../../../src/common/identity/types.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { type DialOptions, dial, type RpcClient } from "../../../../src/common/rpc/client.ts";
import {
  bidiStream,
  type CallContext,
  clientStream,
  type MessageStream,
  type Registration,
  unary,
} from "../../../../src/common/rpc/handler.ts";
import { type ListenAddress, proxyHeader } from "../../../../src/common/rpc/relay.ts";
import { type RpcServer, serve } from "../../../../src/common/rpc/server.ts";
import { type TestCluster, type TestNode, testCluster } from "../../../support/test-cluster.ts";

describe("src/common/rpc", () => {
  let cluster: TestCluster;
  let manager: TestNode;
  let worker: TestNode;
  const toClose: { close(): unknown }[] = [];
  const standings = new Map<string, Standing>();
  let last: CallContext | undefined;
  let sessionsOpen = 0;

  before(async () => {
    cluster = await testCluster();
    manager = await cluster.node("manager");
    worker = await cluster.node("worker");
  });
  afterEach(async () => {
    standings.clear();
    for (const thing of toClose.splice(0).reverse()) await thing.close();
  });

  const handlers: readonly Registration[] = [
    unary(NodeCaService.getRootCertificate, async (_q, call) => {
      last = call;
      return { certificate: Buffer.from(cluster.root.certificate) };
    }),
    unary(ControlService.createSecret, async (q, call) => {
      last = call;
      const name = q.spec?.annotations?.name ?? "";
      if (name === "taken") {
        throw new ClusterError("already-exists", "name conflicts with an existing object: ünï", {
          fields: { "secret.id": "x1", count: 2 },
        });
      }
      if (name === "bug") throw new TypeError("boom");
      if (name === "slow") {
        await new Promise((_, reject) => {
          call.signal.addEventListener("abort", () => reject(call.signal.reason));
        });
      }
      return ObjectId.create({ id: name });
    }),
    bidiStream(DispatcherService.session, async (messages, call) => {
      last = call;
      sessionsOpen++;
      try {
        await echo(messages);
      } finally {
        sessionsOpen--;
      }
    }),
    clientStream(RaftTransportService.snapshot, async (chunks) => {
      let bytes = 0;
      for await (const chunk of chunks) bytes += chunk.data.length;
      return RaftSnapshotReply.create({ accepted: true, reason: `${bytes}` });
    }),
  ];

  async function start(listen: ListenAddress = { host: "127.0.0.1", port: 0 }): Promise<RpcServer> {
    const server = await serve({
      listen,
      tls: manager.tls,
      handlers,
      standing: (id) => standings.get(id) ?? "unknown",
      clock: systemClock,
      log: silentLog,
    });
    toClose.push(server);
    return server;
  }

  function client(port: number, options: Partial<DialOptions> = {}): RpcClient {
    const made = dial({ address: `127.0.0.1:${port}`, tls: manager.tls, ...options });
    toClose.push(made);
    return made;
  }

  const secret = (name: string) =>
    CreateSecretRequest.create({
      spec: {
        annotations: { name, labels: {} },
        data: new Uint8Array(),
        driver: undefined,
        templating: undefined,
      },
    });
  const refused = (code: string, text: RegExp) => (error: unknown) => {
    assert(error instanceof ClusterError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  };

  it("answers a manager and tells the handler who called from where", async () => {
    const { port } = await start();
    const reply = await client(port).call(ControlService.createSecret, secret("a"));
    assert.equal(reply.id, "a");
    assert.equal(last?.peer?.nodeId, manager.nodeId);
    assert.equal(last?.peer?.role, "manager");
    assert.equal(last?.peer?.clusterId, cluster.clusterId);
    assert.equal(last?.address, "127.0.0.1");
    assert.equal(last?.forwarded, false);
    await client(port).call(ControlService.createSecret, secret("a"), { forwarded: true });
    assert.equal(last?.forwarded, true);
  });

  it("carries an error's code, text and fields, and hides bugs", async () => {
    const { port } = await start();
    const c = client(port);
    await assert.rejects(c.call(ControlService.createSecret, secret("taken")), (error) => {
      refused("already-exists", /^name conflicts with an existing object: ünï$/)(error);
      assert.deepEqual((error as ClusterError).fields, { "secret.id": "x1", count: 2 });
      return true;
    });
    await assert.rejects(
      c.call(ControlService.createSecret, secret("bug")),
      refused("internal", /^internal error/),
    );
  });

  it("refuses a worker on a manager's method", async () => {
    const { port } = await start();
    await assert.rejects(
      client(port, { tls: worker.tls }).call(ControlService.createSecret, secret("a")),
      refused("permission-denied", /is a worker$/),
    );
  });

  it("refuses a call without a certificate, except where anyone may call", async () => {
    const { port } = await start();
    const c = client(port, { tls: { roots: cluster.root.certificate } });
    await assert.rejects(
      c.call(ControlService.createSecret, secret("a")),
      refused("unauthenticated", /certificate/),
    );
    await c.call(NodeCaService.getRootCertificate, {});
    assert.equal(last?.peer, undefined);
    assert.equal(last?.address, "127.0.0.1");
  });

  it("serves the root to a client that verifies nothing yet", async () => {
    const { port } = await start();
    const reply = await client(port, { tls: "unverified" }).call(
      NodeCaService.getRootCertificate,
      {},
    );
    assert.equal(Buffer.from(reply.certificate).toString(), cluster.root.certificate);
  });

  it("treats a certificate of another cluster and an expired one as none", async () => {
    const { port } = await start();
    const other = await (await testCluster()).node("manager");
    const old = await cluster.node("manager", { nowMs: Date.now() - 48 * 3600_000 });
    for (const tls of [{ ...other.tls, roots: cluster.root.certificate }, old.tls]) {
      const c = client(port, { tls });
      await assert.rejects(
        c.call(ControlService.createSecret, secret("a")),
        refused("unauthenticated", /certificate/),
      );
      await c.call(NodeCaService.getRootCertificate, {});
      assert.equal(last?.peer, undefined);
    }
  });

  it("refuses a certificate of another cluster id under the same root", async () => {
    const { port } = await start();
    const twin: TestCluster = await testCluster();
    const { issueNodeCertificate } = await import("../../../../src/common/identity/certificate.ts");
    const { publicKeyOf } = await import("../../../../src/common/identity/key.ts");
    const { certificate } = issueNodeCertificate({
      issuer: cluster.root,
      publicKey: publicKeyOf(manager.tls.key),
      nodeId: manager.nodeId,
      role: "manager",
      clusterId: twin.clusterId,
      nowMs: Date.now(),
      lifeMs: 3600_000,
      serial: Buffer.alloc(16, 7),
    });
    await assert.rejects(
      client(port, { tls: { ...manager.tls, certificate } }).call(
        ControlService.createSecret,
        secret("a"),
      ),
      refused("permission-denied", /cluster/),
    );
  });

  it("refuses a removed node at the next call, and cuts its connections on request", async () => {
    const server = await start();
    const c = client(server.port);
    await c.call(ControlService.createSecret, secret("a"));
    const stream = c.stream(DispatcherService.session);
    const responses = stream[Symbol.asyncIterator]();
    await stream.write(beat(1));
    await responses.next();
    standings.set(manager.nodeId, "removed");
    await assert.rejects(
      c.call(ControlService.createSecret, secret("a")),
      refused("permission-denied", /removed/),
    );
    server.disconnect(manager.nodeId);
    await assert.rejects(responses.next(), refused("unavailable", /./));
  });

  it("takes a demoted manager for a worker at the next call, over the connection it has", async () => {
    const { port } = await start();
    const c = client(port);
    await c.call(ControlService.createSecret, secret("a"), { forwarded: true });
    standings.set(manager.nodeId, "worker");
    await assert.rejects(
      c.call(ControlService.createSecret, secret("a"), { forwarded: true }),
      refused("permission-denied", /is a worker$/),
    );
    await c.call(NodeCaService.getRootCertificate, {}, { forwarded: true });
    assert.equal(last?.peer?.role, "worker");
    assert.equal(last?.forwarded, false);
    const stream = c.stream(DispatcherService.session);
    await stream.write(beat(1));
    assert.equal((await stream[Symbol.asyncIterator]().next()).value?.stateIndex, 1);
    stream.cancel();
    standings.set(manager.nodeId, "manager");
    await c.call(ControlService.createSecret, secret("a"));
  });

  it("refuses a certificate whose root is not trusted any more, over the connection it has", async () => {
    const server = await start();
    const c = client(server.port);
    await c.call(ControlService.createSecret, secret("a"));
    const { root } = await testCluster();
    server.updateTls({ ...manager.tls, roots: root.certificate });
    await assert.rejects(
      c.call(ControlService.createSecret, secret("a")),
      refused("unauthenticated", /not signed by the root/),
    );
  });

  it("does not take a worker's certificate for a manager's before it is renewed", async () => {
    const { port } = await start();
    standings.set(worker.nodeId, "manager");
    await assert.rejects(
      client(port, { tls: worker.tls }).call(ControlService.createSecret, secret("a")),
      refused("permission-denied", /is a worker$/),
    );
  });

  it("does not talk to a server that is no manager of the cluster", async () => {
    const impostor = await serve({
      listen: { host: "127.0.0.1", port: 0 },
      tls: worker.tls,
      handlers,
      standing: () => "unknown",
      clock: systemClock,
      log: silentLog,
    });
    toClose.push(impostor);
    await assert.rejects(
      client(impostor.port).call(NodeCaService.getRootCertificate, {}),
      refused("unavailable", /role worker, expected manager/),
    );
    const { port } = await start();
    await assert.rejects(
      client(port, { expected: { role: "manager", nodeId: worker.nodeId } }).call(
        NodeCaService.getRootCertificate,
        {},
      ),
      refused("unavailable", /expected/),
    );
    const foreign = (await testCluster()).root.certificate;
    await assert.rejects(
      client(port, { tls: { roots: foreign } }).call(NodeCaService.getRootCertificate, {}),
      refused("unavailable", /certificate/),
    );
  });

  it("streams both ways, ends cleanly and passes on the handler's error", async () => {
    const { port } = await start();
    const c = client(port, { tls: worker.tls });
    const stream = c.stream(DispatcherService.session);
    for (let i = 1; i <= 500; i++) await stream.write(beat(i === 99 ? 100 : i));
    stream.end();
    assert.equal((await collect(stream)).length, 500);
    const failing = c.stream(DispatcherService.session);
    await failing.write(beat(99));
    await assert.rejects(collect(failing), refused("aborted", /^enough$/));
    await assert.rejects(failing.write(beat(1)), ClusterError);
  });

  it("takes a stream of chunks with back-pressure and one answer", async () => {
    const { port } = await start();
    const stream = client(port).stream(RaftTransportService.snapshot);
    const data = new Uint8Array(256 * 1024);
    for (let i = 0; i < 40; i++) await stream.write(RaftSnapshotChunk.create({ data }));
    stream.end();
    assert.deepEqual(await collect(stream), [{ accepted: true, reason: `${40 * data.length}` }]);
  });

  it("tells the handler when the caller hangs up", async () => {
    const { port } = await start();
    const stop = new AbortController();
    const c = client(port);
    last = undefined;
    const call = c.call(ControlService.createSecret, secret("slow"), { signal: stop.signal });
    await until(() => last !== undefined);
    stop.abort();
    await assert.rejects(call, refused("cancelled", /./));
    await until(() => last?.signal.aborted === true);
  });

  it("ends a stream's handler when the caller is gone, cancelled or cut", async () => {
    for (const leave of ["cancel", "cut", "stop reading"] as const) {
      const server = await start();
      const stream = client(server.port).stream(DispatcherService.session);
      await stream.write(beat(1));
      if (leave === "stop reading") {
        for await (const _first of stream) break;
      } else {
        await stream[Symbol.asyncIterator]().next();
        if (leave === "cancel") stream.cancel();
        else server.disconnect(manager.nodeId);
      }
      const context = last;
      await until(() => context?.signal.aborted === true);
      await until(() => sessionsOpen === 0);
    }
  });

  it("ends a call at its deadline", async () => {
    const { port } = await start();
    await assert.rejects(
      client(port).call(ControlService.createSecret, secret("slow"), { timeoutMs: 100 }),
      refused("deadline-exceeded", /./),
    );
  });

  it("refuses messages beyond the bound on both sides", async () => {
    const { port } = await start();
    const big = CreateSecretRequest.create({
      spec: {
        annotations: undefined,
        data: new Uint8Array(5 * 1024 * 1024),
        driver: undefined,
        templating: undefined,
      },
    });
    await assert.rejects(
      client(port).call(ControlService.createSecret, big),
      refused("resource-exhausted", /size larger than/),
    );
  });

  it("swaps the server's certificate while streams go on", async () => {
    const server = await start();
    const c = client(server.port);
    const stream = c.stream(DispatcherService.session);
    const responses = stream[Symbol.asyncIterator]();
    await stream.write(beat(1));
    await responses.next();
    const next = await cluster.node("manager", { nodeId: manager.nodeId });
    server.updateTls(next.tls);
    assert.equal(await shownCertificate(server.port), serialOf(next.tls.certificate));
    await stream.write(beat(2));
    assert.equal((await responses.next()).value?.stateIndex, 2);
    stream.end();
  });

  it("sends no session tickets, also after its certificate was swapped", async () => {
    const server = await start();
    // With tickets, each of which holds the client's certificate, it is twice as much.
    const bytesMax = 2_200;
    assert.ok((await bytesOfHandshake(server.port)) < bytesMax);
    server.updateTls((await cluster.node("manager")).tls);
    assert.ok((await bytesOfHandshake(server.port)) < bytesMax);
  });

  /** What the server has sent once its first HTTP/2 frame is there. */
  async function bytesOfHandshake(port: number): Promise<number> {
    const socket = connectTcp(port, "127.0.0.1");
    const { key, certificate: cert, roots: ca } = worker.tls;
    const secure = connectTls({
      socket,
      key,
      cert,
      ca,
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
    });
    await once(secure, "data");
    const { bytesRead } = socket;
    secure.destroy();
    return bytesRead;
  }

  it("swaps the client's certificate while its streams go on", async () => {
    const { port } = await start();
    const c = client(port, { tls: worker.tls });
    const stream = c.stream(DispatcherService.session);
    const responses = stream[Symbol.asyncIterator]();
    await stream.write(beat(1));
    await responses.next();
    const promoted = await cluster.node("manager", { nodeId: worker.nodeId });
    c.updateTls(promoted.tls);
    await c.call(ControlService.createSecret, secret("a"));
    assert.equal(last?.peer?.nodeId, worker.nodeId);
    await stream.write(beat(2));
    assert.equal((await responses.next()).value?.stateIndex, 2);
    stream.end();
    assert.equal((await responses.next()).done, true);
  });

  it("shows the relayed client's address, over IPv4 and IPv6", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-rpc-"));
    try {
      const path = join(folder, "relay.sock");
      await start({ path });
      for (const [family, address] of [
        ["IPv4", "203.0.113.7"],
        ["IPv6", "2001:db8::7"],
      ] as const) {
        const front = await relay(path, proxyHeader({ family, address, port: 4711 }));
        toClose.push(front);
        await client(front.port).call(ControlService.createSecret, secret("a"));
        assert.equal(last?.address, address);
        assert.equal(last?.peer?.nodeId, manager.nodeId);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("drops a relayed connection whose header is none", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-rpc-"));
    try {
      const path = join(folder, "relay.sock");
      await start({ path });
      const socket = connectTcp({ path });
      socket.write(`GET / HTTP/1.1\r\n${"x".repeat(200)}`);
      await closed(socket);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("cuts a client that connects and says nothing", async function () {
    this.timeout(300_000);
    const { port } = await start();
    const folder = mkdtempSync(join(tmpdir(), "skep-rpc-"));
    try {
      const path = join(folder, "relay.sock");
      await start({ path });
      await Promise.all([closed(connectTcp(port, "127.0.0.1")), closed(connectTcp({ path }))]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("does not serve a method that the table of roles does not know", async () => {
    const unknown = {
      ...ControlService.createSecret,
      path: "/skep.v1.Control/Unlisted",
    } as MethodDescriptor<CreateSecretRequest, ObjectId>;
    const server = await start();
    assert.throws(() => server.add([unary(unknown, async () => ObjectId.create())]), /no entry/);
  });

  it("fails at once when nobody listens", async () => {
    const server = await start();
    await server.close();
    await assert.rejects(
      client(server.port).call(NodeCaService.getRootCertificate, {}),
      refused("unavailable", /./),
    );
  });
});

async function echo(messages: MessageStream<AgentMessage, SessionMessage>): Promise<void> {
  for await (const message of messages) {
    const { seenIndex = 0, advertiseAddress = "" } = message.hello ?? {};
    if (seenIndex === 99)
      throw new ClusterError("aborted", "enough", { fields: { removed: true } });
    await messages.write(
      SessionMessage.create({ stateIndex: seenIndex, sessionId: advertiseAddress }),
    );
  }
}

function beat(seenIndex: number): AgentMessage {
  return AgentMessage.create({ hello: AgentHello.create({ seenIndex }) });
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

function closed(socket: Socket): Promise<void> {
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

function serialOf(pem: string): string {
  return pem.replace(/\s|-----[A-Z ]+-----/g, "");
}

/** Base64 of the certificate the server shows on a new connection. */
function shownCertificate(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls(
      { port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["h2"] },
      () => {
        resolve(socket.getPeerCertificate().raw.toString("base64"));
        socket.destroy();
      },
    );
    socket.once("error", reject);
  });
}

/** A front as the Raft host has one: pipes TCP connections to the relay socket behind one header line. */
async function relay(
  path: string,
  header: string,
): Promise<{ port: number; close(): Promise<void> }> {
  const { createServer } = await import("node:net");
  const open = new Set<Socket>();
  const server = createServer((from) => {
    const to = connectTcp({ path });
    to.write(header);
    from.pipe(to).pipe(from);
    for (const socket of [from, to]) {
      open.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => {
        from.destroy();
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}
