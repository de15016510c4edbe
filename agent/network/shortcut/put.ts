/**
 * Puts the programs at the ports of bridges in the namespace this thread is in, or takes those of earlier lives of the daemon away.
 */
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
export function putPrograms({ programs: given, ports, known }: PutRequest): PutAnswer {
  const programs = given ?? loadPrograms();
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
    return { programs, known: now };
  } finally {
    session.close();
  }
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
