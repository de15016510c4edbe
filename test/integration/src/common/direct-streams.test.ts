/**
 * Direct streams over loopback, with real TLS at both ends.
 */
import assert from "node:assert/strict";
import {
  AgentHello,
  AgentMessage,
  DispatcherService,
  SessionMessage,
} from "../../../../src/common/api/generated/api.ts";
import { systemClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import type { Standing } from "../../../../src/common/identity/types.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { type DirectOptions, openDirect } from "../../../../src/common/rpc/direct-client.ts";
import {
  type CallContext,
  directStream,
  type MessageStream,
} from "../../../../src/common/rpc/handler.ts";
import { type RpcServer, serve } from "../../../../src/common/rpc/server.ts";
import { type TestCluster, type TestNode, testCluster } from "../../../support/test-cluster.ts";

describe("src/common/rpc/direct streams", () => {
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

  async function start(): Promise<RpcServer> {
    const server = await serve({
      listen: { host: "127.0.0.1", port: 0 },
      tls: manager.tls,
      handlers: [
        directStream(DispatcherService.session, async (messages, call) => {
          last = call;
          sessionsOpen++;
          try {
            await echo(messages);
          } finally {
            sessionsOpen--;
          }
        }),
      ],
      standing: (id) => standings.get(id) ?? "unknown",
      clock: systemClock,
      log: silentLog,
    });
    toClose.push(server);
    return server;
  }

  function session(port: number, options: Partial<DirectOptions> = {}) {
    return openDirect(DispatcherService.session, {
      address: `127.0.0.1:${port}`,
      tls: worker.tls,
      expected: { role: "manager", clusterId: cluster.clusterId },
      ...options,
    });
  }

  const refused = (code: string, text: RegExp) => (error: unknown) => {
    assert(error instanceof ClusterError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  };

  it("carry messages both ways, tell who calls, and end cleanly", async () => {
    const { port } = await start();
    const stream = session(port);
    for (let i = 1; i <= 500; i++) await stream.write(beat(i === 99 ? 100 : i));
    stream.end();
    const seen = (await collect(stream)).map(({ stateIndex }) => stateIndex);
    assert.deepEqual([seen.length, seen[0], seen.at(-1)], [500, 1, 500]);
    assert.equal(last?.peer?.nodeId, worker.nodeId);
    assert.equal(last?.address, "127.0.0.1");
    await until(() => sessionsOpen === 0);
  });

  it("carry messages of megabytes in both directions at once", async () => {
    const { port } = await start();
    const stream = session(port);
    const hello = AgentHello.create({ advertiseAddress: "x".repeat(3_000_000), seenIndex: 7 });
    for (let i = 0; i < 3; i++) await stream.write(AgentMessage.create({ hello }));
    stream.end();
    const sizes = (await collect(stream)).map(({ sessionId }) => sessionId.length);
    assert.deepEqual(sizes, [3_000_000, 3_000_000, 3_000_000]);
  });

  it("pass on the handler's error with its fields", async () => {
    const { port } = await start();
    const stream = session(port);
    await stream.write(beat(99));
    await assert.rejects(collect(stream), (error) => {
      refused("aborted", /^enough$/)(error);
      assert.deepEqual((error as ClusterError).fields, { removed: true });
      return true;
    });
    await assert.rejects(stream.write(beat(1)), ClusterError);
  });

  it("refuse a node that was removed, a stranger and a method that is none", async () => {
    const { port } = await start();
    standings.set(worker.nodeId, "removed");
    await assert.rejects(collect(session(port)), (error) => {
      refused("permission-denied", /removed/)(error);
      assert.equal((error as ClusterError).fields["removed"], true);
      return true;
    });
    const other = await (await testCluster()).node("worker");
    const stranger = { ...other.tls, roots: cluster.root.certificate };
    const asStranger = session(port, { tls: stranger });
    await assert.rejects(collect(asStranger), refused("unauthenticated", /certificate/));
    const unknown = { ...DispatcherService.session, path: "/skep.v1.Dispatcher/Other" };
    const options = { address: `127.0.0.1:${port}`, tls: manager.tls, expected: {} };
    await assert.rejects(
      collect(openDirect(unknown, options)),
      refused("unimplemented", /Dispatcher.Other/),
    );
  });

  it("say nothing to a server that is no manager of the cluster", async () => {
    const { port } = await start();
    const expected = { role: "manager", nodeId: worker.nodeId } as const;
    const stream = session(port, { expected });
    const writing = assert.rejects(stream.write(beat(1)), refused("unavailable", /expected/));
    await assert.rejects(collect(stream), refused("unavailable", /expected/));
    await writing;
    const { close, port: gone } = await start();
    await close();
    await assert.rejects(collect(session(gone)), refused("unavailable", /./));
  });

  it("end the handler when the caller is gone, cancelled or cut", async () => {
    for (const leave of ["cancel", "signal", "cut", "stop reading"] as const) {
      const server = await start();
      const stop = new AbortController();
      const stream = session(server.port, { signal: stop.signal });
      await stream.write(beat(1));
      const responses = stream[Symbol.asyncIterator]();
      if (leave === "stop reading") {
        for await (const _first of stream) break;
      } else {
        await responses.next();
        const context = last;
        if (leave === "cancel") stream.cancel();
        else if (leave === "signal") stop.abort();
        else server.disconnect(worker.nodeId);
        const code = leave === "cut" ? "unavailable" : "cancelled";
        await assert.rejects(responses.next(), refused(code, /./));
        await until(() => context?.signal.aborted === true);
      }
      await until(() => sessionsOpen === 0);
    }
  });

  it("keep on over a swap of the server's certificate, and end when it closes", async () => {
    const server = await start();
    const stream = session(server.port);
    const responses = stream[Symbol.asyncIterator]();
    await stream.write(beat(1));
    await responses.next();
    server.updateTls((await cluster.node("manager", { nodeId: manager.nodeId })).tls);
    await stream.write(beat(2));
    assert.equal((await responses.next()).value?.stateIndex, 2);
    await server.close();
    await assert.rejects(responses.next(), refused("unavailable", /./));
  });
});

async function echo(messages: MessageStream<AgentMessage, SessionMessage>): Promise<void> {
  for await (const { hello } of messages) {
    const { seenIndex = 0, advertiseAddress = "" } = hello ?? {};
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
