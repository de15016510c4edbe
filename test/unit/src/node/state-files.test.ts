/**
 * What a node keeps of itself on disk: whole files, in order, and refused when they are damaged.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type NodeState, StateFiles, writeFileAtomic } from "../../../../src/node/state-files.ts";

const state: NodeState = {
  format: 1,
  nodeId: "n1",
  clusterId: "c1",
  raftId: 7,
  listenAddress: "0.0.0.0:2377",
  advertiseSetting: "eth0",
  advertiseAddress: "10.0.0.1:2377",
  dataPathAddress: "10.0.0.1",
  managers: [{ nodeId: "n2", address: "10.0.0.2:2377" }],
  joining: false,
};

describe("src/node/state-files", () => {
  let root: string;
  let files: StateFiles;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-state-"));
    files = new StateFiles(root);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it("has no state before there was a swarm", async () => {
    assert.equal(await files.load(), undefined);
    assert.equal(await files.read("cert.pem"), undefined);
  });

  it("gives back what was saved, after a restart too", async () => {
    await files.save(state);
    assert.deepEqual(await files.load(), state);
    assert.deepEqual(await new StateFiles(root).load(), state);
  });

  it("keeps its files from other users", async () => {
    await files.write("key.pem", "secret");
    assert.equal(statSync(join(root, "node")).mode & 0o777, 0o700);
    assert.equal(statSync(join(root, "node", "key.pem")).mode & 0o777, 0o600);
  });

  it("leaves no temporary file", async () => {
    await files.save(state);
    assert.deepEqual(readdirSync(join(root, "node")), ["node.json"]);
  });

  it("forgets everything, and can start again", async () => {
    await files.save(state);
    await files.clear();
    assert.deepEqual(readdirSync(root), []);
    await files.save(state);
    assert.deepEqual(await files.load(), state);
  });

  it("removes a file, there or not", async () => {
    await files.write("a", "1");
    await files.remove("a");
    await files.remove("a");
    assert.equal(await files.read("a"), undefined);
  });

  it("makes changes in the order they were asked for, without waiting in between", async () => {
    const last = { ...state, raftId: 99 };
    const changes = Array.from({ length: 20 }, (_, raftId) => files.save({ ...state, raftId }));
    changes.push(files.remove("node.json"), files.clear(), files.save(last));
    await Promise.all(changes);
    assert.deepEqual(await files.load(), last);
  });

  it("goes on after a change that failed", async () => {
    await files.save(state);
    const failing = files.write("no/folder", "x");
    const next = files.save({ ...state, raftId: 8 });
    await assert.rejects(failing, { code: "ENOENT" });
    await next;
    assert.equal((await files.load())?.raftId, 8);
  });

  it("replaces a file in one step", async () => {
    const path = join(root, "file");
    await writeFileAtomic(path, "old");
    writeFileSync(`${path}.new`, "the rest of a write that was cut off");
    await writeFileAtomic(path, new Uint8Array([110, 101, 119]));
    assert.equal(readFileSync(path, "utf8"), "new");
    assert.deepEqual(readdirSync(root), ["file"]);
  });

  const damaged: readonly (readonly [string, string, string])[] = [
    ["an empty file", "", "JSON"],
    ["half a file", '{"format":1,', "JSON"],
    ["no object", "null", "it holds no object"],
    ["a format of another version", '{"format":2}', "format 2 is not known here"],
    ["a missing id", JSON.stringify({ ...state, nodeId: undefined }), "nodeId is no text"],
    [
      "a raft id that is no number",
      JSON.stringify({ ...state, raftId: "7" }),
      "raftId is no number",
    ],
    [
      "a missing mark",
      JSON.stringify({ ...state, joining: 0 }),
      "joining is neither true nor false",
    ],
    [
      "managers that are no list",
      JSON.stringify({ ...state, managers: {} }),
      "managers is no list",
    ],
    [
      "a manager without address",
      JSON.stringify({ ...state, managers: [{ nodeId: "n" }] }),
      "managers",
    ],
  ];
  for (const [fact, content, why] of damaged) {
    it(`refuses ${fact}, naming the file and the way out`, async () => {
      await files.write("node.json", content);
      await assert.rejects(files.load(), (error: Error & { code?: string }) => {
        assert.equal(error.code, "internal");
        assert.ok(error.message.includes(join(root, "node", "node.json")), error.message);
        assert.ok(error.message.includes(why), error.message);
        assert.match(error.message, /docker swarm leave --force/);
        return true;
      });
    });
  }
});
