/**
 * Certificate requests (PKCS#10, RFC 2986) of a strict small profile.
 *
 * A request carries a P-256 public key and proves possession of the private one; nothing else of it is used: the CA
 * sets subject and extensions itself.
 */

import { ClusterError } from "../errors/cluster-error.ts";
import { certificateRequestBytesMax } from "../limits/limits.ts";
import { ecdsaSha256, ecdsaSha256Oid } from "./algorithms.ts";
import {
  bitString,
  bitsOf,
  childrenOf,
  contentOf,
  derBytes,
  embedDer,
  explicit,
  explicitChildren,
  integer,
  malformed,
  oidText,
  readDer,
  sequence,
  tag,
} from "./der.ts";
import { publicKeyOf, readPublicKey, signWithKey, verifyWithKey } from "./key.ts";
import { encodeName } from "./name.ts";

/** A request that parsed and whose signature holds. */
export interface CertificateRequest {
  /** DER SubjectPublicKeyInfo, checked to be a valid P-256 point. */
  readonly publicKey: Buffer;
}

/** DER of a request for this private key, with an empty subject. */
export function createRequest(keyPem: string): Buffer {
  const info = sequence(
    integer(Buffer.of(0)),
    encodeName({ commonName: "", organization: "", unit: "" }),
    embedDer(publicKeyOf(keyPem)),
    explicit(0),
  );
  const signature = signWithKey(keyPem, derBytes(info));
  return derBytes(sequence(info, ecdsaSha256(), bitString(signature)));
}

/**
 * Reads a request and checks that its sender holds the key.
 *
 * @throws ClusterError invalid-argument when it is too large, malformed, not P-256 with ECDSA-SHA256, or its signature
 *   does not hold.
 */
export function parseRequest(der: Uint8Array): CertificateRequest {
  const what = "certificate request";
  const top = childrenOf(readDer(der, what, certificateRequestBytesMax), tag.sequence, what);
  const [info, algorithm, signature] = top;
  if (info === undefined || top.length !== 3) return malformed(what);
  const parts = childrenOf(info, tag.sequence, what);
  const [version, subject, publicKey, attributes] = parts;
  if (parts.length !== 4 || explicitChildren(attributes, 0) === undefined) return malformed(what);
  if (!contentOf(version, tag.integer, what).equals(Buffer.of(0))) return malformed(what);
  // The subject is only checked to be a sequence: the CA sets its own, so its content has no meaning here.
  childrenOf(subject, tag.sequence, what);
  if (publicKey === undefined) return malformed(what);
  const spki = derBytes(publicKey);
  readPublicKey(spki);
  const [algorithmOid] = childrenOf(algorithm, tag.sequence, what);
  if (oidText(algorithmOid, what) !== ecdsaSha256Oid) {
    throw new ClusterError("invalid-argument", `${what} is not signed with ECDSA and SHA-256`);
  }
  if (!verifyWithKey(spki, derBytes(info), bitsOf(signature, what))) {
    throw new ClusterError("invalid-argument", `the signature of the ${what} does not hold`);
  }
  return { publicKey: spki };
}

/**
 * Whether a request that was checked before is over this public key (DER SubjectPublicKeyInfo).
 *
 * Most requests are told apart without parsing, so that thousands can be looked through.
 */
export function isRequestOfKey(csr: Uint8Array, publicKey: Uint8Array): boolean {
  return (
    Buffer.from(csr).includes(Buffer.from(publicKey)) &&
    parseRequest(csr).publicKey.equals(publicKey)
  );
}
