/**
 * X.509 certificates of our profile (RFC 5280): P-256, ECDSA-SHA256, subject and extensions set by the issuer.
 *
 * Built and read through the DER door; signatures and chains are node:crypto's business (`verify.ts`).
 */
import { createHash } from "node:crypto";
import type { NodeRole } from "../api/generated/api.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { certificateBytesMax } from "../limits/limits.ts";
import {
  certificatesFromPem,
  certificateToPem,
  ecdsaSha256,
  ecdsaSha256Oid,
} from "./algorithms.ts";
import {
  bitString,
  bitsOf,
  childrenOf,
  type Der,
  derBytes,
  embedDer,
  explicit,
  explicitChildren,
  implicit,
  integer,
  malformed,
  octetString,
  oid,
  oidText,
  primitive,
  readDer,
  sequence,
  tag,
  time,
  timeOf,
} from "./der.ts";
import { readPublicKey, signWithKey } from "./key.ts";
import { decodeName, encodeName, type Name } from "./name.ts";
import { type Identity, raftServerName, roleOfUnit, unitOfRole } from "./types.ts";

/** Certificates are valid from an hour before their issue, so that clocks may differ a little. */
export const backdateMs = 60 * 60 * 1000;
/** Default life of a node certificate: 90 days, as Docker's. */
export const certificateLifeMs = 90 * 24 * 60 * 60 * 1000;
/** Shortest life a cluster may ask for: an hour, as Docker's. */
export const certificateLifeMsMin = 60 * 60 * 1000;

/** Who signs. */
export interface Issuer {
  /** PKCS#8 PEM. */
  readonly key: string;
  /** PEM of the issuing certificate; only the first one of a bundle counts. */
  readonly certificate: string;
}

/** What a certificate says, without any claim that it is true. */
export interface Certificate {
  readonly der: Buffer;
  readonly subject: Name;
  readonly issuer: Name;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Buffer;
}

/**
 * Issues a node certificate: its PEM, and the moment it ends (whole seconds).
 *
 * @param options.publicKey DER SubjectPublicKeyInfo from a checked request.
 * @param options.lifeMs From now on; raised to the minimum, and cut at the end of the issuer.
 * @param options.serial 16 or more random bytes.
 */
export function issueNodeCertificate(options: {
  readonly issuer: Issuer;
  readonly publicKey: Uint8Array;
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly clusterId: string;
  readonly nowMs: number;
  readonly lifeMs: number;
  readonly serial: Uint8Array;
}): { readonly certificate: string; readonly notAfterMs: number } {
  const issuer = readIssuer(options.issuer);
  const unit = unitOfRole(options.role);
  const names = [unit, options.nodeId, ...(options.role === "manager" ? [raftServerName] : [])];
  const wanted = options.nowMs + Math.max(options.lifeMs, certificateLifeMsMin);
  const notAfterMs = Math.floor(Math.min(wanted, issuer.notAfterMs) / 1000) * 1000;
  const certificate = signCertificate({
    subject: { commonName: options.nodeId, unit, organization: options.clusterId },
    issuerName: issuerNameOf(issuer),
    issuerKey: options.issuer.key,
    publicKey: options.publicKey,
    notBeforeMs: options.nowMs - backdateMs,
    notAfterMs,
    serial: options.serial,
    extensions: [
      extension("2.5.29.15", true, primitive(tag.bitString, Buffer.of(7, 0x80))),
      extension("2.5.29.37", false, sequence(oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.2"))),
      extension("2.5.29.19", true, sequence()),
      extension("2.5.29.14", false, octetString(keyDigest(options.publicKey))),
      extension("2.5.29.35", false, sequence(implicit(0, keyDigest(issuer.publicKey)))),
      extension("2.5.29.17", false, sequence(...names.map((n) => implicit(2, Buffer.from(n))))),
    ],
  });
  return { certificate, notAfterMs };
}

/** Issues a CA certificate: self-signed when `issuer` is undefined, else cross-signed by it. */
export function issueCaCertificate(options: {
  readonly subject: Name;
  readonly key: string;
  readonly publicKey: Uint8Array;
  readonly issuer?: Issuer;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly serial: Uint8Array;
}): string {
  const issuer = options.issuer && readIssuer(options.issuer);
  return signCertificate({
    subject: options.subject,
    issuerName: issuer === undefined ? encodeName(options.subject) : issuerNameOf(issuer),
    issuerKey: options.issuer?.key ?? options.key,
    publicKey: options.publicKey,
    notBeforeMs: options.notBeforeMs,
    notAfterMs: options.notAfterMs,
    serial: options.serial,
    extensions: [
      extension("2.5.29.15", true, primitive(tag.bitString, Buffer.of(1, 0x06))),
      extension("2.5.29.19", true, sequence(primitive(tag.boolean, Buffer.of(0xff)))),
      extension("2.5.29.14", false, octetString(keyDigest(options.publicKey))),
      extension(
        "2.5.29.35",
        false,
        sequence(implicit(0, keyDigest(issuer?.publicKey ?? options.publicKey))),
      ),
    ],
  });
}

/**
 * Reads what a certificate says.
 *
 * @param input DER, or PEM of which the first certificate counts.
 * @throws ClusterError invalid-argument when it is malformed or its key is not on P-256.
 */
export function parseCertificate(input: string | Uint8Array): Certificate {
  const what = "certificate";
  const der = typeof input === "string" ? certificatesFromPem(input)[0] : Buffer.from(input);
  if (der === undefined) return malformed(what);
  const top = childrenOf(readDer(der, what, certificateBytesMax), tag.sequence, what);
  const [body, algorithm] = top;
  const parts = childrenOf(body, tag.sequence, what);
  if (top.length !== 3 || explicitChildren(parts[0], 0) === undefined) return malformed(what);
  const [, , inner, issuer, validity, subject, publicKey] = parts;
  for (const value of [algorithm, inner]) {
    if (oidText(childrenOf(value, tag.sequence, what)[0], what) !== ecdsaSha256Oid) {
      throw new ClusterError(
        "invalid-argument",
        "certificate is not signed with ECDSA and SHA-256",
      );
    }
  }
  bitsOf(top[2], what);
  const [notBefore, notAfter] = childrenOf(validity, tag.sequence, what);
  if (publicKey === undefined) return malformed(what);
  const spki = derBytes(publicKey);
  readPublicKey(spki);
  return {
    der,
    subject: decodeName(subject, "certificate subject"),
    issuer: decodeName(issuer, "certificate issuer"),
    notBeforeMs: timeOf(notBefore, "certificate validity"),
    notAfterMs: timeOf(notAfter, "certificate validity"),
    publicKey: spki,
  };
}

/**
 * The identity a node certificate claims; the caller has checked, or will check, the chain.
 *
 * @throws ClusterError unauthenticated when the subject is not that of a node.
 */
export function identityOf(certificate: Certificate): Identity {
  const { commonName, organization, unit } = certificate.subject;
  const role = roleOfUnit(unit);
  if (role === undefined || commonName === "" || organization === "") {
    throw new ClusterError("unauthenticated", "the certificate is not that of a swarm node");
  }
  return {
    nodeId: commonName,
    role,
    clusterId: organization,
    notBeforeMs: certificate.notBeforeMs,
    notAfterMs: certificate.notAfterMs,
  };
}

/** Issuers read lately, by their PEM: a CA signs thousands of certificates under the same one. */
const recentIssuers = new Map<string, Certificate>();
const recentIssuersMax = 8;

function readIssuer({ certificate }: Issuer): Certificate {
  const known = recentIssuers.get(certificate);
  if (known !== undefined) return known;
  const read = parseCertificate(certificate);
  if (recentIssuers.size >= recentIssuersMax) recentIssuers.clear();
  recentIssuers.set(certificate, read);
  return read;
}

/** The subject of a certificate in the very bytes it has there, so that an issuer we did not make matches too. */
function issuerNameOf(issuer: Certificate): Der {
  const [body] = childrenOf(embedDer(issuer.der), tag.sequence, "certificate");
  const subject = childrenOf(body, tag.sequence, "certificate")[5];
  return subject ?? malformed("certificate");
}

function signCertificate(options: {
  readonly subject: Name;
  readonly issuerName: Der;
  readonly issuerKey: string;
  readonly publicKey: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly serial: Uint8Array;
  readonly extensions: readonly Der[];
}): string {
  const body = sequence(
    explicit(0, integer(Buffer.of(2))),
    // The top bits are fixed to 01: positive, and never short.
    integer(
      Buffer.from(options.serial).map((byte, at) => (at === 0 ? (byte & 0x3f) | 0x40 : byte)),
    ),
    ecdsaSha256(),
    options.issuerName,
    sequence(time(options.notBeforeMs), time(options.notAfterMs)),
    encodeName(options.subject),
    embedDer(options.publicKey),
    explicit(3, sequence(...options.extensions)),
  );
  const signature = signWithKey(options.issuerKey, derBytes(body));
  return certificateToPem(derBytes(sequence(body, ecdsaSha256(), bitString(signature))));
}

function extension(type: string, critical: boolean, value: Der): Der {
  const flag = critical ? [primitive(tag.boolean, Buffer.of(0xff))] : [];
  return sequence(oid(type), ...flag, octetString(derBytes(value)));
}

/** Key identifier: SHA-1 over the bits of the public key (RFC 5280, 4.2.1.2). Only a hint for chain building. */
function keyDigest(spki: Uint8Array): Buffer {
  const parts = childrenOf(embedDer(spki), tag.sequence, "public key");
  return createHash("sha1").update(bitsOf(parts[1], "public key")).digest();
}
