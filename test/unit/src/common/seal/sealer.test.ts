/** Facts about sealing: what opens, what does not, and that neither salt nor nonce repeats. */
import assert from "node:assert/strict";
import { hasCode } from "../../../../../src/common/errors/cluster-error.ts";
import { seededRandom, systemRandom } from "../../../../../src/common/random/random.ts";
import type { DataKeys } from "../../../../../src/common/seal/data-keys.ts";
import {
  newSealer,
  sealedKeyId,
  sealOverheadBytes,
} from "../../../../../src/common/seal/sealer.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (value: Uint8Array) => new TextDecoder().decode(value);

function ring(currentId: number, ...ids: number[]): DataKeys {
  return { currentId, keys: new Map(ids.map((id) => [id, new Uint8Array(32).fill(id)])) };
}
const sealerOf = (keys: DataKeys, label = "test") =>
  newSealer({ keys, label, random: systemRandom });

describe("src/common/seal/sealer", () => {
  it("opens what another sealer of the same ring and label sealed", () => {
    const sealed = sealerOf(ring(1, 1)).seal(bytes("a secret"), bytes("place"));
    assert.equal(text(sealerOf(ring(1, 1)).open(sealed, bytes("place"))), "a secret");
    assert.equal(sealed.length, 8 + sealOverheadBytes);
  });

  it("seals into a place among other bytes", () => {
    const sealer = sealerOf(ring(1, 1));
    const plain = bytes("a secret");
    const to = Buffer.alloc(3 + plain.length + sealOverheadBytes + 2, 7);
    sealer.sealInto(to, 3, plain, bytes("place"));
    assert.deepEqual([...to.subarray(0, 3), ...to.subarray(-2)], [7, 7, 7, 7, 7]);
    assert.equal(text(sealer.open(to.subarray(3, -2), bytes("place"))), "a secret");
  });

  it("seals an empty value", () => {
    const sealer = sealerOf(ring(1, 1));
    assert.equal(sealer.open(sealer.seal(bytes(""), bytes("")), bytes("")).length, 0);
  });

  it("refuses every changed byte, another place, another label and a cut value", () => {
    const sealer = sealerOf(ring(1, 1));
    const sealed = sealer.seal(bytes("a secret"), bytes("place"));
    for (let at = 0; at < sealed.length; at++) {
      const changed = Uint8Array.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      assert.throws(() => sealer.open(changed, bytes("place")), `byte ${at}`);
    }
    assert.throws(() => sealer.open(sealed, bytes("other")));
    assert.throws(() => sealerOf(ring(1, 1), "other").open(sealed, bytes("place")));
    assert.throws(
      () => sealer.open(sealed.subarray(0, 20), bytes("place")),
      (e) => hasCode(e, "internal"),
    );
  });

  it("never repeats salt or counter", () => {
    const seen = new Set<string>();
    for (let open = 0; open < 20; open++) {
      const sealer = sealerOf(ring(1, 1));
      for (let value = 0; value < 20; value++) {
        seen.add(Buffer.from(sealer.seal(bytes(""), bytes("")).subarray(0, 27)).toString("hex"));
      }
    }
    assert.equal(seen.size, 400);
  });

  it("after rotation seals with the new key and still opens the old one's values", () => {
    const sealer = newSealer({ keys: ring(1, 1), label: "test", random: seededRandom(1) });
    const old = sealer.seal(bytes("old"), bytes(""));
    sealer.rotate(ring(2, 1, 2));
    const fresh = sealer.seal(bytes("new"), bytes(""));
    assert.equal(sealedKeyId(old), 1);
    assert.equal(sealedKeyId(fresh), 2);
    assert.equal(text(sealer.open(old, bytes(""))), "old");
    sealer.rotate(ring(2, 2));
    assert.equal(text(sealer.open(fresh, bytes(""))), "new");
    assert.throws(
      () => sealer.open(old, bytes("")),
      (e) => hasCode(e, "failed-precondition"),
    );
  });
});
