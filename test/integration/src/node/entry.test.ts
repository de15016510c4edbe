/** Facts about the ways into a swarm and out of it that fail, are given up, or are cut off: what the node is afterwards. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, truncate } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NetworkState } from "../../../../agent/network/state.ts";
import {
  ControlService,
  NodeDescription,
  UpdateClusterRequest,
  UpdateNodeRequest,
} from "../../../../src/common/api/generated/api.ts";
import { systemClock } from "../../../../src/common/clock/clock.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { createRootCa } from "../../../../src/common/identity/root.ts";
import { createJoinToken } from "../../../../src/common/identity/token.ts";
import { unlockKeyToText } from "../../../../src/common/identity/unlock-key.ts";
import { apiRequestTimeoutMs } from "../../../../src/common/limits/limits.ts";
import { newLog, silentLog } from "../../../../src/common/log/log.ts";
import { systemRandom } from "../../../../src/common/random/random.ts";
import type { JoinRequest } from "../../../../src/engine/ports.ts";
import { loadConfig } from "../../../../src/node/config.ts";
import { SwarmNode } from "../../../../src/node/node.ts";
import { FakeExecutor } from "../../../support/fake-executor.ts";
import { freePort } from "../../../support/free-port.ts";
import { eventually } from "../../../support/raft-members.ts";
import { initRequest, noRegistry } from "../../../support/test-nodes.ts";

describe("src/node (ways in and out)", function () {
  this.timeout(300_000);
  let folder: string;
  const nodes: SwarmNode[] = [];
  const servers: Server[] = [];
  const lines: string[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "skep-node-"));
  });
  afterEach(async () => {
    for (const node of nodes.splice(0)) await node.stop();
    lines.length = 0;
    for (const server of servers.splice(0)) server.close();
    await rm(folder, { recursive: true, force: true });
  });

  function newNode(
    name = "n",
    network = new NetworkState({ clock: systemClock, log: silentLog }),
  ): SwarmNode {
    const root = join(folder, name);
    const executor = new FakeExecutor();
    executor.description = NodeDescription.create({ hostname: name });
    const node = new SwarmNode({
      config: loadConfig(["--data-root", root, "--exec-root", folder]),
      interfaces: () => [],
      executor,
      network,
      registry: noRegistry,
      serveTunnel: (stream) => stream.destroy(),
      clock: systemClock,
      random: systemRandom,
      log: newLog((line) => lines.push(line), { level: "info" }),
    });
    nodes.push(node);
    return node;
  }

  async function occupy(wish?: number): Promise<{ port: number; server: Server }> {
    const port = wish ?? (await freePort());
    const server = createServer((socket) => socket.destroy());
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return { port, server };
  }
  const release = (server: Server) => new Promise((resolve) => server.close(resolve));

  async function joinRequest(port: number, remote: number): Promise<JoinRequest> {
    const root = await createRootCa({ nowMs: Date.now(), random: systemRandom });
    return {
      listenAddress: `127.0.0.1:${port}`,
      advertiseAddress: "",
      dataPathAddress: "",
      remoteAddresses: [`127.0.0.1:${remote}`],
      joinToken: createJoinToken(root.certificate, systemRandom),
      availability: "active",
    };
  }

  async function nothingStored(name = "n"): Promise<void> {
    const left = await readdir(join(folder, name)).catch(() => []);
    assert.deepEqual(left, []);
  }

  it("an init that finds its port taken fails at once and leaves nothing; the next one works", async () => {
    const { port, server } = await occupy();
    const node = newNode();
    await assert.rejects(node.init(initRequest(port)), /cannot listen on .*EADDRINUSE/);
    assert.equal(node.status().state, "inactive");
    await nothingStored();
    await release(server);
    await node.init(initRequest(port));
    assert.equal(node.status().state, "active");
    await assert.rejects(node.init(initRequest(port)), /already part of a swarm/);
    assert.equal(node.status().state, "active");
    await node.leave(true);
    assert.equal(node.status().state, "inactive");
    await nothingStored();
  });

  it("a join that nobody answers is given up by leave", async () => {
    const node = newNode();
    const work = node.join(await joinRequest(await freePort(), await freePort()));
    const failed = assert.rejects(work, (e) => hasCode(e, "cancelled"));
    await eventually("it is under way", () => node.status().state === "pending");
    await node.leave(true);
    await failed;
    assert.equal(node.status().state, "inactive");
    await node.init(initRequest(await freePort()));
  });

  it("a join that is refused leaves nothing", async () => {
    const manager = newNode("m");
    const port = await freePort();
    await manager.init(initRequest(port));
    const node = newNode();
    await assert.rejects(node.join(await joinRequest(await freePort(), port)));
    assert.equal(node.status().state, "inactive");
    assert.equal(node.status().error, "");
    await nothingStored();
  });

  it("a manager whose port is taken when it starts again can be stopped, and can leave", async () => {
    const port = await freePort();
    const first = newNode();
    await first.init(initRequest(port));
    await first.stop();
    const { server } = await occupy(port);
    const second = newNode();
    void second.start();
    await eventually("the start fails", () => /EADDRINUSE/.test(second.status().error));
    await second.stop();
    const third = newNode();
    void third.start();
    await eventually("the start fails", () => /EADDRINUSE/.test(third.status().error));
    assert.equal(third.status().isManager, true);
    await third.leave(true);
    assert.equal(third.status().state, "inactive");
    await release(server);
    await third.init(initRequest(port));
  });

  it("a manager stopped while its port is taken comes back with everything", async () => {
    const port = await freePort();
    const first = newNode();
    const id = await first.init(initRequest(port));
    await first.stop();
    const { server } = await occupy(port);
    const second = newNode();
    const started = second.start();
    await eventually("the start fails", () => /EADDRINUSE/.test(second.status().error));
    await release(server);
    await started;
    assert.equal(second.status().nodeId, id);
    await eventually("it is back", () => second.status().error === "");
    assert.equal(second.status().state, "active");
  });

  it("a promotion that cannot be carried out is taken back by a demotion", async () => {
    const first = newNode("m");
    const remote = await freePort();
    await first.init(initRequest(remote));
    const manager = first.manager();
    assert.ok(manager);
    const [cluster] = manager.view().list("cluster");
    const { server, port } = await occupy();
    const node = newNode();
    const joinToken = cluster?.rootCa?.joinTokens?.worker ?? "";
    await node.join({ ...(await joinRequest(port, remote)), joinToken });
    const { nodeId } = node.status();
    const setRole = async (desiredRole: "manager" | "worker") => {
      const found = manager.view().get("node", nodeId);
      assert.ok(found?.spec && found.meta);
      await manager.call(
        ControlService.updateNode,
        UpdateNodeRequest.create({
          id: nodeId,
          version: found.meta.version,
          spec: { ...found.spec, desiredRole },
        }),
        new AbortController().signal,
      );
    };
    await setRole("manager");
    await eventually("the manager cannot start", () => /EADDRINUSE/.test(node.status().error));
    await setRole("worker");
    await eventually("it is a worker", () => !node.status().isManager);
    await eventually("its manager's state is gone", async () => {
      const names = await readdir(join(folder, "n"));
      return !names.includes("raft");
    });
    await release(server);
    await setRole("manager");
    await eventually("it is a manager after all", () => node.status().controlAvailable);
  });

  it("a manager that was locked opens with its unlock key alone, and without the data keys of before", async () => {
    const port = await freePort();
    const first = newNode();
    const id = await first.init(initRequest(port));
    const manager = first.manager();
    const [cluster] = manager?.view().list("cluster") ?? [];
    assert.ok(manager && cluster?.spec && cluster.meta);
    await manager.call(
      ControlService.updateCluster,
      UpdateClusterRequest.create({
        version: cluster.meta.version,
        spec: { ...cluster.spec, encryption: { autoLockManagers: true } },
      }),
      new AbortController().signal,
    );
    const dropped = /older data keys dropped/;
    await eventually("the old data key is gone", () => lines.some((line) => dropped.test(line)));
    const key = await first.unlockKey();
    await first.stop();
    const second = newNode();
    await second.start();
    assert.equal(second.status().state, "locked");
    const wrong = unlockKeyToText(new Uint8Array(32).fill(7));
    await assert.rejects(second.unlock(wrong), /invalid key provided/);
    assert.equal(second.status().state, "locked");
    await assert.rejects(second.init(initRequest(port)), /already part of a swarm/);
    await second.unlock(key);
    await eventually("it is back", () => second.status().state === "active");
    assert.equal(second.status().nodeId, id);
    await eventually(
      "it has its tables",
      () => [...(second.manager()?.view().list("cluster") ?? [])].length === 1,
    );
  });

  it("an init that takes longer than a request may is not undone", async () => {
    class SlowNetwork extends NetworkState {
      override async nodeIs(...about: Parameters<NetworkState["nodeIs"]>): Promise<void> {
        await systemClock.sleep(apiRequestTimeoutMs + 1_000);
        await super.nodeIs(...about);
      }
    }
    const node = newNode("n", new SlowNetwork({ clock: systemClock, log: silentLog }));
    await node.init(initRequest(await freePort()));
    assert.equal(node.status().state, "active");
  });

  it("an init that was cut off is no membership", async () => {
    const port = await freePort();
    const first = newNode();
    // Stopped before the cluster has answered; what a crash leaves is on disk.
    const init = assert.rejects(first.init(initRequest(port)));
    await eventually("its log is there", async () => {
      const names = await readdir(join(folder, "n", "raft")).catch((): string[] => []);
      return names.includes("log");
    });
    await first.stop();
    await init;
    const second = newNode();
    await second.start();
    assert.equal(second.status().state, "inactive");
    await nothingStored();
  });

  it("the only manager with a damaged log says so, is not replaced by another swarm, and goes on when told to", async () => {
    const port = await freePort();
    const first = newNode();
    const id = await first.init(initRequest(port));
    await first.stop();
    const log = join(folder, "n", "raft", "log");
    const name = (await readdir(log)).find((file) => file.endsWith(".log")) ?? "";
    await truncate(join(log, name), (await readFile(join(log, name))).length - 200);
    const second = newNode();
    await second.start();
    const status = second.status();
    assert.equal(status.state, "error");
    assert.equal(status.isManager, true);
    assert.match(status.error, /--force-new-cluster/);
    await assert.rejects(second.init(initRequest(port)), /already part of a swarm/);
    assert.equal(await second.init(initRequest(port, { forceNewCluster: true })), id);
    assert.equal(second.status().state, "active");
    assert.equal(second.status().error, "");
  });
});
