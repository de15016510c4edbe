/**
 * Sizes of images, over a containerd that answers when it is told to.
 */
import assert from "node:assert/strict";
import { Catalog } from "../../../../agent/images/catalog.ts";
import { ContentStore } from "../../../../agent/images/content.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import type { ContainerdClient } from "../../../../src/common/containerd/client.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";

describe("agent/images/catalog", () => {
  let calls: {
    readonly resolve: (answer: { size: number }) => void;
    readonly reject: (error: Error) => void;
  }[];
  let catalog: Catalog;

  beforeEach(() => {
    calls = [];
    const call = () => new Promise((resolve, reject) => calls.push({ resolve, reject }));
    const client = { call } as unknown as ContainerdClient;
    const clock = new FakeClock();
    const ready = async () => {};
    catalog = new Catalog(client, new ContentStore(client, clock), { clock, ready });
  });

  it("measures a layer once for all who ask at a time, and later", async () => {
    const sizes = Promise.all([1, 2, 3].map(() => catalog.sizeOf(["base"])));
    assert.equal(calls.length, 1);
    calls[0]?.resolve({ size: 7 });
    assert.deepEqual(await sizes, [7, 7, 7]);
    assert.equal(await catalog.sizeOf(["base"]), 7);
    assert.equal(calls.length, 1);
  });

  it("measures again what was not unpacked, or could not be told", async () => {
    const first = catalog.sizeOf(["base"]);
    calls[0]?.reject(new ClusterError("not-found", "no such snapshot"));
    assert.equal(await first, 0);
    const second = catalog.sizeOf(["base"]);
    calls[1]?.reject(new ClusterError("unavailable", "containerd is away"));
    await assert.rejects(second, /containerd is away/);
    const third = catalog.sizeOf(["base"]);
    calls[2]?.resolve({ size: 9 });
    assert.equal(await third, 9);
  });
});
