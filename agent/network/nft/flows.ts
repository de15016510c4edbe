/**
 * Messages to and from the kernel's connection tracking (linux/netfilter/nfnetlink_conntrack.h): finds the UDP flows that
 * lead to addresses, and deletes them. Pure.
 *
 * A flow keeps to its backend as long as datagrams come, so that of a backend that left must be deleted; the next datagram
 * is balanced anew.
 */
import { parseAddress } from "../../../src/common/spec/cidr.ts";

/** Asks for all flows. */
export function listFlows(): Buffer {
  return message({ type: messageType.get, flags: flag.request | flag.dump, attributes: [] });
}

/** What of one answer to `listFlows` is to be deleted, as the messages that do so, and whether it was the last answer. */
export function deletionsIn(
  answer: Buffer,
  addresses: ReadonlySet<string>,
): { readonly deletions: readonly Buffer[]; readonly last: boolean } {
  const deletions: Buffer[] = [];
  for (let at = 0; at + headerBytes <= answer.length; ) {
    const length = answer.readUInt32LE(at);
    const type = answer.readUInt16LE(at + 4);
    if (length < headerBytes || type === messageType.done || type === messageType.error) {
      return { deletions, last: true };
    }
    const attributes = attributesIn(answer.subarray(at + headerBytes + familyBytes, at + length));
    if (leadsTo(attributes, addresses)) deletions.push(deletion(attributes));
    at += aligned(length);
  }
  return { deletions, last: false };
}

/** Addresses in the form in which flows are compared; those that are none are left out. */
export function flowAddresses(addresses: readonly string[]): Set<string> {
  const keys = new Set<string>();
  for (const text of addresses) {
    const address = parseAddress(text);
    if (address === undefined) continue;
    keys.add(address.value.toString(16).padStart(address.family === 4 ? 8 : 32, "0"));
  }
  return keys;
}

const headerBytes = 16;
/** Family, version, resource: struct nfgenmsg. */
const familyBytes = 4;
/** Flows of any family. */
const familyAny = 0;
const protocolUdp = 17;
const flag = { request: 1, acknowledge: 4, dump: 0x300 } as const;
/** Those of the subsystem of connection tracking, which is 1, and of netlink itself. */
const messageType = { get: 0x101, delete: 0x102, error: 2, done: 3 } as const;
/** CTA_…; those of tuples and their parts. */
const attribute = {
  original: 1,
  reply: 2,
  id: 12,
  zone: 18,
  ip: 1,
  protocol: 2,
  number: 1,
} as const;
const source = { ipv4: 1, ipv6: 3 } as const;
const nested = 0x8000;

interface Attribute {
  readonly type: number;
  readonly value: Buffer;
  /** With header and padding. */
  readonly whole: Buffer;
}

function attributesIn(data: Buffer): Attribute[] {
  const found: Attribute[] = [];
  for (let at = 0; at + 4 <= data.length; ) {
    const length = data.readUInt16LE(at);
    if (length < 4 || at + length > data.length) break;
    found.push({
      type: data.readUInt16LE(at + 2) & ~nested,
      value: data.subarray(at + 4, at + length),
      whole: data.subarray(at, at + aligned(length)),
    });
    at += aligned(length);
  }
  return found;
}

/** Whether answers come from one of the addresses, over UDP. */
function leadsTo(attributes: readonly Attribute[], addresses: ReadonlySet<string>): boolean {
  const reply = attributesIn(valueIn(attributes, attribute.reply));
  const protocol = attributesIn(valueIn(reply, attribute.protocol));
  if (valueIn(protocol, attribute.number)[0] !== protocolUdp) return false;
  const ip = attributesIn(valueIn(reply, attribute.ip));
  const from = ip.find(({ type }) => type === source.ipv4 || type === source.ipv6);
  return from !== undefined && addresses.has(from.value.toString("hex"));
}

/** The flow is named by its first direction, and by its id, so that no other is meant. */
function deletion(attributes: readonly Attribute[]): Buffer {
  const naming: readonly number[] = [attribute.original, attribute.id, attribute.zone];
  return message({
    type: messageType.delete,
    flags: flag.request | flag.acknowledge,
    attributes: attributes.filter(({ type }) => naming.includes(type)).map(({ whole }) => whole),
    family: familyOf(attributes),
  });
}

function familyOf(attributes: readonly Attribute[]): number {
  const original = attributesIn(valueIn(attributes, attribute.original));
  const [first] = attributesIn(valueIn(original, attribute.ip));
  return first?.value.length === 16 ? 10 : 2;
}

function valueIn(attributes: readonly Attribute[], type: number): Buffer {
  return attributes.find((one) => one.type === type)?.value ?? Buffer.alloc(0);
}

function message(o: {
  readonly type: number;
  readonly flags: number;
  readonly attributes: readonly Buffer[];
  readonly family?: number;
}): Buffer {
  const header = Buffer.alloc(headerBytes + familyBytes);
  const body = Buffer.concat(o.attributes);
  header.writeUInt32LE(header.length + body.length, 0);
  header.writeUInt16LE(o.type, 4);
  header.writeUInt16LE(o.flags, 6);
  header.writeUInt8(o.family ?? familyAny, headerBytes);
  return Buffer.concat([header, body]);
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}
