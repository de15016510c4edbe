/**
 * Gives the programs of bridges' ports, and their maps, to the kernel.
 */
import { release } from "node:os";
import type { Step } from "../bpf/assembler.ts";
import { close, loadProgram, makeMap } from "../bpf/calls.ts";
import { arriving, countsJumps, leaving, maps } from "./programs.ts";
import type { Programs } from "./request.ts";

/** BPF_PROG_TYPE_SCHED_CLS. */
const classifier = 3;

/** Programs with maps of their own. @throws Error where the kernel takes none. */
export function loadPrograms(): Programs {
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
      toContainer: load("to_container", leaving(countsJumps(release()))),
      toTunnel: load("to_tunnel", leaving(false)),
    };
    // Programs hold their maps.
    for (const descriptor of Object.values(descriptors)) close(descriptor);
    return programs;
  } catch (error) {
    for (const descriptor of opened) close(descriptor);
    throw error;
  }
}
