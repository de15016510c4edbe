/**
 * Gives the programs of shortcuts, and their maps, to the kernel.
 */
import { release } from "node:os";
import type { Step } from "../bpf/assembler.ts";
import { close, loadProgram, makeMap } from "../bpf/calls.ts";
import * as streams from "../bypass/programs.ts";
import * as frames from "./programs.ts";
import type { Programs, ShortcutKind } from "./request.ts";

/** BPF_PROG_TYPE_SCHED_CLS. */
const classifier = 3;
const kinds = { frames, streams } as const;

/** Programs with maps of their own. @throws Error where the kernel takes none. */
export function loadPrograms(kind: ShortcutKind): Programs {
  const { maps, arriving, leaving } = kinds[kind];
  const opened: number[] = [];
  try {
    const descriptors: Record<string, number> = {};
    for (const [name, shape] of Object.entries(maps)) {
      descriptors[name] = makeMap(name, shape);
      opened.push(descriptors[name]);
    }
    const load = (name: string, steps: readonly Step[]) => {
      const descriptor = loadProgram({ name, type: classifier, steps }, descriptors);
      opened.push(descriptor);
      return descriptor;
    };
    const programs = {
      arriving: load("arriving", arriving()),
      toContainer: load("to_container", leaving(frames.countsJumps(release()))),
      toTunnel: load("to_tunnel", leaving(false)),
    };
    const { changes, ...others } = descriptors;
    // Programs hold their maps.
    for (const descriptor of Object.values(others)) close(descriptor);
    return { ...programs, ...(changes === undefined ? {} : { changes }) };
  } catch (error) {
    for (const descriptor of opened) close(descriptor);
    throw error;
  }
}
