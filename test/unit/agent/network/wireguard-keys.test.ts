/**
 * How one key of a node follows the other.
 */
import { deepEqual, equal, notDeepEqual } from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WireguardKeys } from "../../../../agent/network/wireguard-keys.ts";

describe("agent/network/wireguard-keys", () => {
  let dir = "";
  const none = new Uint8Array(0);
  const open = () => new WireguardKeys(join(dir, "key.pem"), 10_000);

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "skep-keys-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("keeps its key over restarts, where only its owner reads it", () => {
    const { publicKey } = open();
    equal(publicKey.length, 32);
    deepEqual(open().publicKey, publicKey);
    equal(statSync(join(dir, "key.pem")).mode & 0o777, 0o600);
  });

  it("uses the next key once the managers have told of it for a while", () => {
    const keys = open();
    const before = keys.publicKey;
    deepEqual(keys.nextPublicKey, none);
    keys.rotate();
    const next = keys.nextPublicKey;
    notDeepEqual(next, before);
    equal(keys.turn(none, 0), false);
    equal(keys.dueMs(0), Infinity);
    equal(keys.turn(next, 1_000), false);
    equal(keys.dueMs(4_000), 7_000);
    deepEqual(keys.publicKey, before);
    equal(keys.turn(next, 11_000), true);
    deepEqual([keys.publicKey, keys.nextPublicKey], [next, none]);
    deepEqual(open().publicKey, next);
    equal(keys.turn(none, 12_000), false);
  });

  it("waits anew when the managers tell of it no more", () => {
    const keys = open();
    keys.rotate();
    equal(keys.turn(keys.nextPublicKey, 0), false);
    equal(keys.turn(none, 9_000), false);
    equal(keys.turn(keys.nextPublicKey, 12_000), false);
    equal(keys.turn(keys.nextPublicKey, 22_000), true);
  });

  it("goes on with a change over a restart, and makes one change of two", () => {
    const keys = open();
    keys.rotate();
    const next = keys.nextPublicKey;
    keys.rotate();
    deepEqual(keys.nextPublicKey, next);
    deepEqual(open().nextPublicKey, next);
  });

  it("makes another one for a file that holds no key", () => {
    open().rotate();
    writeFileSync(join(dir, "key.pem.next"), "damaged");
    deepEqual(open().nextPublicKey, none);
    writeFileSync(join(dir, "key.pem"), "damaged");
    equal(open().publicKey.length, 32);
  });
});
