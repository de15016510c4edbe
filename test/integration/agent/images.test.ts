/**
 * The images of a node with a real containerd: pulled from Debian's registry, and from one that cuts, lies and is slow.
 */
import { deepEqual, equal, match, notEqual, ok, rejects } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { NodeImages } from "../../../agent/images/node-images.ts";
import { systemClock } from "../../../src/common/clock/clock.ts";
import type { TransferProgress } from "../../../src/common/container/images.ts";
import type { ContainerdClient } from "../../../src/common/containerd/client.ts";
import { parsePlatform, platformText } from "../../../src/common/platform/match.ts";
import { TestContainerd } from "../../support/containerd.ts";
import { FakeRegistry } from "../../support/fake-registry.ts";
import { imagesOf, leftovers, noiseImage, pullOf, untilClean } from "../../support/images.ts";
import { startRegistry, type TestRegistry } from "../../support/registry.ts";

const never = new AbortController().signal;

describe("agent/images", () => {
  const containerd = new TestContainerd();
  let client: ContainerdClient;
  let images: NodeImages;

  before(async () => {
    client = (await containerd.start()).client;
    images = imagesOf(client, "linux/amd64/v3");
  });
  after(async () => {
    await containerd.remove();
  });

  describe("with docker-registry", () => {
    let hub: TestRegistry;
    let digests: Record<string, string>;

    before(async () => {
      hub = await startRegistry();
      digests = await hub.pushTestImages();
    });
    after(() => hub?.stop());

    it("pulls the image of the node's platform, unpacked, and tells how it goes", async () => {
      const seen: TransferProgress[] = [];
      const name = `${hub.address}/busybox:1`;
      const image = await images.pull(pullOf(name, { onProgress: (p) => seen.push(p) }));
      equal(platformText(image.platform), "linux/amd64/v1");
      deepEqual(image.tags, [name]);
      deepEqual(image.digests, [`${hub.address}/busybox@${digests["busybox:1"]}`]);
      deepEqual(image.config.command, ["sh"]);
      equal(image.diffIds.length, 2);
      ok(image.sizeBytes > 1_000_000, `${image.sizeBytes} bytes`);
      const words = seen.map(({ status }) => status);
      match(words[0] ?? "", /^Pulling from busybox$/);
      for (const status of ["Pulling fs layer", "Download complete", "Pull complete"]) {
        equal(words.filter((word) => word === status).length, 2, status);
      }
      deepEqual(words.slice(-2), [
        `Digest: ${digests["busybox:1"]}`,
        `Status: Downloaded newer image for ${name}`,
      ]);
      deepEqual(await leftovers(client), []);
    });

    it("does not fetch again what is here", async () => {
      const seen: string[] = [];
      const name = `${hub.address}/busybox:1`;
      await images.pull(pullOf(name, { onProgress: ({ status }) => seen.push(status) }));
      equal(seen.at(-1), `Status: Image is up to date for ${name}`);
      ok(!seen.includes("Download complete"));
    });

    it("pulls for other platforms on demand, sharing layers, and finds each", async () => {
      const name = `${hub.address}/busybox:1`;
      const arm = parsePlatform("linux/arm/v7");
      const seen: string[] = [];
      const pulled = await images.pull(
        pullOf(name, { platform: arm, onProgress: ({ status }) => seen.push(status) }),
      );
      equal(platformText(pulled.platform), "linux/arm/v7");
      equal(seen.filter((status) => status === "Download complete").length, 1);
      equal((await images.find(name, arm)).id, pulled.id);
      notEqual((await images.find(name)).id, pulled.id);
      equal((await images.find(pulled.id)).id, pulled.id);
      equal((await images.find(pulled.id.slice(7, 19))).id, pulled.id);
      equal((await images.list()).length, 2);
    });

    it("says for which platforms an image is when it is not for this one", async () => {
      await rejects(images.pull(pullOf(`${hub.address}/arm-only:1`)), {
        code: "not-found",
        message:
          /^no matching manifest for linux\/amd64\/v3 in the manifest list entries: .*arm-only:1 is for linux\/arm\/v7$/,
      });
      await rejects(images.pull(pullOf(`${hub.address}/busybox:arm64`)), {
        code: "not-found",
        message:
          /does not match the specified platform: wanted linux\/amd64\/v3, actual: linux\/arm64\/v8$/,
      });
      const pi1 = imagesOf(client, "linux/arm/v6");
      await rejects(pi1.pull(pullOf(`${hub.address}/arm-only:1`)), { message: /linux\/arm\/v6/ });
      deepEqual(await leftovers(client), []);
    });

    it("pulls by digest, and then needs no registry for it", async () => {
      const name = `${hub.address}/web@${digests["web:1"]}`;
      const image = await images.pull(pullOf(name));
      deepEqual(image.tags, []);
      deepEqual(image.digests, [name]);
      const own = await startRegistry();
      const digest = (await own.pushTestImages())["web:1"] ?? "";
      await images.pull(pullOf(`${own.address}/web:1@${digest}`));
      await own.stop();
      equal((await images.pull(pullOf(`${own.address}/web:1@${digest}`))).id, image.id);
      await rejects(images.pull(pullOf(`${own.address}/web:1`)), {
        code: "unavailable",
        message: /connection refused/,
      });
      equal((await images.find(`${own.address}/web:1@${digest}`)).id, image.id);
    });

    it("finds nothing that is not here, in Docker's words", async () => {
      await rejects(images.find("nothing"), {
        code: "not-found",
        message: "No such image: nothing:latest",
      });
      await rejects(images.find(`sha256:${"0".repeat(64)}`), { code: "not-found" });
    });
  });

  describe("with a registry that fails", () => {
    let fake: FakeRegistry;
    let body: Uint8Array;
    let layer: string;
    let impatient: NodeImages;

    beforeEach(async () => {
      fake = await FakeRegistry.start();
      layer = await noiseImage(fake, { bytes: 2_000_000 });
      body = fake.get(layer);
      impatient = imagesOf(client, "linux/amd64", { ...systemClock, sleep: async () => {} });
    });
    afterEach(() => fake.stop());

    it("goes on where a layer was cut", async () => {
      fake.behaviour.cuts.push(1_500_000);
      const image = await images.pull(pullOf(`${fake.host}/cut:1`));
      equal(image.diffIds.length, 1);
      const ranges = fake.requests(layer).map(({ range }) => range);
      deepEqual(ranges, ["", "bytes=1500000-"]);
    });

    it("goes on where ranges are not known", async () => {
      fake.behaviour.cuts.push(1_500_000);
      fake.behaviour.ignoresRanges = true;
      await images.pull(pullOf(`${fake.host}/cut:1`));
      equal(fake.requests(layer).length, 2);
    });

    it("keeps nothing of a layer that is not what its digest says", async () => {
      const lie = fake.put(randomBytes(2_500_000));
      fake.name(layer, lie);
      await rejects(images.pull(pullOf(`${fake.host}/lie:1`)), {
        code: "failed-precondition",
        message: new RegExp(`^filesystem layer verification failed for digest ${layer}`),
      });
      deepEqual(await leftovers(client), []);
      await rejects(images.find(`${fake.host}/lie:1`), { code: "not-found" });
    });

    it("goes on where an earlier pull failed", async () => {
      fake.behaviour.cuts.push(1_000_000, 0, 0, 0, 0, 0);
      const name = `${fake.host}/again:1`;
      await rejects(impatient.pull(pullOf(name)), { code: "unavailable" });
      fake.seen.length = 0;
      await impatient.pull(pullOf(name));
      deepEqual(
        fake.requests(layer).map(({ range }) => range),
        ["bytes=1000000-"],
      );
      deepEqual(await leftovers(client), []);
    });

    it("begins anew when what an earlier pull left is false", async () => {
      fake.name(layer, fake.put(randomBytes(2_000_000)));
      fake.behaviour.cuts.push(1_000_000, 0, 0, 0, 0, 0);
      const name = `${fake.host}/anew:1`;
      await rejects(impatient.pull(pullOf(name)), { code: "unavailable" });
      fake.put(body);
      fake.seen.length = 0;
      await impatient.pull(pullOf(name));
      deepEqual(
        fake.requests(layer).map(({ range }) => range),
        ["bytes=1000000-", ""],
      );
    });

    it("pulls once however many want it, until the last of them has left", async () => {
      let open = () => {};
      fake.behaviour.gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      const one = new AbortController();
      const request = (signal: AbortSignal) => pullOf(`${fake.host}/many:1`, { signal });
      const first = images.pull(request(one.signal));
      const others = [images.pull(request(never)), images.pull(request(never))];
      one.abort(new Error("left"));
      await rejects(first, { message: "left" });
      open();
      const ids = (await Promise.all(others)).map(({ id }) => id);
      equal(new Set(ids).size, 1);
      equal(fake.requests("/manifests/1").length, 1);
    });

    it("leaves nothing when everybody has left", async () => {
      fake.behaviour.gate = new Promise(() => {});
      const stop = new AbortController();
      const pulling = images.pull(
        pullOf(`${fake.host}/left:1`, {
          signal: stop.signal,
          onProgress: ({ status }) => {
            if (status === "Pulling fs layer") stop.abort(new Error("left"));
          },
        }),
      );
      await rejects(pulling, { message: "left" });
      await untilClean(client);
    });
  });
});
