/**
 * Images of a node with a real containerd after they are there: names, removal, archives of both forms, import, push.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { execFile } from "node:child_process";
import { createWriteStream, existsSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { createGzip, gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { layersOf, readInLayers } from "../../../agent/exec/containerd/layers.ts";
import type { NodeImages } from "../../../agent/images/node-images.ts";
import { chainIds } from "../../../agent/images/unpack.ts";
import type { Image, ImageEvent } from "../../../src/common/container/images.ts";
import { type ContainerdClient, snapshotterName } from "../../../src/common/containerd/client.ts";
import { SnapshotsService } from "../../../src/common/containerd/generated/protocol.ts";
import { parsePlatform, platformText } from "../../../src/common/platform/match.ts";
import { descriptor, mediaTypes } from "../../../src/common/registry/manifest.ts";
import { digestOf } from "../../../src/common/registry/repository.ts";
import { TestContainerd } from "../../support/containerd.ts";
import { contentOf, imagesOf, pullOf, untilClean } from "../../support/images.ts";
import { startRegistry, type TestRegistry } from "../../support/registry.ts";
import { until } from "../../support/wait.ts";

const unused = { force: false, prune: true, inUse: () => false };

describe("agent/images: what is here", () => {
  const containerd = new TestContainerd();
  let client: ContainerdClient;
  let images: NodeImages;
  let hub: TestRegistry;
  let busybox: string;

  before(async () => {
    client = (await containerd.start()).client;
    images = imagesOf(client, "linux/amd64");
    hub = await startRegistry();
    await hub.pushTestImages();
    busybox = `${hub.address}/busybox:1`;
  });
  after(async () => {
    await hub?.stop();
    await containerd.remove();
  });
  beforeEach(() => images.pull(pullOf(busybox)));
  afterEach(async () => {
    await images.prune({ all: true, untilMs: Number.MAX_SAFE_INTEGER, inUse: () => false });
    deepEqual(await images.list(), []);
    await untilClean(client);
    equal(await images.layersBytes(), 0, "no layer is left");
  });

  it("shows the history with the sizes of the layers", async () => {
    const lines = await images.history(busybox);
    deepEqual(
      lines.map(({ id, createdBy, sizeBytes, tags }) => [id, createdBy, sizeBytes > 0, tags]),
      [
        [(await images.find(busybox)).id, "configuration", false, [busybox]],
        ["<missing>", "users, folders and a greeting", true, []],
        ["<missing>", "busybox-static of amd64", true, []],
      ],
    );
  });

  it("gives names, and keeps an image that has lost its last one", async () => {
    const { id } = await images.find(busybox);
    await images.tag(busybox, "app:1");
    await images.tag(id, "app");
    deepEqual((await images.find(id)).tags, [busybox, "app:1", "app:latest"]);
    const web = await images.pull(pullOf(`${hub.address}/web:1`));
    await images.tag(`${hub.address}/web:1`, "app:1");
    deepEqual((await images.find("app:1")).id, web.id);
    for (const name of [busybox, "app"]) await images.tag(web.id, name);
    deepEqual((await images.find(id)).tags, []);
    deepEqual((await images.find(id)).digests.length, 1);
    const { deleted } = await images.prune({
      ...{ all: false, untilMs: Number.MAX_SAFE_INTEGER, inUse: () => false },
    });
    equal(deleted[0], id);
    await rejects(images.find(id), { code: "not-found" });
    await rejects(images.tag("none", "x"), { message: "No such image: none:latest" });
  });

  it("removes a name, and with the last one the image with what only it needs", async () => {
    const { id, sizeBytes } = await images.find(busybox);
    await images.tag(busybox, "other:1");
    const first = await images.remove("other:1", unused);
    deepEqual(first, { untagged: ["other:1"], deleted: [], freedBytes: 0 });
    await images.tag(busybox, "other:1");
    await rejects(images.remove(id, unused), {
      code: "failed-precondition",
      message: /must be forced\) - image is referenced in multiple repositories/,
    });
    await images.remove("other:1", unused);
    const removal = await images.remove(busybox, unused);
    equal(removal.deleted[0], id);
    equal(removal.deleted.length, 3);
    equal(removal.freedBytes, sizeBytes);
  });

  it("keeps what a container needs", async () => {
    const { id } = await images.find(busybox);
    const inUse = (imageId: string) => imageId === id;
    await rejects(images.remove(busybox, { ...unused, inUse }), { code: "failed-precondition" });
    const pruned = await images.prune({ all: true, untilMs: Number.MAX_SAFE_INTEGER, inUse });
    deepEqual(pruned.deleted, []);
    await images.remove(busybox, { ...unused, force: true, inUse });
    deepEqual((await images.find(id)).tags, []);
    equal(await read(id, "/etc/greeting"), "hello from the hive\n");
  });

  it("saves an archive that it loads again, with names and all", async () => {
    const before = await images.find(busybox);
    await images.pull(pullOf(busybox, { platform: parsePlatform("linux/arm64") }));
    await images.tag(busybox, "mine:2");
    const archive = await collect(await images.save([busybox, "mine:2", before.id]));
    await images.prune({ all: true, untilMs: Number.MAX_SAFE_INTEGER, inUse: () => false });
    deepEqual(
      [...(await images.load(Readable.from([archive])))].sort(),
      [`Loaded image ID: ${before.id}`, `Loaded image: ${busybox}`, "Loaded image: mine:2"].sort(),
    );
    const after = await images.find(busybox);
    equal(after.id, before.id);
    deepEqual(after.tags, [busybox, "mine:2"]);
    equal(await read(after.id, "/etc/greeting"), "hello from the hive\n");
    equal(await read(after.id, "/etc/removed"), undefined);
  });

  it("saves what containerd's own tool takes", async () => {
    const path = join(containerd.dir, "saved.tar");
    await pipeline(Readable.from(await images.save([busybox])), createWriteStream(path));
    const ctr = (...words: string[]) =>
      promisify(execFile)("ctr", ["-a", client.socketPath, "-n", "other", ...words]);
    await ctr("images", "import", path);
    const { stdout } = await ctr("images", "ls", "-q");
    match(stdout, new RegExp(`^${busybox}$`, "m"));
    await ctr("images", "rm", "--sync", busybox);
    await ctr("content", "prune", "references").catch(() => {
      // Older than the command: the collector of the namespace has been through with the removal.
    });
  });

  it("loads docker's older form: layers by folder, links to them, compressed as a whole", async () => {
    const lower = await tarOf({ "bin/tool": "of the lower layer" });
    const upper = await tarOf({ "etc/word": "honey" });
    const config = JSON.stringify({
      ...{ architecture: "amd64", os: "linux", config: { Cmd: "tool" }, author: "somebody" },
      rootfs: { type: "layers", diff_ids: [lower, upper, lower].map((tar) => digestOf(tar)) },
    });
    const id = digestOf(Buffer.from(config));
    const tar = pack();
    tar.entry({ name: "aa/", type: "directory" });
    tar.entry({ name: "aa/VERSION" }, "1.0");
    tar.entry({ name: "aa/json" }, "{}");
    tar.entry({ name: "aa/layer.tar" }, Buffer.from(lower));
    tar.entry({ name: "bb/layer.tar" }, gzipSync(upper));
    tar.entry({ name: "cc/layer.tar", type: "symlink", linkname: "../aa/layer.tar" });
    tar.entry({ name: `${id.slice(7)}.json` }, config);
    const list = [
      {
        ...{ Config: `${id.slice(7)}.json`, RepoTags: ["old:1", "old:2"] },
        Layers: ["aa/layer.tar", "bb/layer.tar", "cc/layer.tar"],
      },
    ];
    tar.entry({ name: "manifest.json" }, JSON.stringify(list));
    tar.finalize();
    const lines = await images.load(Readable.from(tar as AsyncIterable<Buffer>).pipe(createGzip()));
    deepEqual(lines, ["Loaded image: old:1", "Loaded image: old:2"]);
    const image = await images.find("old:2");
    equal(image.id, id);
    equal(image.author, "somebody");
    deepEqual(image.config.command, ["tool"]);
    equal(await read(id, "/etc/word"), "honey");
    equal(await read(id, "/bin/tool"), "of the lower layer");
    const { digest } = await images.push(pullOf(await named(id, "pushed/old:1")));
    const pulled = await images.pull(pullOf(`${hub.address}/pushed/old@${digest}`));
    equal(pulled.id, id);
  });

  it("refuses archives that are none, not whole, or not what they say", async () => {
    const load = (body: Uint8Array) => images.load(Readable.from([body]));
    const invalid = (message: RegExp) => ({ code: "invalid-argument", message });
    await rejects(load(Buffer.alloc(0)), invalid(/archive is empty/));
    await rejects(load(Buffer.from("BZh91AY")), invalid(/bzip2 .* not supported/));
    await rejects(load(Buffer.alloc(1024, "x")), invalid(/cannot be read/));
    await rejects(
      load(await tarOf({ "etc/passwd": "x" })),
      invalid(/no image archive.*docker import/),
    );
    const list = JSON.stringify([{ Config: "c.json", RepoTags: null, Layers: ["a/layer.tar"] }]);
    await rejects(
      load(await tarOf({ "manifest.json": list })),
      invalid(/lacks the configuration c/),
    );
    const config = JSON.stringify({ rootfs: { diff_ids: [digestOf(Buffer.from("x"))] } });
    await rejects(
      load(await tarOf({ "manifest.json": list, "c.json": config })),
      invalid(/lacks the layer a\/layer.tar/),
    );
    const wrong = { "manifest.json": list, "c.json": config, "a/layer.tar": "something else" };
    await rejects(load(await tarOf(wrong)), {
      code: "failed-precondition",
      message: /^layer sha256:\w+ cannot be unpacked: /,
    });
    const lie = { [`blobs/sha256/${"0".repeat(64)}`]: "something else", "index.json": "{}" };
    await rejects(load(await tarOf(lie)), {
      code: "failed-precondition",
      message: /^blobs\/sha256\/0+ is not what its name says$/,
    });
    const whole = await collect(await images.save([busybox]));
    await rejects(load(whole.subarray(0, whole.length - 500_000)), invalid(/cannot be read/));
    await untilClean(client);
  });

  it("imports a file system, with changes", async () => {
    const id = await images.importTar(
      Readable.from([gzipSync(await tarOf({ "etc/word": "nectar" }))]),
      {
        ...{ repository: "fs", tag: "", message: "made by hand", platform: undefined },
        changes: ['CMD ["/bin/tool", "-v"]', "ENV A=1 B='2 3'", "EXPOSE 80 90/udp"],
      },
    );
    const image = await images.find("fs:latest");
    equal(image.id, id);
    equal(image.comment, "made by hand");
    equal(platformText(image.platform), "linux/amd64/v1");
    deepEqual(image.config.command, ["/bin/tool", "-v"]);
    deepEqual(image.config.env, ["A=1", "B=2 3"]);
    deepEqual(image.config.exposedPorts, ["80/tcp", "90/udp"]);
    equal(await read(id, "/etc/word"), "nectar");
    await rejects(
      images.importTar(Readable.from([await tarOf({ a: "b" })]), {
        ...{ repository: "", tag: "", message: "", platform: undefined, changes: ["RUN x"] },
      }),
      { code: "invalid-argument", message: /RUN is not a valid change command/ },
    );
  });

  it("makes an image of another one and a layer", async () => {
    const below = await images.find(busybox);
    const tar = await tarOf({ "etc/word": "wax" });
    const id = await images.extend({
      ...{ imageId: below.id, config: below.config, changes: ["USER bee"], createdBy: "sh" },
      ...{ author: "me", comment: "more", repository: "more", tag: "1" },
      makeLayer: async (lease) => {
        const digest = await contentOf(client).put(tar, {
          ...{ lease, labels: {}, signal: new AbortController().signal },
        });
        const { ociLayer: mediaType } = mediaTypes;
        return { layer: descriptor({ mediaType, digest, sizeBytes: tar.length }), diffId: digest };
      },
    });
    const image = await images.find("more:1");
    equal(image.id, id);
    deepEqual([image.author, image.comment, image.config.user], ["me", "more", "bee"]);
    deepEqual(image.config.env, below.config.env);
    equal(await read(id, "/etc/word"), "wax");
    equal(await read(id, "/etc/greeting"), "hello from the hive\n");
    equal((await images.history(id))[0]?.comment, "more");
  });

  it("pushes the whole index where it is here, else the one image, and blobs once", async () => {
    const seen: string[] = [];
    const onProgress = ({ status }: { status: string }) => seen.push(status);
    await named(busybox, "copy/busybox:1");
    const single = await images.push(pullOf(`${hub.address}/copy/busybox:1`, { onProgress }));
    equal(single.digest, (await images.find(busybox)).manifestDigest);
    const mounted = `Mounted from ${hub.address}/busybox`;
    deepEqual(seen, ["Preparing", "Preparing", mounted, mounted]);
    for (const platform of ["linux/arm64", "linux/arm/v7"].map(parsePlatform))
      await images.pull(pullOf(busybox, { platform }));
    seen.length = 0;
    const whole = await images.push(pullOf(`${hub.address}/copy/busybox:1`, { onProgress }));
    ok((await images.find(busybox)).digests.includes(`${hub.address}/busybox@${whole.digest}`));
    ok(seen.includes("Layer already exists"));
    await rejects(images.push(pullOf((await images.find(busybox)).id)), {
      code: "invalid-argument",
      message: /docker tag/,
    });
    const layers = join(hub.dataFolder, "docker/registry/v2/repositories/copy/busybox/_layers");
    ok(existsSync(layers));
  });

  it("tells what happens", async () => {
    const stop = new AbortController();
    const events: ImageEvent[] = [];
    const reading = (async () => {
      for await (const event of images.events(stop.signal)) events.push(event);
    })();
    const { id } = await images.pull(pullOf(busybox));
    await images.tag(busybox, "told:1");
    await images.remove("told:1", unused);
    await images.remove(busybox, unused);
    await until(() => events.length === 5, { withinMs: 60_000, what: "all events are told" });
    stop.abort();
    await reading;
    deepEqual(
      events.map(({ action, name }) => `${action} ${name}`),
      [
        `pull ${hub.address}/busybox`,
        "tag told:1",
        "untag told:1",
        `untag ${busybox}`,
        `delete ${id}`,
      ],
    );
  });

  /** Names what is here for the registry. */
  async function named(reference: string, name: string): Promise<string> {
    await images.tag(reference, `${hub.address}/${name}`);
    return `${hub.address}/${name}`;
  }

  /** A file of an unpacked image. */
  async function read(id: string, path: string): Promise<string | undefined> {
    const image: Image = await images.find(id);
    const key = `look-${Date.now()}-${Math.random()}`;
    const parent = chainIds(image.diffIds).at(-1) ?? "";
    const at = { snapshotter: snapshotterName, key };
    const labels = { "containerd.io/gc.root": "2024-01-01T00:00:00Z" };
    const { mounts } = await client.call(SnapshotsService.view, { ...at, parent, labels });
    try {
      return readInLayers(layersOf(mounts), path, 10_000)?.toString();
    } finally {
      await client.call(SnapshotsService.remove, at);
    }
  }
});

async function tarOf(files: Readonly<Record<string, string>>): Promise<Uint8Array> {
  const tar = pack();
  for (const [name, text] of Object.entries(files)) tar.entry({ name }, text);
  tar.finalize();
  return await collect(tar as AsyncIterable<Uint8Array>);
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}
