/** Facts about a Raft log on a device without room: writes are refused, nothing is lost, and it goes on by itself. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RaftHost, startRaftHost } from "../../../../manager/raft/host.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { eventually, testKeys, testLog } from "../../../support/raft-members.ts";
import { testCluster } from "../../../support/test-cluster.ts";

describe("manager/raft (full disk)", function () {
  this.timeout(300_000);
  let dir: string;

  before(async function () {
    dir = await mkdtemp(join(tmpdir(), "skep-full-"));
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=12m", "tmpfs", dir]);
    if (mounted.status !== 0) {
      await rm(dir, { recursive: true });
      process.stderr.write("skipped: a small file system needs the right to mount one\n");
      this.skip();
    }
  });
  after(async () => {
    spawnSync("umount", [dir]);
    await rm(dir, { recursive: true, force: true });
  });

  it("refuses writes with the reason, keeps all it took, and goes on when there is room", async () => {
    const cluster = await testCluster();
    const { tls, nodeId } = await cluster.node("manager");
    let lines: string[] = [];
    const open = async (appliedIndex: number): Promise<RaftHost> => {
      const host = await startRaftHost({
        dataDir: join(dir, "raft"),
        member: { raftId: 1, nodeId, address: "127.0.0.1:0" },
        clusterId: cluster.clusterId,
        listen: { host: "127.0.0.1", port: 0 },
        relayPath: join(dir, "relay.sock"),
        tls,
        keys: testKeys,
        bootstrap: true,
        appliedIndex,
        log: testLog("full"),
      });
      host.onCommitted((batch) => {
        for (const { data } of batch.entries) {
          if (data.length > 0) lines.push(Buffer.from(data.subarray(0, 20)).toString());
        }
      });
      await eventually("it leads", () => host.leadership().isLeader);
      return host;
    };
    const text = (i: number) => Buffer.from(`line ${i} `.padEnd(4_000, "x"));
    const name = (i: number) => text(i).subarray(0, 20).toString();
    let host = await open(0);
    await host.propose(text(0));
    await eventually("the first is committed", () => lines.length === 1);
    const { bavail, bsize } = await statfs(dir);
    // In one turn, so that the manager cannot have noticed before it takes them.
    writeFileSync(join(dir, "ballast"), Buffer.alloc(Math.max(0, bavail * bsize - 200_000)));
    let taken = 1;
    const puts = Array.from({ length: 100 }, () => host.propose(text(taken++)));
    await Promise.all(puts);
    await eventually("it has noticed", () => host.stalled() !== undefined);
    await assert.rejects(host.propose(text(taken)), (error) => {
      assert.match(String(error), /no space left on the manager's disk/);
      return hasCode(error, "resource-exhausted");
    });
    assert.ok(lines.length < taken);
    await rm(join(dir, "ballast"));
    await eventually("what was taken is committed after all", () => lines.length === taken);
    await eventually("it takes writes again", () => host.stalled() === undefined);
    await host.propose(text(taken));
    await eventually("it goes on", () => lines.at(-1) === name(taken));
    const all = Array.from({ length: taken + 1 }, (_, i) => name(i));
    assert.deepEqual(lines, all);
    await host.terminate();
    lines = [];
    host = await open(0);
    assert.deepEqual(lines, all);
    const { bavail: left } = await statfs(dir);
    writeFileSync(join(dir, "ballast"), Buffer.alloc(left * bsize - 3_000_000));
    await eventually("it has noticed ahead of the end", () => host.stalled() !== undefined);
    await assert.rejects(host.propose(text(taken + 1)), /no space left on the manager's disk/);
    assert.deepEqual(lines, all, "nothing was taken");
    await rm(join(dir, "ballast"));
    await eventually("it takes writes again", () => host.stalled() === undefined);
    await host.propose(text(taken + 1));
    await eventually("it goes on", () => lines.at(-1) === name(taken + 1));
    await host.stop({ transfer: false });
  });
});
