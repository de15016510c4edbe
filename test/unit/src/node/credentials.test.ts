/**
 * Key and certificate on disk: plain or sealed, changed between the two, and usable after a crash at any point.
 */
import assert from "node:assert/strict";
import type { TlsMaterial } from "../../../../src/common/identity/types.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import type { DataKeys } from "../../../../src/common/seal/data-keys.ts";
import {
  type CredentialFiles,
  type KeySealing,
  loadCredentials,
  saveCredentials,
} from "../../../../src/node/credentials.ts";
import { testCluster } from "../../../support/test-cluster.ts";

const random = seededRandom(1);
const dataKeys: DataKeys = { currentId: 1, keys: new Map([[1, new Uint8Array(32).fill(1)]]) };
const otherKeys: DataKeys = { currentId: 1, keys: new Map([[1, new Uint8Array(32).fill(2)]]) };
const plain: KeySealing = { dataKeys: undefined, random };
const sealed: KeySealing = { dataKeys, random };

/** A disk whose power goes out before the `left`th change. */
class MemoryFiles implements CredentialFiles {
  readonly content = new Map<string, Buffer>();
  left = Number.POSITIVE_INFINITY;

  async read(name: string): Promise<Buffer | undefined> {
    return this.content.get(name);
  }

  async write(name: string, data: string | Uint8Array): Promise<void> {
    this.#count();
    this.content.set(name, Buffer.from(data));
  }

  async remove(name: string): Promise<void> {
    this.#count();
    this.content.delete(name);
  }

  #count(): void {
    if (this.left-- <= 0) throw new Error("power cut");
  }
}

describe("src/node/credentials", () => {
  let files: MemoryFiles;
  let old: TlsMaterial;
  let next: TlsMaterial;
  before(async () => {
    const cluster = await testCluster();
    old = (await cluster.node("worker", { nodeId: "n" })).tls;
    next = (await cluster.node("manager", { nodeId: "n" })).tls;
  });
  beforeEach(() => {
    files = new MemoryFiles();
  });

  const names = () => [...files.content.keys()].sort();
  const damaged = { code: "internal", message: /missing or damaged.*docker swarm leave --force/ };

  it("keeps a worker's key as PEM", async () => {
    await saveCredentials(files, old, plain);
    assert.deepEqual(await loadCredentials(files, plain), old);
    assert.deepEqual(names(), ["cert.pem", "key.pem", "root.pem"]);
  });

  it("keeps a manager's key sealed", async () => {
    await saveCredentials(files, old, sealed);
    assert.deepEqual(await loadCredentials(files, sealed), old);
    assert.deepEqual(names(), ["cert.pem", "key.sealed", "root.pem"]);
    const bytes = (await files.read("key.sealed"))?.toString("latin1") ?? "";
    assert.ok(!bytes.includes("PRIVATE KEY"));
  });

  it("leaves no plain key when a worker becomes a manager, nor a sealed one on the way back", async () => {
    await saveCredentials(files, old, plain);
    await saveCredentials(files, next, sealed);
    assert.deepEqual(names(), ["cert.pem", "key.sealed", "root.pem"]);
    await saveCredentials(files, next, plain);
    assert.deepEqual(names(), ["cert.pem", "key.pem", "root.pem"]);
    assert.deepEqual(await loadCredentials(files, plain), next);
  });

  const ways: readonly (readonly [string, KeySealing, KeySealing])[] = [
    ["a plain key by a plain one", plain, plain],
    ["a plain key by a sealed one", plain, sealed],
    ["a sealed key by a sealed one", sealed, sealed],
    ["a sealed key by a plain one", sealed, plain],
  ];
  for (const [fact, from, to] of ways) {
    it(`has a usable pair wherever a replacement of ${fact} is cut off`, async () => {
      for (let changes = 0; ; changes++) {
        files.left = Number.POSITIVE_INFINITY;
        files.content.clear();
        await saveCredentials(files, old, from);
        files.left = changes;
        const wasCut = await saveCredentials(files, next, to).then(
          () => false,
          () => true,
        );
        // A manager opens its data keys before it looks for its own key.
        const found = await loadCredentials(files, sealed);
        assert.ok(found.key === (found.certificate === next.certificate ? next : old).key);
        if (wasCut) continue;
        assert.deepEqual(found, next);
        assert.ok(changes > 5);
        return;
      }
    });
  }

  it("refuses when nothing is there", async () => {
    await assert.rejects(loadCredentials(files, plain), damaged);
  });

  for (const name of ["cert.pem", "root.pem", "key.pem"]) {
    it(`refuses when ${name} is gone`, async () => {
      await saveCredentials(files, old, plain);
      await files.remove(name);
      await assert.rejects(loadCredentials(files, plain), damaged);
    });
  }

  for (const name of ["cert.pem", "key.pem"]) {
    it(`refuses when ${name} is garbage`, async () => {
      await saveCredentials(files, old, plain);
      await files.write(name, "garbage");
      await assert.rejects(loadCredentials(files, plain), damaged);
    });
  }

  it("refuses a key of another certificate", async () => {
    await saveCredentials(files, old, plain);
    await files.write("key.pem", next.key);
    await assert.rejects(loadCredentials(files, plain), damaged);
  });

  it("refuses a sealed key without its data keys, or with others", async () => {
    await saveCredentials(files, old, sealed);
    await assert.rejects(loadCredentials(files, plain), damaged);
    await assert.rejects(loadCredentials(files, { dataKeys: otherKeys, random }), damaged);
  });

  it("uses the next key when the present one does not open", async () => {
    await saveCredentials(files, old, plain);
    await files.write("key-next.pem", old.key);
    await files.write("key.sealed", new Uint8Array(100));
    assert.deepEqual(await loadCredentials(files, sealed), old);
  });
});
