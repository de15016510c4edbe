/**
 * Pulls through what happens to a node: containerd killed, the daemon gone in between, a full disk.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { NodeImages } from "../../../agent/images/node-images.ts";
import { FakeClock } from "../../../src/common/clock/clock.ts";
import { dialContainerd } from "../../../src/common/containerd/client.ts";
import {
  ContentService,
  LeasesService,
} from "../../../src/common/containerd/generated/protocol.ts";
import { TestContainerd } from "../../support/containerd.ts";
import { FakeRegistry } from "../../support/fake-registry.ts";
import { imagesOf, leftovers, noiseImage, pullOf, untilClean } from "../../support/images.ts";
import { until } from "../../support/wait.ts";

describe("agent/images: faults of the node", () => {
  const containerd = new TestContainerd();
  let fake: FakeRegistry;
  let images: NodeImages;

  before(async () => {
    images = imagesOf((await containerd.start()).client, "linux/amd64");
  });
  after(() => containerd.remove());
  beforeEach(async () => {
    fake = await FakeRegistry.start();
  });
  afterEach(() => fake.stop());

  it("goes on when containerd was killed in the middle", async () => {
    const layer = await noiseImage(fake, { bytes: 4_000_000 });
    const open = cutAndHold(fake, 2_000_000);
    const pulling = images.pull(pullOf(`${fake.host}/killed:1`));
    await stored(2_000_000);
    const state = containerd.supervisor().state();
    process.kill(state.kind === "up" ? state.pid : 0, "SIGKILL");
    open();
    const image = await pulling;
    equal((await images.find(`${fake.host}/killed:1`)).id, image.id);
    deepEqual(
      fake.requests(layer).map(({ range }) => range),
      ["", "bytes=2000000-", "bytes=2000000-"],
    );
    await untilClean(containerd.supervisor().client);
  });

  it("goes on with what a former life of the daemon left", async () => {
    const layer = await noiseImage(fake, { bytes: 4_000_000 });
    const open = cutAndHold(fake, 2_000_000);
    const way = await cuttable(containerd.places.socketPath, join(containerd.dir, "former.sock"));
    const former = dialContainerd(way.path);
    const name = `${fake.host}/former:1`;
    const stop = new AbortController();
    const pulling = imagesOf(former, "linux/amd64").pull(pullOf(name, { signal: stop.signal }));
    await stored(2_000_000);
    // As if its process had ended: nothing it does from now on reaches containerd.
    way.cut();
    stop.abort(new Error("gone"));
    await rejects(pulling, { message: "gone" });
    const { client } = containerd.supervisor();
    equal((await leftovers(client)).length, 2);
    open();
    fake.seen.length = 0;
    await imagesOf(client, "linux/amd64").pull(pullOf(name));
    deepEqual(
      fake.requests(layer).map(({ range }) => range),
      ["bytes=2000000-"],
    );
    await untilClean(client);
    former.close();
  });

  it("sweeps leases that nobody goes on with, and none of others", async () => {
    const { client } = containerd.supervisor();
    await client.call(LeasesService.create, { id: "skep-image-of-a-former-life" });
    await client.call(LeasesService.create, { id: "of-somebody-else" });
    // Containerd has the world's clock, by which a lease of another year is over.
    const clock = new FakeClock(Date.now());
    const stop = new AbortController();
    const running = imagesOf(client, "linux/amd64", clock).run(stop.signal);
    await until(
      async () => {
        await clock.advance(31_000);
        return (await leftovers(client)).join() === "of-somebody-else";
      },
      { withinMs: 60_000, what: "the lease of the former life is gone" },
    );
    stop.abort();
    await running;
    await client.call(LeasesService.delete, { id: "of-somebody-else" });
  });

  it("leaves the lease of an import alone for as long as that takes", async () => {
    const { client } = containerd.supervisor();
    // Containerd has the world's clock, by which a lease of another year is over.
    const clock = new FakeClock(Date.now());
    const stop = new AbortController();
    const images = imagesOf(client, "linux/amd64", clock);
    const running = images.run(stop.signal);
    const tar = execFileSync("tar", ["-c", "-C", import.meta.dirname, "."]);
    async function* slowly(): AsyncIterable<Uint8Array> {
      yield tar.subarray(0, 512);
      // Ten minutes, in which leases are looked through again and again.
      for (let i = 0; i < 20; i++) {
        await clock.advance(31_000);
        await leftovers(client);
      }
      yield tar.subarray(512);
    }
    const named = { repository: "slow", tag: "1", message: "", changes: [], platform: undefined };
    const id = await images.importTar(slowly(), named);
    equal((await images.find("slow:1")).id, id);
    stop.abort();
    await running;
    await images.remove("slow:1", { force: false, prune: true, inUse: () => false });
    await untilClean(client);
  });

  /** Waits until containerd holds so many bytes of the only write. */
  async function stored(bytes: number): Promise<void> {
    const { client } = containerd.supervisor();
    await until(
      async () => {
        const { statuses } = await client.call(ContentService.listStatuses, {});
        return statuses[0]?.offset === bytes;
      },
      { withinMs: 60_000, what: `${bytes} bytes are stored` },
    );
  }

  it("says so when the disk is full, and gives back what it took", async () => {
    const small = new TestContainerd();
    mkdirSync(small.places.folder, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=16m", "skep-test", small.places.folder]);
    try {
      const { client } = await small.start();
      const tight = imagesOf(client, "linux/amd64");
      const full = { code: "resource-exhausted", message: /^no space left on device: free some/ };
      // Too large as it comes, and too large when it is unpacked.
      for (const bytes of [20_000_000, 9_000_000]) {
        await noiseImage(fake, { bytes });
        await rejects(tight.pull(pullOf(`${fake.host}/full:1`)), full, `${bytes}`);
        deepEqual(await leftovers(client), []);
        deepEqual(await tight.list(), []);
        equal(await tight.layersBytes(), 0);
      }
      await rejects(tight.load(Readable.from([Buffer.alloc(1_000_000)])), {
        code: "invalid-argument",
      });
      await noiseImage(fake, { bytes: 2_000_000 });
      await tight.pull(pullOf(`${fake.host}/full:1`));
      equal((await tight.list()).length, 1);
    } finally {
      await small.stop();
      // Programs that containerd ran, such as gzip, end a moment after it.
      const unmounted = () => {
        execFileSync("umount", [small.places.folder], { stdio: "ignore" });
        return true;
      };
      await until(unmounted, { withinMs: 60_000, what: "it is unmounted" });
      await small.remove();
    }
  });
});

/** The first transfer of a layer is cut, the second waits until the result is called. */
function cutAndHold(fake: FakeRegistry, bytes: number): () => void {
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  fake.behaviour.cuts.push(bytes);
  fake.behaviour.gateAfterCut = gate;
  return open;
}

/** A way to a socket that can be cut at once. */
async function cuttable(target: string, path: string): Promise<{ path: string; cut: () => void }> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
    }
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => {
    server.listen(path, resolve);
  });
  const cut = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { path, cut };
}
