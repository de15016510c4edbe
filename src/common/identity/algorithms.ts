/**
 * The one signature algorithm of the profile, and where the parts of PEM bundles come from.
 */
import { ClusterError } from "../errors/cluster-error.ts";
import { certificateBundleBytesMax } from "../limits/limits.ts";
import { type Der, oid, sequence } from "./der.ts";

/** ecdsa-with-SHA256 (RFC 5758). */
export const ecdsaSha256Oid = "1.2.840.10045.4.3.2";

/** AlgorithmIdentifier of ecdsa-with-SHA256, which has no parameters. */
export function ecdsaSha256(): Der {
  return sequence(oid(ecdsaSha256Oid));
}

/** PEM text of a certificate. */
export function certificateToPem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/**
 * DER of each certificate in a PEM bundle, in order.
 *
 * @throws ClusterError invalid-argument when the bundle is too large or holds none.
 */
export function certificatesFromPem(pem: string): readonly Buffer[] {
  if (pem.length > certificateBundleBytesMax) {
    throw new ClusterError(
      "invalid-argument",
      `certificate bundle is larger than ${certificateBundleBytesMax} bytes`,
    );
  }
  const found: Buffer[] = [];
  const block = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----/g;
  for (const match of pem.matchAll(block)) found.push(Buffer.from(match[1] ?? "", "base64"));
  if (found.length === 0) {
    throw new ClusterError("invalid-argument", "no PEM certificate found");
  }
  return found;
}
