/** Facts about the start of a node that is in a swarm: what it says meanwhile, when something is lost, and afterwards. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { whyNoManager } from "../../../../src/engine/guard.ts";
import { freePort } from "../../../support/free-port.ts";
import { eventually } from "../../../support/raft-members.ts";
import { initRequest, TestNodes } from "../../../support/test-nodes.ts";

describe("src/node (start)", function () {
  this.timeout(300_000);
  let nodes: TestNodes;

  beforeEach(async () => {
    nodes = new TestNodes();
    await nodes.open();
  });
  afterEach(() => nodes.close());

  /** A lone manager that was made and stopped; gives its port. */
  async function lone(): Promise<number> {
    const port = await freePort();
    const node = nodes.node("m");
    await node.init(initRequest(port));
    await node.stop();
    return port;
  }

  it("does not send a member that is just starting to init", async () => {
    await lone();
    const node = nodes.node("m");
    const said = new Set<string>();
    const look = () => {
      const status = node.status();
      said.add(`${status.state} ${whyNoManager(status) ?? "serves"}`);
    };
    let isStarted = false;
    const started = node.start().then(() => {
      isStarted = true;
    });
    while (!isStarted) {
      look();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await started;
    look();
    for (const text of said) assert.match(text, /is being prepared|^active serves$/);
    assert.ok([...said].some((text) => text.startsWith("pending")));
  });

  it("is inactive at once with an empty data root", async () => {
    const node = nodes.node("m");
    const started = node.start();
    assert.equal(node.status().state, "inactive");
    await started;
    assert.equal(node.status().state, "inactive");
  });

  it("a lone manager whose log is gone right after its init stays a member, and goes on when told to", async () => {
    const port = await lone();
    rmSync(nodes.path("m", "raft", "log"), { recursive: true });
    // As long as the agent has not been told who the managers are, nothing but its own mark says that the init is over.
    const path = nodes.path("m", "node", "node.json");
    const stored: unknown = JSON.parse(readFileSync(path, "utf8"));
    assert.ok(typeof stored === "object");
    writeFileSync(path, JSON.stringify({ ...stored, managers: [] }));
    const node = nodes.node("m");
    await node.start();
    const status = node.status();
    assert.equal(status.state, "error");
    assert.equal(status.isManager, true);
    assert.match(status.error, /raft log is .*--force-new-cluster/);
    await node.init(initRequest(port, { forceNewCluster: true }));
    assert.equal(node.status().state, "active");
    assert.equal(node.status().nodeId, status.nodeId);
  });

  for (const how of ["gone", "garbled"] as const) {
    it(`a lone manager whose log and checkpoint are ${how} says so, makes no empty cluster, and can be given up`, async () => {
      const port = await lone();
      for (const name of ["log", "state"]) {
        const folder = nodes.path("m", "raft", name);
        if (how === "gone") rmSync(folder, { recursive: true });
        else {
          for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
            if (entry.isFile()) writeFileSync(join(entry.path, entry.name), "garbled ".repeat(20));
          }
        }
      }
      const node = nodes.node("m");
      await node.start();
      const { state, error } = node.status();
      assert.equal(state, "error");
      assert.match(error, /restore the data folder from a backup/);
      await assert.rejects(
        node.init(initRequest(port, { forceNewCluster: true })),
        /restore the data folder from a backup/,
      );
      assert.ok(existsSync(nodes.path("m", "node", "node.json")), "the membership is still there");
      await node.leave(true);
      assert.equal(node.status().state, "inactive");
    });
  }

  it("takes up its membership once another process has let go of its state", async () => {
    const port = await freePort();
    const first = nodes.node("m");
    const id = await first.init(initRequest(port));
    const second = nodes.node("m");
    await second.start();
    assert.equal(second.status().state, "error");
    assert.equal(second.status().isManager, true);
    await first.stop();
    await eventually("it is back by itself", () => second.status().state === "active");
    assert.equal(second.status().nodeId, id);
    assert.equal(second.status().error, "");
  });
});
