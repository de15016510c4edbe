/**
 * Certificate requests: what is taken, and every way in which one is refused.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { hasCode } from "../../../../../src/common/errors/cluster-error.ts";
import { ecdsaSha256 } from "../../../../../src/common/identity/algorithms.ts";
import {
  bitString,
  type Der,
  derBytes,
  embedDer,
  explicit,
  integer,
  octetString,
  oid,
  sequence,
} from "../../../../../src/common/identity/der.ts";
import { createKey, publicKeyOf, signWithKey } from "../../../../../src/common/identity/key.ts";
import { encodeName } from "../../../../../src/common/identity/name.ts";
import {
  createRequest,
  isRequestOfKey,
  parseRequest,
} from "../../../../../src/common/identity/request.ts";

const noName = { commonName: "", organization: "", unit: "" };

describe("src/common/identity/request", () => {
  let key: string;
  let otherKey: string;
  let csr: Buffer;

  before(async () => {
    key = await createKey();
    otherKey = await createKey();
    csr = createRequest(key);
  });

  /** A request with parts replaced, signed by `signer`. */
  function requestWith(parts: {
    info?: Der[];
    spki?: Buffer;
    algorithm?: Der;
    signature?: Buffer;
  }): Buffer {
    const info = sequence(
      ...(parts.info ?? [
        integer(Buffer.of(0)),
        encodeName(noName),
        embedDer(parts.spki ?? publicKeyOf(key)),
        explicit(0),
      ]),
    );
    const signature = parts.signature ?? signWithKey(key, derBytes(info));
    return derBytes(sequence(info, parts.algorithm ?? ecdsaSha256(), bitString(signature)));
  }

  it("gives back the key of a good request", () => {
    assert.deepEqual(parseRequest(csr).publicKey, publicKeyOf(key));
    assert(isRequestOfKey(csr, publicKeyOf(key)));
  });

  it("takes nothing but the key from a request that asks for a name and for extensions", () => {
    const named = requestWith({
      info: [
        integer(Buffer.of(0)),
        encodeName({ commonName: "leader", unit: "swarm-manager", organization: "x" }),
        embedDer(publicKeyOf(key)),
        explicit(0, sequence(oid("1.2.840.113549.1.9.14"), octetString(Buffer.from("CA:TRUE")))),
      ],
    });
    assert.deepEqual(Object.keys(parseRequest(named)), ["publicKey"]);
  });

  const spkiOf = (curve: string) =>
    generateKeyPairSync("ec", { namedCurve: curve }).publicKey.export({
      type: "spki",
      format: "der",
    });
  const offCurve = () => {
    const spki = Buffer.from(publicKeyOf(key));
    spki[spki.length - 1] = (spki[spki.length - 1] ?? 0) ^ 1;
    return spki;
  };
  const rsa = () => generateKeyPairSync("rsa", { modulusLength: 2048 });
  const refusals: readonly (readonly [what: string, make: () => Uint8Array, text: RegExp])[] = [
    ["nothing", () => Buffer.alloc(0), /not well-formed DER/],
    ["noise", () => Buffer.from("hello, is this a request?"), /DER|malformed/],
    ["a truncated one", () => csr.subarray(0, csr.length - 5), /not well-formed DER/],
    ["one cut in the middle of a length", () => csr.subarray(0, 2), /not well-formed DER/],
    ["one with bytes after it", () => Buffer.concat([csr, Buffer.of(0)]), /not well-formed DER/],
    ["an oversized one", () => Buffer.concat([csr, Buffer.alloc(5000)]), /larger than 4096 bytes/],
    ["deep nesting", () => nested(1500), /DER|malformed/],
    ["a length in long form", () => longForm(csr), /DER/],
    ["a P-384 key", () => requestWith({ spki: spkiOf("secp384r1") }), /P-256/],
    ["a secp256k1 key", () => requestWith({ spki: spkiOf("secp256k1") }), /P-256/],
    [
      "a point off the curve",
      () => requestWith({ spki: offCurve() }),
      /not a point of curve P-256/,
    ],
    [
      "an RSA key",
      () => requestWith({ spki: rsa().publicKey.export({ type: "spki", format: "der" }) }),
      /P-256/,
    ],
    [
      "a signature by another key",
      () => requestWith({ signature: signWithKey(otherKey, Buffer.from("x")) }),
      /signature/,
    ],
    ["a signature that is none", () => requestWith({ signature: Buffer.from("xx") }), /signature/],
    [
      "another signature algorithm",
      () => requestWith({ algorithm: sequence(oid("1.2.840.10045.4.3.3")) }),
      /ECDSA and SHA-256/,
    ],
    [
      "an unknown version",
      () =>
        requestWith({
          info: [
            integer(Buffer.of(1)),
            encodeName(noName),
            embedDer(publicKeyOf(key)),
            explicit(0),
          ],
        }),
      /malformed/,
    ],
    ["missing parts", () => requestWith({ info: [integer(Buffer.of(0))] }), /malformed/],
  ];
  for (const [what, make, text] of refusals) {
    it(`refuses ${what}`, () => {
      assert.throws(
        () => parseRequest(make()),
        (error) => hasCode(error, "invalid-argument") && text.test((error as Error).message),
      );
    });
  }

  it("refuses a request whose key was replaced", () => {
    const stolen = Buffer.from(csr);
    const at = stolen.indexOf(publicKeyOf(key));
    publicKeyOf(otherKey).copy(stolen, at);
    assert.throws(() => parseRequest(stolen), /signature/);
  });

  it("survives any single byte changed: it is refused, or is the same key", () => {
    const { publicKey } = parseRequest(csr);
    for (let at = 0; at < csr.length; at++) {
      const changed = Buffer.from(csr);
      changed[at] = (changed[at] ?? 0) ^ 0x41;
      try {
        assert.deepEqual(parseRequest(changed).publicKey, publicKey);
        assert.fail(`byte ${at} may change without notice`);
      } catch (error) {
        assert(hasCode(error, "invalid-argument"), `byte ${at}: ${error}`);
      }
    }
  });

  it("refuses an RSA request made by the letter", () => {
    const pair = rsa();
    const info = sequence(
      integer(Buffer.of(0)),
      encodeName(noName),
      embedDer(pair.publicKey.export({ type: "spki", format: "der" })),
      explicit(0),
    );
    const signature = sign("sha256", derBytes(info), pair.privateKey);
    const request = derBytes(
      sequence(info, sequence(oid("1.2.840.113549.1.1.11")), bitString(signature)),
    );
    assert.throws(() => parseRequest(request), /P-256/);
  });
});

/** SEQUENCE in SEQUENCE, as deep as the size limit allows. */
function nested(depth: number): Buffer {
  let inner: Buffer = Buffer.alloc(0);
  for (let i = 0; i < depth && inner.length < 4090; i++) {
    const length =
      inner.length < 128 ? [inner.length] : [0x82, inner.length >> 8, inner.length & 255];
    if (inner.length >= 128 && inner.length < 256) length.splice(0, 2, 0x81);
    inner = Buffer.concat([Buffer.of(0x30, ...length), inner]);
  }
  return inner;
}

/** The same value with its outer length in one byte more than needed: BER, not DER. */
function longForm(der: Buffer): Buffer {
  const length = der.length - 3;
  assert.equal(der[1], 0x81);
  return Buffer.concat([Buffer.of(0x30, 0x82, 0, length), der.subarray(3)]);
}
