/**
 * Word of the kernel that other programs have changed what the data path depends on: nftables' tables and chains of the
 * node's own network (a firewall that is loaded anew takes ours away, or closes forwarding), and the device to the others.
 *
 * Read now and then, without waiting; what is not told here is found by the comparison at intervals.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import { networkGlanceMs } from "../../src/common/limits/network.ts";
import { type Netlink, openNetlink } from "./namespace.ts";

/** What is of interest. */
export interface EventFilter {
  /** Beginning of the names of our own tables, which we change ourselves. */
  readonly ownPrefix: string;
  /** The device to the other nodes. */
  readonly device: string;
}

const protocols = { route: 0, netfilter: 12 } as const;
/** Bits of groups: links; nftables (group 7). */
const groups = { links: 1 << 0, nftables: 1 << 6 } as const;
const linkTypes = new Set([16, 17]);
const nftablesSubsystem = 10;
const nftablesTypes = { deleteTable: 2, ofOthers: new Set([0, 2, 3, 5]) } as const;
const headerBytes = 16;
const linkHeaderBytes = 16;
const nftablesHeaderBytes = 4;
const nameAttributes = { link: 3, table: 1 } as const;

/** Listens in one network namespace. */
export class KernelEvents {
  readonly #sockets: readonly Netlink[];

  private constructor(sockets: readonly Netlink[]) {
    this.#sockets = sockets;
  }

  /** @param file Of the namespace; the daemon's own when undefined. @returns Undefined where there is no way to listen. */
  static open(file: string | undefined): KernelEvents | undefined {
    const sockets = [
      openNetlink(file, { protocol: protocols.route, groups: groups.links }),
      openNetlink(file, { protocol: protocols.netfilter, groups: groups.nftables }),
    ].filter((socket) => socket !== undefined);
    return sockets.length === 0 ? undefined : new KernelEvents(sockets);
  }

  /** Whether something of interest has changed since the last call. */
  changed(filter: EventFilter): boolean {
    let isOfInterest = false;
    for (const socket of this.#sockets) {
      for (let bytes = socket.read(); bytes !== undefined; bytes = socket.read()) {
        isOfInterest ||= bytes === "lost" || tellsOfInterest(bytes, filter);
      }
    }
    return isOfInterest;
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }
}

/** Calls `onChange` soon after a change of interest, until the signal aborts. Never rejects. */
export async function watchKernel(o: {
  readonly file: string | undefined;
  readonly filter: () => EventFilter;
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}): Promise<void> {
  const events = KernelEvents.open(o.file);
  while (events !== undefined && !o.signal.aborted) {
    await o.clock.sleep(networkGlanceMs, o.signal).catch(() => {
      // Stopped: the loop's condition ends it.
    });
    if (!o.signal.aborted && events.changed(o.filter())) o.onChange();
  }
  events?.close();
}

/** Whether one of the messages in what a socket gave is of interest. Pure. */
export function tellsOfInterest(bytes: Uint8Array, filter: EventFilter): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + headerBytes <= buffer.length) {
    const length = readU32(buffer, at);
    if (length < headerBytes || at + length > buffer.length) return false;
    if (isOfInterest(buffer.subarray(at, at + length), filter)) return true;
    at += aligned(length);
  }
  return false;
}

function isOfInterest(message: Buffer, { ownPrefix, device }: EventFilter): boolean {
  const type = readU16(message, 4);
  if (linkTypes.has(type)) {
    return nameIn(message, headerBytes + linkHeaderBytes, nameAttributes.link) === device;
  }
  if (type >> 8 !== nftablesSubsystem) return false;
  const what = type & 0xff;
  if (!nftablesTypes.ofOthers.has(what)) return false;
  const table = nameIn(message, headerBytes + nftablesHeaderBytes, nameAttributes.table) ?? "";
  return !table.startsWith(ownPrefix) || what === nftablesTypes.deleteTable;
}

/** Text of the attribute of this type. */
function nameIn(message: Buffer, begin: number, type: number): string | undefined {
  for (let at = begin; at + 4 <= message.length; ) {
    const length = readU16(message, at);
    if (length < 4 || at + length > message.length) return undefined;
    if (readU16(message, at + 2) === type) {
      return message.toString("latin1", at + 4, at + length).replace(/\0.*$/s, "");
    }
    at += aligned(length);
  }
  return undefined;
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}

// The kernel writes numbers as the machine has them, and all that Node runs on have the low byte first but for s390.
function readU16(buffer: Buffer, at: number): number {
  return isLittleEndian ? buffer.readUInt16LE(at) : buffer.readUInt16BE(at);
}

function readU32(buffer: Buffer, at: number): number {
  return isLittleEndian ? buffer.readUInt32LE(at) : buffer.readUInt32BE(at);
}

const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
