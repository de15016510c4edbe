/**
 * Messages that put a program where frames come in and leave at a device (linux/pkt_sched.h, pkt_cls.h). Pure.
 */
import { message, messageFlags, nested, text, word } from "./message.ts";

const types = { newQueue: 36, newFilter: 44 } as const;
/** Of the queue that holds such programs, `clsact`; it delays nothing. */
const queue = { handle: 0xffff_0000, parent: 0xffff_fff1 } as const;
const sides = { in: 0xffff_fff2, out: 0xffff_fff3 } as const;
/** Ours is asked after those of others, which may decide; for all protocols, in network order. */
const information = ((0xc000 << 16) | 0x0300) >>> 0;
const ofQueue = { kind: 1, options: 2 } as const;
const ofProgram = { descriptor: 6, name: 7, flags: 8 } as const;
/** The program itself says what becomes of a frame. */
const decides = 1;

/** Makes room for programs; the kernel says that it exists (17) where there is. @param device Its number. */
export function roomForPrograms(device: number): Buffer {
  const { acknowledge, create, exclusive } = messageFlags;
  const header = body({ device, handle: queue.handle, parent: queue.parent, information: 0 });
  const flags = acknowledge | create | exclusive;
  return message(types.newQueue, flags, header, text(ofQueue.kind, "clsact"));
}

/** Puts a program in the place of the one that was there. @param descriptor Of the program. */
export function putProgram(device: number, side: "in" | "out", descriptor: number): Buffer {
  const { acknowledge, create, replace } = messageFlags;
  return message(
    types.newFilter,
    acknowledge | create | replace,
    body({ device, handle: 1, parent: sides[side], information }),
    text(ofQueue.kind, "bpf"),
    nested(
      ofQueue.options,
      word(ofProgram.descriptor, descriptor),
      text(ofProgram.name, "skep"),
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
  const bytes = Buffer.alloc(20);
  bytes.writeInt32LE(o.device, 4);
  bytes.writeUInt32LE(o.handle >>> 0, 8);
  bytes.writeUInt32LE(o.parent >>> 0, 12);
  bytes.writeUInt32LE(o.information >>> 0, 16);
  return bytes;
}
