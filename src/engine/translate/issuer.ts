/**
 * Subject and public key of a root certificate in DER, which the API shows in `TLSInfo`. Pure.
 */
import { certificatesFromPem } from "../../common/identity/algorithms.ts";
import { childrenOf, derBytes, readDer, tag } from "../../common/identity/der.ts";
import { certificateBytesMax } from "../../common/limits/limits.ts";

/** The two fields, DER; empty when the text holds no certificate. */
export interface Issuer {
  readonly subject: Uint8Array;
  readonly publicKey: Uint8Array;
}

/** @param pem The root bundle; the first certificate counts. */
export function issuerOf(pem: Uint8Array): Issuer {
  try {
    return parsed(Buffer.from(pem).toString("latin1"));
  } catch {
    // A root that cannot be read is shown without them; whoever uses it to check certificates complains.
    return { subject: new Uint8Array(0), publicKey: new Uint8Array(0) };
  }
}

function parsed(pem: string): Issuer {
  const what = "root certificate";
  const [der] = certificatesFromPem(pem);
  const top = readDer(der ?? new Uint8Array(0), what, certificateBytesMax);
  const [body] = childrenOf(top, tag.sequence, what);
  // Version, serial number, signature, issuer and validity come first (RFC 5280 section 4.1).
  const [subject, publicKey] = childrenOf(body, tag.sequence, what).slice(5);
  if (subject === undefined || publicKey === undefined) throw new Error(`${what} is too short`);
  return { subject: derBytes(subject), publicKey: derBytes(publicKey) };
}
