/**
 * Images, volumes, files of containers, disk use and events over HTTP, with a runtime in memory.
 */
import assert from "node:assert/strict";
import { request } from "node:http";
import type { ContainerStats } from "../../../../src/common/container/containers.ts";
import { startEngine, type TestEngine } from "../../../support/engine.ts";

describe("engine's images, volumes and files over HTTP", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine.stop());

  const filter = (filters: object) => encodeURIComponent(JSON.stringify(filters));
  const lines = (text: string) =>
    text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const create = async (name: string, body: object = {}) => {
    const answer = await engine.send("POST", `/containers/create?name=${name}`, {
      body: { Image: "busybox", ...body },
    });
    assert.equal(answer.status, 201, answer.message);
    return String(answer.at("Id"));
  };

  it("pulls with progress and credentials, and fails with a status before the first step", async () => {
    const auth = Buffer.from('{"username":"u","password":"p>?","serveraddress":"r:5"}');
    const pulled = await engine.send("POST", "/images/create?fromImage=r:5/app&tag=2", {
      headers: { "x-registry-auth": auth.toString("base64url") },
    });
    assert.equal(pulled.status, 200);
    assert.deepEqual(lines(pulled.text), [
      { status: "Pulling" },
      { status: "Downloading", progressDetail: { current: 5, total: 10 }, id: "abc" },
    ]);
    assert.equal(engine.runtime.images.lastAuth?.password, "p>?");
    const missing = await engine.send("POST", "/images/create?fromImage=missing");
    assert.equal(missing.status, 404);
    assert.match(missing.message, /manifest for missing:latest not found/);
    const cases = [
      ["/images/create?fromImage=BAD", {}, 400, /repository name must be lowercase|invalid ref/],
      ["/images/create?fromImage=a&platform=linux", {}, 400, /invalid platform/],
      ["/images/create?fromSrc=http://x/y.tar", {}, 501, /importing from an address/],
      ["/images/create?fromImage=a", { "x-registry-auth": "%%" }, 400, /X-Registry-Auth/],
    ] as const;
    for (const [path, headers, status, text] of cases) {
      const answer = await engine.send("POST", path, { headers });
      assert.equal(answer.status, status, answer.message);
      assert.match(answer.message, text);
    }
  });

  it("lists, filters and shows images in the words of the client's version", async () => {
    engine.runtime.images.add("r/filtered:1");
    const names = async (filters: object) => {
      const { json } = await engine.send("GET", `/images/json?filters=${filter(filters)}`);
      return (json as { RepoTags: string[] }[]).map(({ RepoTags }) => RepoTags[0]);
    };
    assert.deepEqual(await names({ reference: ["r/filtered"] }), ["r/filtered:1"]);
    assert.deepEqual(await names({ reference: ["r/*:1"] }), ["r/filtered:1"]);
    assert.deepEqual(await names({ reference: ["r/*:2"] }), []);
    assert.deepEqual(await names({ dangling: ["true"] }), []);
    assert.equal((await engine.send("GET", "/v1.43/images/json")).at(0, "VirtualSize"), 1000);
    assert.equal((await engine.send("GET", "/images/json")).at(0, "VirtualSize"), undefined);
    const shown = await engine.send("GET", "/images/r/filtered:1/json");
    assert.deepEqual(shown.at("Config", "Cmd"), ["sh"]);
    assert.equal(shown.at("RootFS", "Type"), "layers");
    assert.equal((await engine.send("GET", "/images/nothing/json")).status, 404);
    assert.equal((await engine.send("GET", "/images/r/filtered:1/history")).at(0, "Size"), 1000);
    assert.equal((await engine.send("GET", "/images/search?term=x")).status, 501);
  });

  it("names images and refuses what is no name", async () => {
    const tag = (query: string) => engine.send("POST", `/images/busybox/tag?${query}`);
    assert.equal((await tag("repo=r/other&tag=3")).status, 201);
    assert.equal((await engine.send("GET", "/images/r/other:3/json")).status, 200);
    assert.match((await tag("repo=Upper")).message, /repository name must be lowercase/);
    assert.match((await tag("repo=a%20b")).message, /invalid reference format/);
  });

  it("says what stands in the way of removing an image", async () => {
    const { id } = engine.runtime.images.add("held:1");
    const holder = await create("holder", { Image: "held:1" });
    const remove = (reference: string, query = "") =>
      engine.send("DELETE", `/images/${reference}${query}`);
    const short = id.slice(7, 19);
    const named = await remove("held:1");
    assert.equal(named.status, 409);
    assert.equal(
      named.message,
      `conflict: unable to remove repository reference "held:1" (must force) - container ${holder.slice(0, 12)} is using its referenced image ${short}`,
    );
    const stopped = await remove(short);
    assert.match(stopped.message, /\(must be forced\) - image is being used by stopped container/);
    await engine.send("POST", "/containers/holder/start");
    const running = await remove(short, "?force=1");
    assert.equal(running.status, 409);
    assert.equal(
      running.message,
      `conflict: unable to delete ${short} (cannot be forced) - image is being used by running container ${holder.slice(0, 12)}`,
    );
    engine.runtime.images.add("free:1");
    const gone = await remove("free:1");
    assert.equal(gone.at(0, "Untagged"), "free:1");
    assert.match(String(gone.at(1, "Deleted")), /^sha256:/);
  });

  it("pushes, loads, saves and imports", async () => {
    engine.runtime.images.add("r:5/pushed:1");
    const pushed = lines((await engine.send("POST", "/images/r:5/pushed/push?tag=1")).text);
    assert.equal(pushed[0]?.["status"], "The push refers to repository [r:5/pushed]");
    assert.match(String(pushed[1]?.["status"]), /^1: digest: sha256:\w+ size: 528$/);
    assert.deepEqual(Object.keys(pushed[2]?.["aux"] ?? {}), ["Tag", "Digest", "Size"]);
    assert.equal((await engine.send("POST", "/images/r:5/none/push?tag=1")).status, 404);
    const loaded = await engine.send("POST", "/images/load?quiet=1", { body: "a tar" });
    assert.deepEqual(lines(loaded.text), [{ stream: "Loaded image: busybox:latest\n" }]);
    assert.equal((await engine.send("GET", "/images/get?names=busybox")).text, "saved");
    assert.equal((await engine.send("GET", "/images/busybox/get")).text, "saved");
    const imported = await engine.send("POST", "/images/create?fromSrc=-&repo=imp&tag=1", {
      body: "a tar",
    });
    assert.match(String(lines(imported.text)[0]?.["status"]), /^sha256:/);
    assert.equal((await engine.send("GET", "/images/imp:1/json")).status, 200);
  });

  it("makes, lists, shows, removes and prunes volumes", async () => {
    const make = (body: object) => engine.send("POST", "/volumes/create", { body });
    const made = await make({ Name: "data", Labels: { a: "b" }, DriverOpts: { type: "nfs" } });
    assert.equal(made.status, 201);
    assert.deepEqual(made.at("Options"), { type: "nfs" });
    assert.match((await make({ Name: "a/b" })).message, /includes invalid characters for a local/);
    assert.equal((await make({ ClusterVolumeSpec: {} })).status, 501);
    await make({});
    const list = async (filters: object) =>
      (await engine.send("GET", `/volumes?filters=${filter(filters)}`)).at("Volumes", "length");
    assert.equal(await list({ label: ["a"] }), 1);
    assert.equal(await list({ name: ["dat"] }), 1);
    assert.equal(await list({ driver: ["other"] }), 0);
    await engine.runtime.volumes.acquire("data", "c".repeat(64));
    assert.equal(await list({ dangling: ["true"] }), 1);
    const used = await engine.send("DELETE", "/volumes/data");
    assert.equal(used.status, 409);
    assert.match(used.message, /^remove data: volume is in use - \[cccc/);
    await engine.runtime.volumes.release("data", "c".repeat(64));
    const some = await engine.send("POST", "/volumes/prune");
    assert.deepEqual(some.at("VolumesDeleted"), ["f".repeat(64)]);
    assert.deepEqual((await engine.send("POST", "/v1.41/volumes/prune")).at("VolumesDeleted"), [
      "data",
    ]);
    const gone = await engine.send("GET", "/volumes/data");
    assert.equal(gone.status, 404);
    assert.equal(gone.message, "get data: no such volume");
  });

  it("lists the volumes of other nodes, and says where one is that is not here", async () => {
    await engine.store.update((tx) => {
      const node = tx.list("node").find(({ id }) => id !== engine.selfId);
      assert.ok(node?.description !== undefined);
      tx.update("node", { ...node, description: { ...node.description, localVolumes: ["hive"] } });
    });
    for (const node of ["*", "host-2"]) {
      const listed = await engine.send("GET", `/volumes?filters=${filter({ node: [node] })}`);
      assert.deepEqual(
        [listed.at("Volumes", 0, "Name"), listed.at("Volumes", "length")],
        ["hive", 1],
      );
    }
    for (const method of ["GET", "DELETE"]) {
      const answer = await engine.send(method, "/volumes/hive");
      assert.equal(answer.status, 404);
      assert.equal(
        answer.message,
        "get hive: no such volume on this node: it is on host-2; ask there",
      );
    }
    assert.equal((await engine.send("DELETE", "/volumes/hive?force=1")).status, 204);
  });

  it("copies files both ways and tells of them in a header", async () => {
    await create("files");
    const stat = await engine.send("HEAD", "/containers/files/archive?path=/etc/x");
    const header = Buffer.from(String(stat.headers["x-docker-container-path-stat"]), "base64");
    assert.deepEqual(JSON.parse(header.toString()), {
      name: "file",
      size: 4,
      mode: 0o644,
      mtime: "2023-11-14T22:13:20.000Z",
      linkTarget: "",
    });
    assert.equal((await engine.send("HEAD", "/containers/files/archive?path=missing")).status, 404);
    const got = await engine.send("GET", "/containers/files/archive?path=/etc/x");
    assert.equal(got.text, "an archive");
    assert.equal(got.headers["content-type"], "application/x-tar");
    // Longer than what fits into the connection: a refusal comes back all the same.
    const large = Buffer.alloc(3 * 2 ** 20);
    assert.equal(await upload(engine, "/containers/files/archive?path=/tmp", large), 200);
    assert.ok(engine.runtime.containers.calls.includes(`put ${large.length}`));
    assert.equal(await upload(engine, "/containers/files/archive?path=/missing", large), 404);
    assert.equal((await engine.send("PUT", "/containers/files/archive")).status, 400);
    assert.deepEqual((await engine.send("GET", "/containers/files/changes")).json, [
      { Kind: 0, Path: "/a" },
      { Kind: 1, Path: "/b" },
      { Kind: 2, Path: "/c" },
    ]);
    assert.equal((await engine.send("GET", "/containers/files/export")).text, "an export");
    const committed = await engine.send("POST", "/commit?container=files&repo=made&tag=1");
    assert.equal(committed.status, 201);
    assert.equal((await engine.send("GET", "/images/made:1/json")).status, 200);
  });

  it("shows processes, and samples with the one before", async () => {
    await create("busy");
    assert.equal((await engine.send("GET", "/containers/busy/top")).status, 409);
    const idle = await engine.send("GET", "/containers/busy/stats?stream=0");
    assert.equal(idle.at("cpu_stats", "cpu_usage", "total_usage"), 0);
    await engine.send("POST", "/containers/busy/start");
    assert.deepEqual((await engine.send("GET", "/containers/busy/top?ps_args=aux")).json, {
      Titles: ["PID", "CMD"],
      Processes: [["42", "aux"]],
    });
    let cpu = 0;
    engine.runtime.containers.stats = async () => {
      cpu += 5;
      return sampleOf(cpu);
    };
    const once = await engine.send("GET", "/containers/busy/stats?stream=0&one-shot=1");
    assert.equal(once.at("cpu_stats", "cpu_usage", "total_usage"), 5);
    assert.equal(once.at("precpu_stats", "cpu_usage", "total_usage"), 0);
    assert.equal(once.at("memory_stats", "stats", "inactive_file"), 3);
    const pair = await engine.send("GET", "/containers/busy/stats?stream=0");
    assert.equal(pair.at("precpu_stats", "cpu_usage", "total_usage"), 10);
    assert.equal(pair.at("cpu_stats", "cpu_usage", "total_usage"), 15);
  });

  it("adds up what is on the disk, and counts in info", async () => {
    const use = await engine.send("GET", "/system/df");
    assert.ok(Number(use.at("LayersSize")) >= 1000);
    assert.equal(use.at("Containers", 0, "SizeRw"), 10);
    assert.equal((await engine.send("GET", "/system/df?type=volume")).at("Images"), null);
    assert.match((await engine.send("GET", "/system/df?type=odd")).message, /unknown object type/);
    const info = await engine.send("GET", "/info");
    assert.ok(Number(info.at("Containers")) >= 2);
    assert.deepEqual(info.at("Runtimes"), { runc: { path: "/usr/sbin/runc" } });
    const version = await engine.send("GET", "/version");
    assert.equal(version.at("Components", 1, "Name"), "containerd");
    assert.equal(version.at("Components", 2, "Version"), "1.1.5");
  });

  it("tells events of containers beside those of the swarm, by filter", async () => {
    const id = await create("told", { Labels: { tell: "1" } });
    await engine.send("POST", "/containers/told/start");
    await engine.send("DELETE", "/containers/told?force=1");
    const now = Math.ceil(Date.now() / 1000) + 1;
    const events = async (filters: object) => {
      const path = `/events?since=1&until=${now}&filters=${filter(filters)}`;
      const answer = await engine.send("GET", path);
      return answer.text === "" ? [] : lines(answer.text);
    };
    const [all, none] = await Promise.all([
      events({ container: ["told"] }),
      events({ container: ["told"], event: ["pause"] }),
    ]);
    assert.deepEqual(
      all.map((event) => event["Action"]),
      ["create", "start", "die", "destroy"],
    );
    assert.deepEqual(none, []);
    assert.equal(all[0]?.["id"], id);
    assert.equal(all[0]?.["scope"], "local");
    assert.deepEqual(all[0]?.["Actor"], {
      ID: id,
      Attributes: { image: "busybox", name: "told", tell: "1" },
    });
  });
});

function sampleOf(cpuTotalNs: number): ContainerStats {
  return {
    readAtMs: 1_700_000_000_000,
    cpuTotalNs,
    cpuUserNs: 0,
    cpuKernelNs: 0,
    cpuPerCoreNs: [],
    systemCpuNs: 100,
    onlineCpus: 2,
    throttledPeriods: 0,
    periods: 0,
    throttledNs: 0,
    memoryUsageBytes: 10,
    memoryInactiveFileBytes: 3,
    memoryLimitBytes: 100,
    pids: 1,
    pidsLimit: 0,
    networks: {},
    blockIo: [],
  };
}

/** Sends bytes without saying how many; resolves with the status. */
function upload(engine: TestEngine, path: string, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: engine.socket, method: "PUT", path }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    sent.on("error", reject);
    sent.end(bytes);
  });
}
