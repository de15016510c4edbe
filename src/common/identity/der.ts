/**
 * A narrow door to DER: node-forge's ASN.1 codec behind typed builders and strict readers.
 *
 * Only the codec module of node-forge is loaded. Whatever comes from outside passes `readDer`, which bounds the size
 * before anything is parsed, refuses trailing bytes, and refuses every encoding that is not the canonical one. The
 * readers throw `ClusterError` "invalid-argument" and name the structure (RFC 5280, RFC 2986) they looked for.
 */
import { createRequire } from "node:module";
import type forge from "node-forge";
import { ClusterError } from "../errors/cluster-error.ts";

/** The codec alone: the whole package would load its RSA and TLS code for nothing. */
const asn1: Codec = createRequire(import.meta.url)("node-forge/lib/asn1.js");

/** What of the codec is used; its published types lack the options of `fromDer`. */
type Codec = Omit<typeof forge.asn1, "fromDer"> & {
  fromDer(
    bytes: string,
    options: {
      readonly strict: boolean;
      readonly parseAllBytes: boolean;
      readonly decodeBitStrings: boolean;
    },
  ): Der;
};

/** One parsed or built ASN.1 value. */
export type Der = forge.asn1.Asn1;

const strictOptions = { strict: true, parseAllBytes: true, decodeBitStrings: false };

/** Tags this profile uses. */
export const tag = {
  boolean: 1,
  integer: 2,
  bitString: 3,
  octetString: 4,
  oid: 6,
  utf8: 12,
  sequence: 16,
  set: 17,
  printable: 19,
  utcTime: 23,
  generalizedTime: 24,
} as const;

/**
 * Parses one value that must fill `bytes` exactly.
 *
 * @throws ClusterError invalid-argument when it is longer than `bytesMax`, truncated, followed by more, or not canonical.
 */
export function readDer(bytes: Uint8Array, what: string, bytesMax: number): Der {
  if (bytes.length > bytesMax) {
    throw new ClusterError("invalid-argument", `${what} is larger than ${bytesMax} bytes`);
  }
  const text = Buffer.from(bytes).toString("latin1");
  let value: Der;
  let again: string;
  try {
    value = asn1.fromDer(text, strictOptions);
    again = asn1.toDer(value).getBytes();
  } catch (error) {
    throw new ClusterError("invalid-argument", `${what} is not well-formed DER`, { cause: error });
  }
  // What was signed must be what was understood: a lax encoding could be read differently by OpenSSL.
  if (again !== text) {
    throw new ClusterError("invalid-argument", `${what} is not in canonical DER`);
  }
  return value;
}

/** The bytes of a value. */
export function derBytes(value: Der): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), "latin1");
}

/** A value already encoded, for embedding. */
export function embedDer(bytes: Uint8Array): Der {
  return asn1.fromDer(Buffer.from(bytes).toString("latin1"), strictOptions);
}

/** SEQUENCE of the given values. */
export function sequence(...values: readonly Der[]): Der {
  return asn1.create(asn1.Class.UNIVERSAL, tag.sequence, true, [...values]);
}

/** SET of the given values; the caller gives them in DER order. */
export function setOf(...values: readonly Der[]): Der {
  return asn1.create(asn1.Class.UNIVERSAL, tag.set, true, [...values]);
}

/** A context-specific constructed tag around values. */
export function explicit(number: number, ...values: readonly Der[]): Der {
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, number, true, [...values]);
}

/** A context-specific primitive tag over raw bytes. */
export function implicit(number: number, bytes: Uint8Array): Der {
  const text = Buffer.from(bytes).toString("latin1");
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, number, false, text);
}

/** A primitive of a universal tag over raw content bytes. */
export function primitive(type: number, content: Uint8Array): Der {
  return asn1.create(asn1.Class.UNIVERSAL, type, false, Buffer.from(content).toString("latin1"));
}

/** OBJECT IDENTIFIER from dotted text. */
export function oid(dotted: string): Der {
  return asn1.create(asn1.Class.UNIVERSAL, tag.oid, false, asn1.oidToDer(dotted).getBytes());
}

/** A non-negative INTEGER from big-endian bytes. */
export function integer(bytes: Uint8Array): Der {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const rest = bytes.subarray(start);
  const needsZero = ((rest[0] ?? 0) & 0x80) !== 0;
  return primitive(tag.integer, needsZero ? Buffer.concat([Buffer.of(0), rest]) : rest);
}

/** BIT STRING without unused bits. */
export function bitString(bytes: Uint8Array): Der {
  return primitive(tag.bitString, Buffer.concat([Buffer.of(0), bytes]));
}

/** OCTET STRING. */
export function octetString(bytes: Uint8Array): Der {
  return primitive(tag.octetString, bytes);
}

/** UTCTime up to 2049 and GeneralizedTime after it (RFC 5280, 4.1.2.5); cut to whole seconds. */
export function time(ms: number): Der {
  const digits = new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14);
  return Number(digits.slice(0, 4)) < 2050
    ? primitive(tag.utcTime, Buffer.from(`${digits.slice(2)}Z`))
    : primitive(tag.generalizedTime, Buffer.from(`${digits}Z`));
}

/** Children of a constructed universal value of this tag. @throws ClusterError invalid-argument otherwise. */
export function childrenOf(value: Der | undefined, type: number, what: string): readonly Der[] {
  if (
    value === undefined ||
    value.tagClass !== asn1.Class.UNIVERSAL ||
    value.type !== type ||
    !Array.isArray(value.value)
  ) {
    return malformed(what);
  }
  return value.value;
}

/** Content bytes of a primitive universal value of this tag. @throws ClusterError invalid-argument otherwise. */
export function contentOf(value: Der | undefined, type: number, what: string): Buffer {
  if (
    value === undefined ||
    value.tagClass !== asn1.Class.UNIVERSAL ||
    value.type !== type ||
    typeof value.value !== "string"
  ) {
    return malformed(what);
  }
  return Buffer.from(value.value, "latin1");
}

/** Children of a context-specific constructed value with this number, or undefined when it is something else. */
export function explicitChildren(
  value: Der | undefined,
  number: number,
): readonly Der[] | undefined {
  return value !== undefined &&
    value.tagClass === asn1.Class.CONTEXT_SPECIFIC &&
    value.type === number &&
    Array.isArray(value.value)
    ? value.value
    : undefined;
}

/** Dotted text of an OBJECT IDENTIFIER. */
export function oidText(value: Der | undefined, what: string): string {
  const content = contentOf(value, tag.oid, what);
  return asn1.derToOid(content.toString("latin1"));
}

/** Content of a BIT STRING without unused bits. */
export function bitsOf(value: Der | undefined, what: string): Buffer {
  const content = contentOf(value, tag.bitString, what);
  return content[0] === 0 ? content.subarray(1) : malformed(what);
}

/** Milliseconds of a UTCTime or GeneralizedTime in the form RFC 5280 prescribes. */
export function timeOf(value: Der | undefined, what: string): number {
  const long = value?.type === tag.generalizedTime;
  const text = contentOf(value, long ? tag.generalizedTime : tag.utcTime, what).toString("latin1");
  const match = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  const [, year = "", month, day, hour, minute, second] = match ?? [];
  if (match === null || (year.length === 4) !== long) return malformed(what);
  const fullYear = long ? year : `${Number(year) < 50 ? "20" : "19"}${year}`;
  const ms = Date.parse(`${fullYear}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(ms) ? malformed(what) : ms;
}

/** @throws ClusterError invalid-argument, always. */
export function malformed(what: string): never {
  throw new ClusterError("invalid-argument", `malformed ${what}`);
}
