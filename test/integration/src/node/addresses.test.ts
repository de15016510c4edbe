/** Facts about where a node is reached: behind a router, and when its machine gets another address while it runs. */
import assert from "node:assert/strict";
import type { SwarmNode } from "../../../../src/node/node.ts";
import { freePort } from "../../../support/free-port.ts";
import { eventually } from "../../../support/raft-members.ts";
import { initRequest, joinRequest, oneCard, TestNodes } from "../../../support/test-nodes.ts";

describe("src/node (addresses)", function () {
  this.timeout(300_000);
  let nodes: TestNodes;

  beforeEach(async () => {
    nodes = new TestNodes();
    await nodes.open();
  });
  afterEach(() => nodes.close());

  function stored(by: SwarmNode, nodeId: string) {
    return by.manager()?.view().get("node", nodeId);
  }

  it("a manager behind a router reaches itself, where nobody answers at the address it advertises", async () => {
    const port = await freePort();
    const node = nodes.node("m");
    // An address of the documentation: packets to it go nowhere.
    const id = await node.init(initRequest(port, { advertiseAddress: `192.0.2.1:${port}` }));
    assert.equal(node.status().state, "active");
    await eventually("it is ready", () => stored(node, id)?.status?.state === "ready");
    assert.equal(stored(node, id)?.status?.address, "192.0.2.1");
    assert.equal(stored(node, id)?.manager?.address, `192.0.2.1:${port}`);
  });

  it("managers and workers whose machines are renumbered while they run are found where they are", async () => {
    const names = ["m1", "m2", "m3", "w1"];
    const cards = new Map(names.map((name, i) => [name, `127.0.1.${i + 1}`]));
    const make = (name: string) => nodes.node(name, () => oneCard(cards.get(name) ?? ""));
    const ports = new Map<string, number>();
    for (const name of names) ports.set(name, await freePort());
    const listen = (name: string) => ({ listenAddress: `0.0.0.0:${ports.get(name)}` });

    const first = make("m1");
    await first.init(initRequest(0, listen("m1")));
    const all = [first];
    for (const name of names.slice(1)) {
      const node = make(name);
      const remoteAddresses = [first.status().remoteManagers[0]?.address ?? ""];
      const role = name === "w1" ? "worker" : "manager";
      await node.join(joinRequest(first, role, { ...listen(name), remoteAddresses }));
      all.push(node);
    }
    const managers = all.slice(0, 3);
    const isKnown = (nodeId: string, host: string, address: string | undefined) =>
      managers.every((m) => {
        const node = stored(m, nodeId);
        const there = node?.status?.state === "ready" && node.status.address === host;
        const asManager = address === undefined || node?.manager?.address === address;
        const reached =
          address === undefined ||
          m.members().some((peer) => peer.address === address && peer.reachable);
        return there && asManager && reached;
      });

    for (const [i, name] of names.entries()) {
      const host = `127.0.2.${i + 1}`;
      cards.set(name, host);
      const node = all[i];
      assert.ok(node);
      const address = name === "w1" ? undefined : `${host}:${ports.get(name)}`;
      await eventually(`all know where ${name} is`, () =>
        isKnown(node.status().nodeId, host, address),
      );
      assert.equal(node.status().nodeAddress, host);
    }
    const known = all
      .at(-1)
      ?.status()
      .remoteManagers.map((peer) => peer.address);
    const expected = [1, 2, 3].map((i) => `127.0.2.${i}:${ports.get(`m${i}`)}`);
    assert.deepEqual([...(known ?? [])].sort(), expected.sort());
  });
});
