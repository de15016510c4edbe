/**
 * Messages of DNS (RFC 1035, EDNS of RFC 6891) as the name server of containers reads and writes them. Pure.
 *
 * Answers repeat the question's bytes as they came, so that whoever mixes the case of letters finds them again, and name it
 * by a pointer, so that many addresses fit.
 */
import { nameTtlS, nameUdpBytes, nameUdpBytesMax } from "../../../src/common/limits/names.ts";
import { parseAddress } from "../../../src/common/spec/cidr.ts";
import { decode, encodeName, nameEnd, type Packet } from "./codec.ts";

/** A question to be answered. */
export interface Query {
  readonly id: number;
  /** The asker wants to be told of the world, too. */
  readonly isRecursive: boolean;
  /** Lower case, without the dot at the end; empty for the root. */
  readonly name: string;
  /** Such as A; `UNKNOWN_65` for those the codec has no name for. */
  readonly type: string;
  readonly isInternet: boolean;
  /** The question as it came. */
  readonly question: Buffer;
  /** Most bytes of an answer over UDP. */
  readonly udpBytes: number;
  readonly hasEdns: boolean;
}

/** What became of bytes that came in. */
export type Parsed =
  | { readonly kind: "query"; readonly query: Query }
  | { readonly kind: "fault"; readonly response: Buffer }
  /** Not worth an answer. */
  | { readonly kind: "garbage" };

/** Codes of answers. */
export const responseCode = {
  ok: 0,
  formatError: 1,
  serverFailure: 2,
  noName: 3,
  notImplemented: 4,
  refused: 5,
} as const;

/** One of the codes. */
export type ResponseCode = (typeof responseCode)[keyof typeof responseCode];

/** One record of an answer. */
export interface AnswerRecord {
  readonly type: "A" | "AAAA" | "PTR";
  /** An address, or a name. */
  readonly value: string;
}

const headerBytes = 12;
const typeNumbers = { A: 1, AAAA: 28, PTR: 12 } as const;
const optType = 41;
const flag = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursive: 0x0180 };
const opcodeMask = 0x7800;
const recursionDesired = 0x0100;

/** Reads what somebody asks. */
export function parseQuery(bytes: Buffer): Parsed {
  // An answer to an answer could go round for ever.
  if (bytes.length < headerBytes || isResponse(bytes)) return { kind: "garbage" };
  if ((bytes.readUInt16BE(2) & opcodeMask) !== 0) {
    return { kind: "fault", response: bare(bytes, responseCode.notImplemented) };
  }
  const fault: Parsed = { kind: "fault", response: bare(bytes, responseCode.formatError) };
  if (bytes.readUInt16BE(4) !== 1) return fault;
  let packet: Packet;
  let end: number;
  try {
    packet = decode(bytes);
    end = questionEnd(bytes);
  } catch {
    return fault;
  }
  const [asked] = packet.questions;
  if (asked === undefined) return fault;
  const edns = packet.additionals.find(({ type }) => type === "OPT");
  const size = edns?.udpPayloadSize ?? nameUdpBytes;
  const query: Query = {
    id: packet.id,
    isRecursive: packet.flag_rd,
    name: asked.name === "." ? "" : asked.name.toLowerCase(),
    type: asked.type,
    isInternet: asked.class === "IN",
    question: bytes.subarray(headerBytes, end),
    udpBytes: Math.min(Math.max(size, nameUdpBytes), nameUdpBytesMax),
    hasEdns: edns !== undefined,
  };
  return { kind: "query", query };
}

/**
 * Writes an answer of ours.
 *
 * @param bytesMax What does not fit is left out, and the answer says so.
 */
export function encodeAnswer(
  query: Query,
  records: readonly AnswerRecord[],
  o: { readonly code: ResponseCode; readonly bytesMax: number },
): Buffer {
  const opt = query.hasEdns ? optRecord : Buffer.alloc(0);
  const parts: Buffer[] = [query.question];
  let room = o.bytesMax - headerBytes - query.question.length - opt.length;
  let count = 0;
  for (const record of records) {
    const encoded = encodeRecord(record);
    if (encoded.length > room) break;
    room -= encoded.length;
    parts.push(encoded);
    count++;
  }
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(query.id, 0);
  header.writeUInt16BE(
    flag.response |
      // What is not known here is no word of authority.
      (o.code === responseCode.ok || o.code === responseCode.noName ? flag.authoritative : 0) |
      (count < records.length ? flag.truncated : 0) |
      (query.isRecursive ? flag.recursive : flag.recursive & ~recursionDesired) |
      o.code,
    2,
  );
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(count, 6);
  header.writeUInt16BE(opt.length > 0 ? 1 : 0, 10);
  return Buffer.concat([header, ...parts, opt]);
}

/** A message of another resolver, or the word that it has to be asked for over TCP when it does not fit. */
export function fitted(query: Query, response: Buffer, bytesMax: number): Buffer {
  if (response.length <= bytesMax) return response;
  const header = Buffer.from(response.subarray(0, headerBytes));
  header.writeUInt16BE(header.readUInt16BE(2) | flag.truncated, 2);
  header.writeUInt16BE(1, 4);
  header.fill(0, 6);
  return Buffer.concat([header, query.question]);
}

/** Whether bytes are an answer to a query with this id and question. */
export function answers(response: Buffer, id: number, question: Buffer): boolean {
  if (response.length < headerBytes + question.length || !isResponse(response)) return false;
  if (response.readUInt16BE(0) !== id || response.readUInt16BE(4) !== 1) return false;
  const echoed = response.subarray(headerBytes, headerBytes + question.length);
  return lowered(echoed).equals(lowered(question));
}

/** Code of an answer, without the part that EDNS adds. */
export function codeOf(response: Buffer): number {
  return response.readUInt16BE(2) & 0x0f;
}

/** Whether an answer was cut to fit. */
export function isTruncated(response: Buffer): boolean {
  return (response.readUInt16BE(2) & flag.truncated) !== 0;
}

/** The same message with another id. */
export function withId(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, 0);
  return copy;
}

function isResponse(bytes: Buffer): boolean {
  return (bytes.readUInt16BE(2) & flag.response) !== 0;
}

/** An answer that has nothing but a code. */
function bare(bytes: Buffer, code: ResponseCode): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(bytes.readUInt16BE(0), 0);
  const kept = bytes.readUInt16BE(2) & (opcodeMask | recursionDesired);
  header.writeUInt16BE(flag.response | kept | code, 2);
  return header;
}

/** @throws Error when the question is cut off. */
function questionEnd(bytes: Buffer): number {
  const end = nameEnd(bytes, headerBytes) + 4;
  if (end > bytes.length) throw new Error("the question is cut off");
  return end;
}

function encodeRecord({ type, value }: AnswerRecord): Buffer {
  const data = type === "PTR" ? encodeName(value) : addressBytes(value);
  const head = Buffer.alloc(12);
  // The name is the one of the question.
  head.writeUInt16BE(0xc000 | headerBytes, 0);
  head.writeUInt16BE(typeNumbers[type], 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(nameTtlS, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function addressBytes(text: string): Buffer {
  if (!text.includes(":")) return Buffer.from(text.split(".").map(Number));
  const value = parseAddress(text)?.value ?? 0n;
  return Buffer.from(value.toString(16).padStart(32, "0"), "hex");
}

function lowered(bytes: Buffer): Buffer {
  return Buffer.from(bytes.map((byte) => (byte >= 65 && byte <= 90 ? byte + 32 : byte)));
}

/** What is said of EDNS: how much is taken over UDP. */
const optRecord = ((): Buffer => {
  const record = Buffer.alloc(11);
  record.writeUInt16BE(optType, 1);
  record.writeUInt16BE(nameUdpBytesMax, 3);
  return record;
})();
