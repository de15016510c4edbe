/**
 * Puts the programs at devices of the namespace this thread is in, or takes those of earlier lives of the daemon away.
 */
import { writeFileSync } from "node:fs";
import { missedStreamS } from "../../../src/common/limits/network.ts";
import { updateEntries } from "../bpf/calls.ts";
import { maps as ofStreams } from "../bypass/programs.ts";
import { askLink, types } from "../netlink/change.ts";
import {
  areOurs,
  listPrograms,
  putProgram,
  removeProgram,
  removeRoom,
  roomForPrograms,
  type Side,
} from "../netlink/classifier.ts";
import { type Acknowledgement, NetlinkSession, protocols } from "../netlink/session.ts";
import { loadPrograms } from "./loader.ts";
import type { Programs, PutAnswer, PutRequest } from "./request.ts";

/** EEXIST, ENOENT and ENODEV. */
const exists = 17;
const absent = 2;
const noDevice = 19;

const bothSides: readonly Side[] = ["in", "out"];

/**
 * Ports that are gone meanwhile are passed over.
 *
 * @throws Error where the kernel takes no programs.
 */
export function putPrograms(request: PutRequest): PutAnswer {
  const { of, programs: given, ports, known, change } = request;
  const programs = given ?? loadPrograms(of);
  if (of === "streams" && programs !== "none" && ports.size > 0) letTrackingMiss();
  const session = new NetlinkSession(protocols.route);
  try {
    const now = new Map<string, number>();
    for (const [name, isContainer] of ports) {
      const link = session.ask(askLink(name));
      if (link?.type !== types.newLink) continue;
      const port = { name, isContainer, device: link.body.readInt32LE(4) };
      if (programs !== "none") put(session, port, { programs, known });
      else if (known.get(name) !== port.device) clear(session, port);
      now.set(name, port.device);
    }
    if (programs !== "none" && programs.changes !== undefined) raise(programs.changes, change);
    return { programs, known: now };
  } finally {
    session.close();
  }
}

const tracking = "/proc/sys/net/netfilter/nf_conntrack_tcp_";

/**
 * Tracking tells packets that belong to a stream by the sequence numbers that it saw before; of packets that go past it, it has seen
 * none. So it takes all for good, those that end a stream as well, and does not take data for lost whose acknowledgement went
 * past. It stays so when programs are taken away, as there are streams of which it has missed packets.
 *
 * @throws Error before Linux 5.14.
 */
function letTrackingMiss(): void {
  writeFileSync(`${tracking}be_liberal`, "1");
  writeFileSync(`${tracking}ignore_invalid_rst`, "1");
  writeFileSync(`${tracking}timeout_unacknowledged`, `${missedStreamS}`);
}

/** From now on programs know nothing that they knew before. */
function raise(changes: number, change: number): void {
  const entry = Buffer.alloc(ofStreams.changes.key + ofStreams.changes.value);
  entry.writeUInt32LE(change, ofStreams.changes.key);
  updateEntries(changes, entry, ofStreams.changes);
}

interface Port {
  readonly name: string;
  readonly isContainer: boolean;
  /** Its number. */
  readonly device: number;
}

function put(
  session: NetlinkSession,
  { name, isContainer, device }: Port,
  { programs, known }: { readonly programs: Programs; readonly known: PutRequest["known"] },
): void {
  const { errno } = session.tell(roomForPrograms(device));
  // Else of an earlier life of the daemon, or of another device with this name.
  if (errno === exists && known.get(name) === device) return;
  const to = isContainer ? programs.toContainer : programs.toTunnel;
  check(name, session.tell(putProgram(device, "out", to)));
  check(name, session.tell(putProgram(device, "in", programs.arriving)));
}

/** The room goes, too, unless there are programs of others in it. */
function clear(session: NetlinkSession, { name, device }: Port): void {
  const found = bothSides.map((side) => ({
    side,
    ours: areOurs(session.list(listPrograms(device, side))),
  }));
  const all = found.flatMap(({ ours }) => ours);
  if (!all.includes(true)) return;
  if (!all.includes(false)) {
    check(name, session.tell(removeRoom(device)));
    return;
  }
  for (const { side, ours } of found) {
    if (ours.includes(true)) check(name, session.tell(removeProgram(device, side)));
  }
}

/** A device that went meanwhile needs none, and has none. */
function check(name: string, { errno, words }: Acknowledgement): void {
  if (errno === 0 || errno === noDevice || errno === absent) return;
  throw new Error(`the kernel changes no programs at ${name}: error ${errno} ${words}`.trim());
}
