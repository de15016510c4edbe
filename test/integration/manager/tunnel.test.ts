/**
 * Tunnels over real RPC: the agent dials, bytes go both ways at the pace of the slower side, and either end notices the other's.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { Readable } from "node:stream";
import { AgentTunnels } from "../../../agent/tunnel.ts";
import { type Tunnel, Tunnels } from "../../../manager/tunnel/tunnels.ts";
import { type TunnelRequest, TunnelService } from "../../../src/common/api/generated/api.ts";
import { systemClock } from "../../../src/common/clock/clock.ts";
import { hasCode } from "../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../src/common/log/log.ts";
import { systemRandom } from "../../../src/common/random/random.ts";
import { RpcClients } from "../../../src/common/rpc/clients.ts";
import { bidiStream } from "../../../src/common/rpc/handler.ts";
import { type RpcServer, serve } from "../../../src/common/rpc/server.ts";
import { type TestCluster, type TestNode, testCluster } from "../../support/test-cluster.ts";
import { until } from "../../support/wait.ts";

describe("manager/tunnel", () => {
  const tools = { clock: systemClock, random: systemRandom, log: silentLog };
  const never = new AbortController().signal;
  let cluster: TestCluster;
  let manager: TestNode;
  let worker: TestNode;
  let server: RpcServer;
  let clients: RpcClients;
  let tunnels: Tunnels;
  let agent: AgentTunnels;
  /** What the agent was asked; undefined where the request is to be lost. */
  let ask: (request: TunnelRequest) => void;
  /** The agent's ends, newest last. */
  let farEnds: Duplex[];

  before(async () => {
    cluster = await testCluster();
    manager = await cluster.node("manager");
    worker = await cluster.node("worker");
  });

  beforeEach(async () => {
    farEnds = [];
    const address = () => `127.0.0.1:${server.port}`;
    tunnels = new Tunnels(
      {
        self: () => ({ nodeId: manager.nodeId, address: address(), raftId: 1 }),
        askHere: (nodeId, request) => {
          if (nodeId === worker.nodeId) ask(request);
          return nodeId === worker.nodeId;
        },
        askOthers: async () => false,
      },
      tools,
    );
    server = await serve({
      listen: { host: "127.0.0.1", port: 0 },
      tls: manager.tls,
      handlers: [bidiStream(TunnelService.open, (messages, call) => tunnels.serve(messages, call))],
      standing: () => "unknown",
      clock: systemClock,
      log: silentLog,
    });
    clients = new RpcClients(worker.tls, cluster.clusterId);
    agent = new AgentTunnels(
      {
        dial: (to) => clients.to(to).stream(TunnelService.open),
        serve: (stream) => void farEnds.push(stream),
      },
      tools,
    );
    ask = (request) => agent.open(request);
  });

  afterEach(async () => {
    tunnels.close();
    agent.close();
    clients.close();
    await server.close();
  });

  async function open(): Promise<{ near: Duplex; far: Duplex; tunnel: Tunnel }> {
    const tunnel = await tunnels.open(worker.nodeId, never);
    const far = farEnds.at(-1);
    assert(far !== undefined);
    return { near: tunnel.stream, far, tunnel };
  }

  it("carries bytes both ways, and ends each direction by itself", async () => {
    const { near, far } = await open();
    near.end("question");
    assert.equal(await textOf(far), "question");
    far.end("answer");
    assert.equal(await textOf(near), "answer");
    await Promise.all([closed(near), closed(far)]);
  });

  it("delivers what was written before the far end let go, to a reader that comes late", async () => {
    const { near, far } = await open();
    const sent = Buffer.alloc(700_000, "x");
    far.end(sent);
    await once(far, "finish");
    far.destroy();
    assert.equal((await bytesOf(near)).length, sent.length);
    near.end();
    await closed(near);
  });

  it("brings 100 MB through intact", async () => {
    const { near, far } = await open();
    const piece = Buffer.alloc(1_000_000, "0123456789");
    const whole = createHash("sha256");
    Readable.from(
      (function* () {
        for (let i = 0; i < 100; i++) {
          piece.writeUInt32BE(i);
          whole.update(piece);
          yield Buffer.from(piece);
        }
      })(),
    ).pipe(near);
    const arrived = createHash("sha256");
    let length = 0;
    for await (const bytes of far) {
      arrived.update(bytes);
      length += bytes.length;
    }
    assert.equal(length, 100_000_000);
    assert.equal(arrived.digest("hex"), whole.digest("hex"));
  });

  for (const direction of ["to the node", "to the manager"]) {
    it(`holds a writer back whose bytes nobody reads, on the way ${direction}`, async () => {
      const { near, far } = await open();
      const from = direction === "to the node" ? near : far;
      const to = from === near ? far : near;
      const piece = Buffer.alloc(64 * 1024);
      let written = 0;
      let isFull = false;
      const write = () => {
        if (isFull || from.destroyed) return;
        written += piece.length;
        from.write(piece, write);
      };
      write();
      // It stands still when the amount does not change any more.
      let before = -1;
      await until(
        () => {
          const isStill = before === written;
          before = written;
          return isStill;
        },
        { withinMs: 60_000, everyMs: 300, what: "the writer stands still" },
      );
      isFull = true;
      assert(written < 8_000_000, `${written} bytes under way`);
      from.end();
      assert.equal((await bytesOf(to)).length, written);
    });
  }

  it("breaks the manager's end when the node goes", async () => {
    const { near, far } = await open();
    const broken = assert.rejects(textOf(near), (error) => hasCode(error, "cancelled"));
    far.destroy();
    await broken;
  });

  it("breaks the node's end when the manager's reader goes", async () => {
    const { near, far } = await open();
    const broken = assert.rejects(textOf(far));
    near.destroy();
    await broken;
  });

  it("breaks both ends when the manager stops", async () => {
    const { near, far } = await open();
    const broken = [assert.rejects(textOf(near)), assert.rejects(textOf(far))];
    tunnels.close();
    await Promise.all(broken);
  });

  it("opens one tunnel for a request that comes twice", async () => {
    ask = (request) => {
      agent.open(request);
      agent.open(request);
    };
    await open();
    assert.equal(farEnds.length, 1);
  });

  it("gives a tunnel to the node it was asked of only", async () => {
    const other = await cluster.node("worker");
    const others = new RpcClients(other.tls, cluster.clusterId);
    const told: unknown[] = [];
    ask = (request) => {
      assert(request.manager !== undefined);
      const call = others.to(request.manager).stream(TunnelService.open);
      void call.write({ tunnelId: request.tunnelId, data: new Uint8Array(), end: false });
      (async () => {
        for await (const _ of call);
      })().catch((error) => {
        told.push(error);
        agent.open(request);
      });
    };
    await open();
    assert.equal(told.length, 1);
    assert(hasCode(told[0], "not-found"));
    others.close();
  });

  it("refuses a node without a session at once", async () => {
    await assert.rejects(
      tunnels.open("0000000000000000000000000", never),
      (error) => hasCode(error, "unavailable") && /no session with any manager/.test(`${error}`),
    );
  });

  it("dials only a manager with the certificate of the one that asked", async () => {
    const impostor = await cluster.node("worker");
    await server.close();
    server = await serve({
      listen: { host: "127.0.0.1", port: 0 },
      tls: impostor.tls,
      handlers: [bidiStream(TunnelService.open, (messages, call) => tunnels.serve(messages, call))],
      standing: () => "unknown",
      clock: systemClock,
      log: silentLog,
    });
    await assert.rejects(
      tunnels.open(worker.nodeId, never),
      (error) => hasCode(error, "unavailable") && /does not answer/.test(`${error}`),
    );
  });
});

async function bytesOf(stream: Duplex): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of stream.iterator({ destroyOnReturn: false })) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function textOf(stream: Duplex): Promise<string> {
  return (await bytesOf(stream)).toString();
}

async function closed(stream: Duplex): Promise<void> {
  if (!stream.closed) await once(stream, "close");
}
