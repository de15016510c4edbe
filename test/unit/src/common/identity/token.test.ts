/**
 * Join tokens, unlock keys and the moment of renewal: small forms, in tables.
 */
import assert from "node:assert/strict";
import { hasCode } from "../../../../../src/common/errors/cluster-error.ts";
import { renewalMomentMs, renewalRetryMs } from "../../../../../src/common/identity/renewal.ts";
import { createRootCa, rootDigest } from "../../../../../src/common/identity/root.ts";
import {
  createJoinToken,
  parseJoinToken,
  sameToken,
} from "../../../../../src/common/identity/token.ts";
import {
  unlockKeyFromText,
  unlockKeyToText,
} from "../../../../../src/common/identity/unlock-key.ts";
import { type Random, seededRandom } from "../../../../../src/common/random/random.ts";

describe("src/common/identity/token", () => {
  let root: string;
  before(async () => {
    root = (await createRootCa({ nowMs: Date.now(), random: seededRandom(1) })).certificate;
  });

  it("makes tokens of Docker's form that carry the root's digest", () => {
    const token = createJoinToken(root, seededRandom(2));
    assert.match(token, /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
    assert.equal(parseJoinToken(token).rootDigest, rootDigest(root));
    assert.notEqual(token, createJoinToken(root, seededRandom(3)));
  });

  it("keeps leading zeros of digest and secret", () => {
    const zeros: Random = { ...seededRandom(1), bytes: (length) => new Uint8Array(length) };
    const token = createJoinToken(root, zeros);
    assert.match(token, /-0{25}$/);
    assert.equal(parseJoinToken(token).rootDigest.length, 64);
  });

  const good = `SWMTKN-1-${"0".repeat(49)}a-${"1".repeat(25)}`;
  const bad: readonly (readonly [string, string])[] = [
    ["nothing", ""],
    ["another word", good.replace("SWMTKN", "SWMKEY")],
    ["another version", good.replace("-1-", "-2-1-")],
    ["a short digest", good.replace("0000a", "000a")],
    ["a short secret", good.slice(0, -1)],
    ["a long secret", `${good}1`],
    ["capitals", good.replace("a-", "A-")],
    ["a digest beyond 256 bits", `SWMTKN-1-${"z".repeat(50)}-${"1".repeat(25)}`],
    ["space around it", ` ${good}`],
    ["a second line", `${good}\n`],
  ];
  for (const [what, token] of bad) {
    it(`refuses ${what} with Docker's text`, () => {
      assert.throws(
        () => parseJoinToken(token),
        (error) =>
          hasCode(error, "invalid-argument") && (error as Error).message === "invalid join token",
      );
    });
  }

  it("compares tokens exactly, and never takes an empty one", () => {
    assert(sameToken(good, good));
    assert(!sameToken(`${good.slice(0, -1)}2`, good));
    assert(!sameToken("", ""));
    assert(!sameToken(good, ""));
  });
});

describe("src/common/identity/unlock-key", () => {
  it("prints and reads keys in Docker's form", () => {
    const key = seededRandom(1).bytes(32);
    const text = unlockKeyToText(key);
    assert.match(text, /^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
    assert.deepEqual(unlockKeyFromText(`${text}\n`), key);
  });

  for (const text of [
    "",
    "SWMKEY-1-",
    "hello",
    `SWMKEY-1-${"A".repeat(40)}`,
    `SWMKEY-2-${"A".repeat(43)}`,
  ]) {
    it(`refuses "${text}"`, () => {
      assert.throws(
        () => unlockKeyFromText(text),
        (error) => hasCode(error, "invalid-argument") && /invalid key provided/.test(String(error)),
      );
    });
  }
});

describe("src/common/identity/renewal", () => {
  it("renews between 50 % and 80 % of the certificate's time", () => {
    const random = seededRandom(5);
    const life = { notBeforeMs: 1000, notAfterMs: 2000 };
    const moments = Array.from({ length: 1000 }, () => renewalMomentMs(life, random));
    assert(Math.min(...moments) >= 1500 && Math.min(...moments) < 1510);
    assert(Math.max(...moments) <= 1800 && Math.max(...moments) > 1790);
  });

  it("waits longer after each failure, with a bound and some chance", () => {
    const random = seededRandom(6);
    for (const [attempt, full] of [
      [1, 1000],
      [2, 2000],
      [5, 16_000],
      [8, 120_000],
      [500, 120_000],
    ] as const) {
      const wait = renewalRetryMs(attempt, random);
      assert(wait >= full / 2 && wait <= full, `attempt ${attempt}: ${wait}`);
    }
  });
});
