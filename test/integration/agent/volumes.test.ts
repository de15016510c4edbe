/**
 * Volumes with options: what the kernel mounts for them, that it goes away again, and that nobody's data is lost with it.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shareFolder, unshareFolder } from "../../../agent/exec/containerd/shared-folder.ts";
import { LocalVolumes } from "../../../agent/volumes/local-volumes.ts";
import { mountsIn } from "../../../agent/volumes/mounting.ts";
import { systemClock } from "../../../src/common/clock/clock.ts";
import { hasCode } from "../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../src/common/log/log.ts";
import { systemRandom } from "../../../src/common/random/random.ts";

describe("agent/volumes: mounts", () => {
  let folder: string;
  let volumes: LocalVolumes;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-volumes-"));
    volumes = await opened();
  });

  afterEach(async () => {
    for (const { name } of volumes.list()) {
      for (const user of volumes.usersOf(name)) await volumes.release(name, user);
      await volumes.remove(name, { force: true });
    }
    deepEqual(mountsIn(folder), []);
    rmSync(folder, { recursive: true, force: true });
  });

  async function opened(): Promise<LocalVolumes> {
    const tools = { clock: systemClock, random: systemRandom, log: silentLog };
    const made = new LocalVolumes(join(folder, "volumes"), tools);
    await made.swept;
    return made;
  }

  function create(options: Readonly<Record<string, string>>) {
    return volumes.create({ name: "data", driver: "local", options, labels: {} });
  }

  it("mounts a tmpfs for as long as somebody holds the volume", async () => {
    const { mountpoint } = await create({ type: "tmpfs", device: "tmpfs", o: "size=1m,mode=700" });
    deepEqual(mountsIn(folder), []);
    await volumes.acquire("data", "c1");
    await volumes.acquire("data", "c2");
    deepEqual(mountsIn(folder), [mountpoint]);
    await volumes.release("data", "c1");
    deepEqual(mountsIn(folder), [mountpoint]);
    await volumes.release("data", "c2");
    deepEqual(mountsIn(folder), []);
  });

  it("removes a volume that shows a folder of the node, and never the folder's content", async () => {
    const own = join(folder, "own");
    mkdirSync(own);
    writeFileSync(join(own, "precious"), "x");
    const { mountpoint } = await create({ type: "none", device: own, o: "bind" });
    await volumes.acquire("data", "c1");
    equal(readFileSync(join(mountpoint, "precious"), "utf8"), "x");
    // As after a daemon that was killed: nobody is known to hold it, and it is mounted.
    volumes = await opened();
    await volumes.remove("data", { force: false });
    deepEqual(readdirSync(own), ["precious"]);
  });

  it("never removes through a mount what a crash left half removed", async () => {
    const own = join(folder, "own");
    mkdirSync(own);
    writeFileSync(join(own, "precious"), "x");
    await create({ type: "none", device: own, o: "bind" });
    await volumes.acquire("data", "c1");
    renameSync(join(folder, "volumes", "data"), join(folder, "volumes", ".going-x"));
    volumes = await opened();
    deepEqual(readdirSync(join(folder, "volumes")), []);
    deepEqual(readdirSync(own), ["precious"]);
  });

  it("shows what is mounted to a mount namespace that was split off before", async () => {
    await shareFolder(join(folder, "volumes"));
    const other = spawn("unshare", ["-m", "--propagation", "slave", "cat"]);
    const ended = new Promise((resolve) => other.once("close", resolve));
    try {
      // It answers, so it has its namespace.
      const ready = new Promise((resolve) => other.stdout.once("data", resolve));
      other.stdin.write("ready\n");
      await ready;
      const { mountpoint } = await create({ type: "tmpfs", device: "tmpfs" });
      await volumes.acquire("data", "c1");
      const seen = readFileSync(`/proc/${other.pid}/mountinfo`, "utf8");
      equal(seen.includes(` ${mountpoint} `), true);
      await unshareFolder(join(folder, "volumes"));
      deepEqual(mountsIn(join(folder, "volumes")).length, 2, "kept while it is in use");
      await volumes.release("data", "c1");
    } finally {
      other.stdin.end();
      await ended;
      await unshareFolder(join(folder, "volumes"));
    }
  });

  it("says what cannot be mounted, and holds nothing then", async () => {
    await create({ type: "none", device: join(folder, "missing"), o: "bind" });
    await rejects(
      volumes.acquire("data", "c1"),
      (error: Error) =>
        hasCode(error, "failed-precondition") && /failed to mount local volume/.test(error.message),
    );
    deepEqual(volumes.usersOf("data"), []);
    equal(existsSync(join(folder, "missing")), false);
  });
});
