/**
 * Puts the programs at the ports of bridges in the namespace this thread is in.
 */
import { askLink, types } from "../netlink/change.ts";
import { putProgram, roomForPrograms } from "../netlink/classifier.ts";
import { type Acknowledgement, NetlinkSession, protocols } from "../netlink/session.ts";
import { loadPrograms } from "./loader.ts";
import type { PutAnswer, PutRequest } from "./request.ts";

/** EEXIST and ENODEV. */
const exists = 17;
const noDevice = 19;

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
      const device = link.body.readInt32LE(4);
      const { errno } = session.tell(roomForPrograms(device));
      // Else of an earlier life of the daemon, or of another device with this name.
      if (errno !== exists || known.get(name) !== device) {
        const to = isContainer ? programs.toContainer : programs.toTunnel;
        check(name, session.tell(putProgram(device, "out", to)));
        check(name, session.tell(putProgram(device, "in", programs.arriving)));
      }
      now.set(name, device);
    }
    return { programs, known: now };
  } finally {
    session.close();
  }
}

/** A device that went meanwhile needs none. */
function check(name: string, { errno, words }: Acknowledgement): void {
  if (errno === 0 || errno === noDevice) return;
  throw new Error(`the kernel puts no program at ${name}: error ${errno} ${words}`.trim());
}
