/**
 * P-256 key pairs and ECDSA-SHA256 signatures, by node:crypto. No other kind of key is used for identities.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { promisify } from "node:util";
import { ClusterError } from "../errors/cluster-error.ts";

/** SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of 0x04 and two coordinates } (RFC 5480). */
const spkiPrefix = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex");
const spkiLength = spkiPrefix.length + 64;

/** Keys read lately: a CA signs with one key many times, and reading it takes longer than signing. */
const recentKeys = new Map<string, KeyObject>();
const recentKeysMax = 8;

const generate = promisify(generateKeyPair);

/** A new P-256 private key as PKCS#8 PEM. */
export async function createKey(): Promise<string> {
  const { privateKey } = await generate("ec", { namedCurve: "prime256v1" });
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** DER SubjectPublicKeyInfo of a private key. @throws ClusterError invalid-argument when it is not a P-256 key. */
export function publicKeyOf(keyPem: string): Buffer {
  return createPublicKey(readPrivateKey(keyPem)).export({ type: "spki", format: "der" });
}

/**
 * Reads a private key.
 *
 * @throws ClusterError invalid-argument when it is unreadable or not on P-256.
 */
export function readPrivateKey(keyPem: string): KeyObject {
  const known = recentKeys.get(keyPem);
  if (known !== undefined) return known;
  let key: KeyObject;
  try {
    key = createPrivateKey(keyPem);
  } catch (error) {
    throw new ClusterError("invalid-argument", "the private key cannot be read", { cause: error });
  }
  if (key.asymmetricKeyType !== "ec" || key.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw new ClusterError(
      "invalid-argument",
      "the private key is not an ECDSA key on curve P-256",
    );
  }
  if (recentKeys.size >= recentKeysMax) recentKeys.clear();
  recentKeys.set(keyPem, key);
  return key;
}

/**
 * Reads a DER SubjectPublicKeyInfo.
 *
 * @throws ClusterError invalid-argument when it is unreadable, off the curve, or not on P-256.
 */
export function readPublicKey(spki: Uint8Array): KeyObject {
  // One encoding only: named curve, uncompressed point. It also spares OpenSSL everything else one could send.
  if (spki.length !== spkiLength || !spkiPrefix.equals(spki.subarray(0, spkiPrefix.length))) {
    throw new ClusterError(
      "invalid-argument",
      "the public key is not an ECDSA key on curve P-256 in uncompressed form",
    );
  }
  let key: KeyObject;
  try {
    // As coordinates: OpenSSL's decoder for DER takes twice as long. The point is checked to be on the curve.
    const point = Buffer.from(spki.subarray(spkiPrefix.length));
    const x = point.toString("base64url", 0, 32);
    const y = point.toString("base64url", 32);
    key = createPublicKey({ key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" });
  } catch (error) {
    throw new ClusterError("invalid-argument", "the public key is not a point of curve P-256", {
      cause: error,
    });
  }
  return key;
}

/** ECDSA-SHA256 signature in DER form over `data`. */
export function signWithKey(keyPem: string, data: Uint8Array): Buffer {
  return sign("sha256", data, readPrivateKey(keyPem));
}

/** Whether `signature` (DER form) over `data` was made by the key of this SubjectPublicKeyInfo. */
export function verifyWithKey(spki: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean {
  return verify("sha256", data, readPublicKey(spki), signature);
}
