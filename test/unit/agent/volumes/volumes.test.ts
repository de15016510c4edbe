/**
 * Volumes of the driver local: names, options, life, and what a crash leaves. Mounts are tried in
 * test/integration/agent/volumes.test.ts.
 */
import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalVolumes } from "../../../../agent/volumes/local-volumes.ts";
import {
  checkVolumeDriver,
  checkVolumeName,
  mountPointsIn,
  serverNameOf,
  volumeMountOf,
  withServerAddress,
} from "../../../../agent/volumes/options.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import type { VolumeRequest } from "../../../../src/common/container/volumes.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";

const nfs = { type: "nfs", device: ":/data", o: "addr=files,rw" };

function wish(name: string, change: Partial<VolumeRequest> = {}): VolumeRequest {
  return { name, driver: "local", options: {}, labels: {}, ...change };
}

describe("agent/volumes/options", () => {
  it("reads the mount that options ask for", () => {
    equal(volumeMountOf({}), undefined);
    deepEqual(volumeMountOf(nfs), { type: "nfs", device: ":/data", options: "addr=files,rw" });
  });

  for (const [options, words] of [
    [{ colour: "red" }, /invalid option: "colour"/],
    [{ type: "tmpfs" }, /missing required option: "device"/],
    [{ o: "rw", type: "tmpfs" }, /missing required option: "device"/],
    [{ device: "/dev/sdb" }, /missing required option: "type"/],
    [{ size: "10m" }, /option "size"/],
  ] as const) {
    it(`refuses ${JSON.stringify(options)}`, () => {
      throws(
        () => volumeMountOf(options),
        (error: Error) => hasCode(error, "invalid-argument") && words.test(error.message),
      );
    });
  }

  it("finds the server's name, and puts its address in its place", () => {
    const mount = { type: "nfs", device: ":/d", options: "addr=files,rw" };
    equal(serverNameOf(mount), "files");
    equal(withServerAddress(mount, "10.0.0.9").options, "addr=10.0.0.9,rw");
    equal(serverNameOf({ ...mount, type: "none" }), undefined);
  });

  it("refuses names that are no folders, and other drivers by name", () => {
    for (const name of ["a", "../x", ".hidden", "a b", "x".repeat(300)]) {
      throws(() => checkVolumeName(name), /invalid characters for a local volume name/);
    }
    checkVolumeName("data_1.x-y");
    throws(() => checkVolumeDriver("nfs"), /plugin "nfs" not found/);
  });

  it("finds mounts below a folder, the innermost first", () => {
    const line = (path: string) => `36 35 98:0 / ${path} rw - ext3 /dev/root rw`;
    const text = [line("/v/a"), line("/v/ab"), line("/v/a/x\\040y"), line("/")].join("\n");
    deepEqual(mountPointsIn(text, "/v/a"), ["/v/a/x y", "/v/a"]);
  });
});

describe("agent/volumes/local-volumes", () => {
  let folder: string;
  let volumes: LocalVolumes;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-volumes-"));
    volumes = await opened();
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function opened(): Promise<LocalVolumes> {
    const random = seededRandom(readdirSync(folder).length + 1);
    const made = new LocalVolumes(folder, { clock: new FakeClock(), random, log: silentLog });
    await made.swept;
    return made;
  }

  it("makes a folder with Docker's modes, and knows it after a restart", async () => {
    const made = await volumes.create(wish("data", { labels: { a: "b" } }));
    equal(made.mountpoint, join(folder, "data", "_data"));
    equal(statSync(made.mountpoint).mode & 0o777, 0o755);
    equal(statSync(join(folder, "data")).mode & 0o777, 0o701);
    deepEqual((await opened()).find("data"), made);
  });

  it("gives one without a name a long one, and says so in a label", async () => {
    const { name, anonymous, labels } = await volumes.create(wish(""));
    match(name, /^[0-9a-f]{64}$/);
    ok(anonymous);
    deepEqual(labels, { "com.docker.volume.anonymous": "" });
  });

  it("says beforehand what it would not make, and makes nothing", async () => {
    const { length } = volumes.list();
    volumes.check(wish("data", { options: nfs }));
    for (const [bad, words] of [
      [wish("data", { driver: "odd" }), /plugin "odd" not found/],
      [wish("data", { options: { size: "1g" } }), /option "size"/],
      [wish("a/b"), /invalid characters/],
    ] as const)
      throws(() => volumes.check(bad), words);
    await volumes.create(wish("data"));
    volumes.check(wish("data"));
    throws(
      () => volumes.check(wish("data", { options: nfs })),
      (error) => hasCode(error, "already-exists"),
    );
    equal(volumes.list().length, length + 1);
  });

  it("takes the one that is there, unless it was made from other options", async () => {
    const first = await volumes.create(wish("data", { options: nfs }));
    equal(await volumes.create(wish("data", { options: { ...nfs } })), first);
    equal(await volumes.create(wish("data")), first);
    const other = wish("data", { options: { ...nfs, device: ":/other" } });
    await rejects(volumes.create(other), (error) => hasCode(error, "already-exists"));
  });

  it("makes one volume for many who ask at once", async () => {
    const made = await Promise.all([1, 2, 3].map(() => volumes.create(wish("data"))));
    equal(made[0], made[1]);
    equal(volumes.list().length, 1);
  });

  it("does not remove what is held, and says who holds it", async () => {
    const { mountpoint } = await volumes.create(wish("data"));
    equal(await volumes.acquire("data", "c1"), mountpoint);
    await rejects(volumes.remove("data", { force: true }), /volume is in use - \[c1\]/);
    await volumes.release("data", "c1");
    await volumes.remove("data", { force: false });
    ok(!existsSync(mountpoint));
    deepEqual(readdirSync(folder), []);
  });

  it("says what is not there, unless removal is forced", async () => {
    throws(() => volumes.find("data"), /get data: no such volume/);
    await rejects(volumes.remove("data", { force: false }), (error) => hasCode(error, "not-found"));
    await volumes.remove("data", { force: true });
  });

  it("prunes anonymous ones, or all, but none that is held or not accepted", async () => {
    const { name } = await volumes.create(wish(""));
    for (const other of ["held", "kept", "gone"]) await volumes.create(wish(other));
    await volumes.acquire("held", "c1");
    writeFileSync(join(volumes.find(name).mountpoint, "x"), "12345");
    deepEqual(await volumes.prune({ all: false, accept: () => true }), {
      removed: [name],
      freedBytes: 5,
    });
    const accept = (volume: { name: string }) => volume.name !== "kept";
    deepEqual((await volumes.prune({ all: true, accept })).removed, ["gone"]);
    deepEqual(
      volumes.list().map((volume) => volume.name),
      ["held", "kept"],
    );
  });

  it("counts a file with two names once", async () => {
    const { mountpoint } = await volumes.create(wish("data"));
    mkdirSync(join(mountpoint, "d"));
    writeFileSync(join(mountpoint, "d", "a"), "123");
    linkSync(join(mountpoint, "d", "a"), join(mountpoint, "b"));
    equal(await volumes.sizeBytes("data"), 3);
  });

  it("removes what a crash left half made or half removed, and nothing else", async () => {
    await volumes.create(wish("data"));
    for (const name of [".making-1", ".going-2", "foreign"]) {
      mkdirSync(join(folder, name, "_data"), { recursive: true });
    }
    const after = await opened();
    deepEqual(readdirSync(folder).sort(), ["data", "foreign"]);
    deepEqual(
      after.list().map((volume) => volume.name),
      ["data"],
    );
  });

  it("tells what happens", async () => {
    const stop = new AbortController();
    const seen: string[] = [];
    const events = volumes.events(stop.signal);
    const reading = (async () => {
      for await (const { action, attributes } of events) {
        seen.push(`${action} ${attributes["container"] ?? "-"}`);
        if (action === "destroy") stop.abort();
      }
    })();
    await volumes.create(wish("data"));
    await volumes.acquire("data", "c1");
    await volumes.release("data", "c1");
    await volumes.remove("data", { force: false });
    await reading;
    deepEqual(seen, ["create -", "mount c1", "unmount c1", "destroy -"]);
  });
});
