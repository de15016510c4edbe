/** Streams from every manager to every node of a cluster, whichever manager a node has its session with. */
import assert from "node:assert/strict";
import type { Duplex } from "node:stream";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import type { SwarmNode } from "../../../../src/node/node.ts";
import { freePort } from "../../../support/free-port.ts";
import { eventually } from "../../../support/raft-members.ts";
import { initRequest, joinRequest, TestNodes } from "../../../support/test-nodes.ts";

describe("src/node (tunnels)", function () {
  this.timeout(300_000);
  let nodes: TestNodes;
  const never = new AbortController().signal;

  beforeEach(async () => {
    nodes = new TestNodes();
    await nodes.open();
    // Every node says its name, and then what it is told.
    nodes.serveTunnel = (name, stream) => {
      stream.write(`${name}:`);
      stream.pipe(stream);
    };
  });
  afterEach(() => nodes.close());

  async function ask(manager: SwarmNode, node: SwarmNode): Promise<string> {
    const running = manager.manager();
    assert(running !== undefined);
    const { stream } = await running.openTunnel(node.status().nodeId, never);
    stream.end("hello");
    return textOf(stream);
  }

  it("lead from each manager to each node", async () => {
    const names = ["m1", "m2", "m3", "w1", "w2"];
    const all: SwarmNode[] = [];
    for (const name of names) {
      const node = nodes.node(name);
      const port = await freePort();
      const [first] = all;
      if (first === undefined) await node.init(initRequest(port));
      else {
        await node.join(
          joinRequest(first, name.startsWith("m") ? "manager" : "worker", {
            listenAddress: `127.0.0.1:${port}`,
            remoteAddresses: [first.status().remoteManagers[0]?.address ?? ""],
          }),
        );
      }
      all.push(node);
    }
    const managers = all.slice(0, 3);
    await eventually("all managers know each other", () =>
      managers.every((m) => m.members().length === 3 && m.members().every((p) => p.reachable)),
    );
    for (const manager of managers) {
      for (const [i, node] of all.entries()) {
        assert.equal(await ask(manager, node), `${names[i]}:hello`);
      }
    }
    const [m1, , , w1] = all;
    assert(m1 !== undefined && w1 !== undefined);
    const { nodeId } = w1.status();
    await w1.stop();
    await assert.rejects(
      m1.manager()?.openTunnel(nodeId, never) ?? Promise.resolve(),
      (error) => hasCode(error, "unavailable") && String(error).includes(nodeId),
    );
  });
});

async function textOf(stream: Duplex): Promise<string> {
  let text = "";
  for await (const piece of stream) text += piece;
  return text;
}
