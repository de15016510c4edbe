/**
 * Files of containers: paths that lead nowhere but into the container, archives out of it and into it.
 */
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { extract, pack } from "tar-stream";
import { archiveOf } from "../../../../../agent/exec/containerd/archive-read.ts";
import { unpack } from "../../../../../agent/exec/containerd/archive-write.ts";
import {
  absolutePath,
  baseName,
  findPlace,
  goFileMode,
  openFolder,
} from "../../../../../agent/exec/containerd/container-path.ts";
import { hasCode } from "../../../../../src/common/errors/cluster-error.ts";

let top: string;
let root: number;

function start(): void {
  top = mkdtempSync(join(tmpdir(), "skep-archive-"));
  mkdirSync(join(top, "root", "dir", "inner"), { recursive: true });
  mkdirSync(join(top, "root", "etc"));
  writeFileSync(join(top, "root", "dir", "file"), "content");
  writeFileSync(join(top, "root", "etc", "passwd"), "inside");
  writeFileSync(join(top, "outside"), "outside");
  root = openFolder(join(top, "root"));
}

function end(): void {
  closeSync(root);
  rmSync(top, { recursive: true, force: true });
}

function link(target: string, name: string): void {
  symlinkSync(target, join(top, "root", name));
}

function pathOf(path: string, followLast = true): string | undefined {
  const place = findPlace(root, path, { followLast });
  place?.close();
  return place?.path;
}

describe("agent/exec/containerd/container-path", () => {
  beforeEach(start);
  afterEach(end);

  it("follows links inside the container only, whatever they say", () => {
    link("/etc/passwd", "absolute");
    link("../../../../etc/passwd", "upwards");
    link("../../outside", "dir/out");
    link("/dir", "folder");
    equal(pathOf("/absolute"), "/etc/passwd");
    equal(pathOf("/upwards"), "/etc/passwd");
    equal(pathOf("/dir/out"), undefined);
    equal(pathOf("/folder/inner/../file"), "/dir/file");
    equal(pathOf("/../../dir/.."), "/");
  });

  it("shows a link in the last part itself, unless a slash follows", () => {
    link("/dir", "folder");
    equal(pathOf("/folder", false), "/folder");
    equal(pathOf("/folder/", false), "/dir");
    equal(pathOf("/folder/.", false), "/dir");
  });

  it("refuses circles, and ways through files", () => {
    link("b", "a");
    link("a", "b");
    throws(() => pathOf("/a"), /too many levels of symbolic links/);
    throws(() => pathOf("/dir/file/x"), /not a directory/);
    throws(() => pathOf("/dir/file/"), /not a directory/);
  });

  it("leaves no descriptor open", () => {
    const before = readdirSync("/proc/self/fd").length;
    link("/dir", "folder");
    for (const path of ["/folder/inner", "/nothing", "/dir/../dir/file", "/"]) pathOf(path);
    throws(() => pathOf("/dir/file/x"));
    equal(readdirSync("/proc/self/fd").length, before);
  });

  it("keeps what the end of a path says", () => {
    deepEqual(["x", "/x/", "x/.", "/", "/.", "", "a/../b"].map(absolutePath), [
      "/x",
      "/x/",
      "/x/.",
      "/",
      "/.",
      "/",
      "/b",
    ]);
    deepEqual(["/x/", "/x/.", "/", "/."].map(baseName), ["x", ".", "/", "."]);
  });

  it("writes modes as Go does", () => {
    equal(goFileMode(0o100644), 0o644);
    equal(goFileMode(0o040755), 2 ** 31 + 0o755);
    equal(goFileMode(0o104755), 2 ** 23 + 0o755);
    equal(goFileMode(0o041777), 2 ** 31 + 2 ** 20 + 0o777);
    equal(goFileMode(0o120777), 2 ** 27 + 0o777);
  });
});

describe("agent/exec/containerd/archive", () => {
  beforeEach(start);
  afterEach(end);

  function archive(path: string, name: string | undefined): AsyncIterable<Uint8Array> {
    const place = findPlace(root, path, { followLast: true });
    if (place === undefined) throw new Error(`${path} is missing`);
    return archiveOf(
      { access: place.access, stats: place.stats, name },
      { openFolder: () => openFolder(place.access), ended: async () => place.close() },
    );
  }

  async function namesIn(tar: AsyncIterable<Uint8Array>): Promise<string[]> {
    const names: string[] = [];
    const entries = extract();
    const reading = (async () => {
      for await (const entry of entries) {
        names.push(`${entry.header.type} ${entry.header.name}`);
        entry.resume();
      }
    })();
    for await (const data of tar) entries.write(data);
    entries.end(null);
    await reading;
    return names;
  }

  it("brings a folder over with modes, times, links and several names of a file", async () => {
    const from = join(top, "root", "dir");
    writeFileSync(join(from, "big"), Buffer.alloc(3_000_000, "b"));
    chmodSync(join(from, "big"), 0o4751);
    linkSync(join(from, "big"), join(from, "same"));
    link("../../etc/passwd", "dir/link");
    utimesSync(join(from, "file"), 1000, 1000);
    mkdirSync(join(top, "root", "to"));
    const owner = undefined;
    await unpack(root, "/to", archive("/dir", "copy"), { noOverwriteDirNonDir: false, owner });
    const to = join(top, "root", "to", "copy");
    deepEqual(readdirSync(to).sort(), ["big", "file", "inner", "link", "same"]);
    equal(readFileSync(join(to, "big")).length, 3_000_000);
    equal(statSync(join(to, "big")).mode & 0o7777, 0o4751);
    equal(statSync(join(to, "big")).ino, statSync(join(to, "same")).ino);
    equal(readlinkSync(join(to, "link")), "../../etc/passwd");
    equal(statSync(join(to, "file")).mtimeMs, 1_000_000);
  });

  it("names the entries of a root without a name, and a single file by its own", async () => {
    deepEqual(await namesIn(archive("/dir", "")), [
      "directory /",
      "file /file",
      "directory /inner/",
    ]);
    deepEqual(await namesIn(archive("/dir/file", "file")), ["file file"]);
    deepEqual(await namesIn(archive("/dir", undefined)), ["file file", "directory inner/"]);
  });

  it("lets go of everything when its reader stops early", async () => {
    writeFileSync(join(top, "root", "dir", "big"), Buffer.alloc(10_000_000));
    const before = readdirSync("/proc/self/fd").length;
    for await (const _ of archive("/dir", "x")) break;
    equal(readdirSync("/proc/self/fd").length, before);
  });

  async function put(
    headers: Parameters<ReturnType<typeof pack>["entry"]>[0][],
    o: { noOverwriteDirNonDir?: boolean; owner?: { uid: number; gid: number } } = {},
  ): Promise<void> {
    const tar = pack();
    for (const header of headers) {
      tar.entry(header, header.type === undefined || header.type === "file" ? "new" : "");
    }
    tar.finalize();
    await unpack(root, "/dir", tar as AsyncIterable<Uint8Array>, {
      noOverwriteDirNonDir: o.noOverwriteDirNonDir ?? false,
      owner: o.owner,
    });
  }

  it("refuses names that lead out", async () => {
    for (const name of ["../etc/passwd", "inner/../../etc/passwd"]) {
      await rejects(put([{ name }]), (error) => hasCode(error, "invalid-argument"));
    }
    equal(readFileSync(join(top, "root", "etc", "passwd"), "utf8"), "inside");
  });

  it("writes through a link of the container into the container only", async () => {
    link("/etc", "dir/there");
    link("../../..", "dir/out");
    await put([{ name: "there/passwd" }, { name: "out/made" }]);
    equal(readFileSync(join(top, "root", "etc", "passwd"), "utf8"), "new");
    equal(readFileSync(join(top, "root", "made"), "utf8"), "new");
    ok(!existsSync(join(top, "made")));
  });

  it("replaces a link instead of what it leads to", async () => {
    symlinkSync(join(top, "outside"), join(top, "root", "dir", "trap"));
    await put([{ name: "trap" }]);
    equal(readFileSync(join(top, "outside"), "utf8"), "outside");
    ok(lstatSync(join(top, "root", "dir", "trap")).isFile());
  });

  it("keeps folders and files apart when told to", async () => {
    const options = { noOverwriteDirNonDir: true };
    await rejects(
      put([{ name: "inner" }], options),
      /cannot overwrite directory "\/dir\/inner" with/,
    );
    await rejects(
      put([{ name: "file", type: "directory" }], options),
      /cannot overwrite non-directory "\/dir\/file" with directory/,
    );
    await put([{ name: "inner" }]);
    ok(lstatSync(join(top, "root", "dir", "inner")).isFile());
  });

  it("makes folders on the way, and gives files to whom it is told", async () => {
    const { uid, gid } = statSync(top);
    await put([{ name: "a/b/c", uid: 12345, gid: 12345 }], { owner: { uid, gid } });
    equal(statSync(join(top, "root", "dir", "a", "b", "c")).uid, uid);
  });

  it("says when an archive is damaged, or ends too early", async () => {
    const bytes = async function* (data: Buffer) {
      yield data;
    };
    const options = { noOverwriteDirNonDir: false, owner: undefined };
    await rejects(unpack(root, "/dir", bytes(Buffer.alloc(2048, "x")), options), (error) =>
      hasCode(error, "invalid-argument"),
    );
    const cut = async function* () {
      const tar = pack();
      tar.entry({ name: "cut" }, Buffer.alloc(5000));
      tar.finalize();
      for await (const data of tar as AsyncIterable<Uint8Array>) {
        yield data.subarray(0, 2000);
        if (data.length > 2000) return;
      }
    };
    await rejects(unpack(root, "/dir", cut(), options), (error) =>
      hasCode(error, "invalid-argument"),
    );
  });
});
