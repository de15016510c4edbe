/**
 * Messages that put a program where frames come in and leave at a device, and take it away (linux/pkt_sched.h, pkt_cls.h). Pure.
 */
import {
  attributesIn,
  message,
  messageFlags,
  nested,
  type Received,
  text,
  textIn,
  word,
} from "./message.ts";

const types = { newQueue: 36, deleteQueue: 37, newFilter: 44, deleteFilter: 45, listFilters: 46 };
/** Of the queue that holds such programs, `clsact`; it delays nothing. */
const queue = { handle: 0xffff_0000, parent: 0xffff_fff1 } as const;
/** Where frames come in, or leave. */
export const sides = { in: 0xffff_fff2, out: 0xffff_fff3 } as const;
/** Ours is asked after those of others, which may decide; for all protocols, in network order. */
const information = ((0xc000 << 16) | 0x0300) >>> 0;
const name = "skep";
/** Bytes of `struct tcmsg`. */
const bodyBytes = 20;
const ofQueue = { kind: 1, options: 2 } as const;
const ofProgram = { descriptor: 6, name: 7, flags: 8 } as const;
/** A side of a device. */
export type Side = keyof typeof sides;
/** The program itself says what becomes of a frame. */
const decides = 1;

/** Makes room for programs; the kernel says that it exists (17) where there is. @param device Its number. */
export function roomForPrograms(device: number): Buffer {
  const { acknowledge, create, exclusive } = messageFlags;
  const header = body({ device, handle: queue.handle, parent: queue.parent, information: 0 });
  const flags = acknowledge | create | exclusive;
  return message(types.newQueue, flags, header, text(ofQueue.kind, "clsact"));
}

/** Removes the room with all programs in it. @param device Its number. */
export function removeRoom(device: number): Buffer {
  const header = body({ device, handle: queue.handle, parent: queue.parent, information: 0 });
  return message(types.deleteQueue, messageFlags.acknowledge, header);
}

/** Asks for the programs of one side, ours and others. @param device Its number. */
export function listPrograms(device: number, side: Side): Buffer {
  const header = body({ device, handle: 0, parent: sides[side], information: 0 });
  return message(types.listFilters, messageFlags.dump, header);
}

/** Whether programs that were listed are ours; what is listed beside programs is left out. */
export function areOurs(listed: readonly Received[]): boolean[] {
  const programs = listed.filter(({ body }) => body.readUInt32LE(8) !== 0);
  return programs.map(({ body }) => {
    const options = attributesIn(body.subarray(bodyBytes)).get(ofQueue.options);
    const isOurPlace = body.readUInt32LE(16) >>> 16 === information >>> 16;
    return isOurPlace && textIn(attributesIn(options).get(ofProgram.name)) === name;
  });
}

/** Takes our program away. @param device Its number. */
export function removeProgram(device: number, side: Side): Buffer {
  const header = body({ device, handle: 1, parent: sides[side], information });
  return message(types.deleteFilter, messageFlags.acknowledge, header, text(ofQueue.kind, "bpf"));
}

/** Puts a program in the place of the one that was there. @param descriptor Of the program. */
export function putProgram(device: number, side: Side, descriptor: number): Buffer {
  const { acknowledge, create, replace } = messageFlags;
  return message(
    types.newFilter,
    acknowledge | create | replace,
    body({ device, handle: 1, parent: sides[side], information }),
    text(ofQueue.kind, "bpf"),
    nested(
      ofQueue.options,
      word(ofProgram.descriptor, descriptor),
      text(ofProgram.name, name),
      word(ofProgram.flags, decides),
    ),
  );
}

/** `struct tcmsg`. */
function body(o: {
  readonly device: number;
  readonly handle: number;
  readonly parent: number;
  readonly information: number;
}): Buffer {
  const bytes = Buffer.alloc(bodyBytes);
  bytes.writeInt32LE(o.device, 4);
  bytes.writeUInt32LE(o.handle >>> 0, 8);
  bytes.writeUInt32LE(o.parent >>> 0, 12);
  bytes.writeUInt32LE(o.information >>> 0, 16);
  return bytes;
}
