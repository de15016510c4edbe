/**
 * Subject and public key of a root certificate in DER, which the API shows in `TLSInfo`. Pure.
 *
 * Walks the outer fields of an X.509 certificate (RFC 5280 section 4.1); what is inside them is not looked at.
 */

/** The two fields, DER; empty when the text holds no certificate. */
export interface Issuer {
  readonly subject: Uint8Array;
  readonly publicKey: Uint8Array;
}

const none: Issuer = { subject: new Uint8Array(0), publicKey: new Uint8Array(0) };

/** @param pem The root bundle; the first certificate counts. */
export function issuerOf(pem: Uint8Array): Issuer {
  const text = Buffer.from(pem).toString("latin1");
  const body = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/.exec(text)?.[1];
  if (body === undefined) return none;
  const der = Buffer.from(body, "base64");
  const certificate = elementAt(der, 0);
  const signed = certificate && elementAt(der, certificate.start);
  if (signed === undefined) return none;
  const fields: Element[] = [];
  for (let at = signed.start; at < signed.end; ) {
    const field = elementAt(der, at);
    if (field === undefined) return none;
    fields.push(field);
    at = field.end;
  }
  // An explicit version ([0]) comes first in version 2 and 3 certificates.
  const skip = fields[0]?.tag === 0xa0 ? 1 : 0;
  const subject = fields[skip + 4];
  const key = fields[skip + 5];
  if (subject === undefined || key === undefined) return none;
  return {
    subject: der.subarray(subject.at, subject.end),
    publicKey: der.subarray(key.at, key.end),
  };
}

interface Element {
  readonly tag: number;
  /** Offsets of the tag, of the content, and behind the content. */
  readonly at: number;
  readonly start: number;
  readonly end: number;
}

function elementAt(der: Buffer, at: number): Element | undefined {
  const tag = der[at];
  const first = der[at + 1];
  if (tag === undefined || first === undefined) return undefined;
  if (first < 0x80) return { tag, at, start: at + 2, end: at + 2 + first };
  const count = first & 0x7f;
  if (count === 0 || count > 4 || at + 2 + count > der.length) return undefined;
  const start = at + 2 + count;
  return { tag, at, start, end: start + der.readUIntBE(at + 2, count) };
}
