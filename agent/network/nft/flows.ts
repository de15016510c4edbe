/**
 * Messages to and from the kernel's connection tracking (linux/netfilter/nfnetlink_conntrack.h): finds the UDP flows that
 * lead to addresses, and deletes them. Pure.
 *
 * A flow keeps to its backend as long as datagrams come, so that of a backend that left must be deleted; the next datagram
 * is balanced anew.
 */
import { parseAddress } from "../../../src/common/spec/cidr.ts";
import {
  attribute,
  attributesIn,
  message,
  messageFlags,
  nested,
  type Received,
} from "../netlink/message.ts";

/** Asks for all flows. */
export function listFlows(): Buffer {
  return message(types.get, messageFlags.dump, resource(families.any));
}

/** The messages that delete those of the listed flows that lead to the addresses. */
export function deletionsIn(flows: readonly Received[], addresses: ReadonlySet<string>): Buffer[] {
  return flows.flatMap(({ body }) => {
    const attributes = attributesIn(body.subarray(resourceBytes));
    return leadsTo(attributes, addresses) ? [deletion(attributes)] : [];
  });
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

/** Family, version, resource: struct nfgenmsg. */
const resourceBytes = 4;
const families = { any: 0, v4: 2, v6: 10 } as const;
const protocolUdp = 17;
/** Of the subsystem of connection tracking, which is 1. */
const types = { get: 0x101, delete: 0x102 } as const;
/** CTA_…; those of tuples and their parts. */
const of = { original: 1, reply: 2, id: 12, zone: 18, ip: 1, protocol: 2, number: 1 } as const;
/** CTA_IP_V4_SRC and CTA_IP_V6_SRC. */
const source = { v4: 1, v6: 3 } as const;

type Attributes = ReadonlyMap<number, Buffer>;

/** Whether answers come from one of the addresses, over UDP. */
function leadsTo(attributes: Attributes, addresses: ReadonlySet<string>): boolean {
  const reply = attributesIn(attributes.get(of.reply));
  if (attributesIn(reply.get(of.protocol)).get(of.number)?.[0] !== protocolUdp) return false;
  const from = sourceIn(reply);
  return from !== undefined && addresses.has(from.toString("hex"));
}

function sourceIn(tuple: Attributes): Buffer | undefined {
  const ip = attributesIn(tuple.get(of.ip));
  return ip.get(source.v4) ?? ip.get(source.v6);
}

/** The flow is named by its first direction, and by its id, so that no other is meant. */
function deletion(attributes: Attributes): Buffer {
  const original = attributes.get(of.original);
  const [id, zone] = [attributes.get(of.id), attributes.get(of.zone)];
  const isSix = sourceIn(attributesIn(original))?.length === 16;
  return message(
    types.delete,
    messageFlags.acknowledge,
    resource(isSix ? families.v6 : families.v4),
    ...(original === undefined ? [] : [nested(of.original, original)]),
    ...(id === undefined ? [] : [attribute(of.id, id)]),
    ...(zone === undefined ? [] : [attribute(of.zone, zone)]),
  );
}

function resource(family: number): Buffer {
  return Buffer.of(family, 0, 0, 0);
}
