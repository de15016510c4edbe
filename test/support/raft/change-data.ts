/**
 * Configuration changes as scenario files write them (`v1 l2 r3 u4`), and as data of entries in tests.
 *
 * The data is text: kind of entry, transition, steps, separated by bars. Empty data leaves the joint phase, as for the
 * daemon's own encoding.
 */
import type { ConfChange, ConfChangeStep } from "../../../manager/raft/core/types.ts";

type Transition = ConfChange["transition"];

const kinds: Record<string, ConfChangeStep["kind"]> = {
  v: "add-voter",
  l: "add-learner",
  r: "remove",
  u: "update",
};

/** Parses steps separated by spaces. @throws Error on a step it does not know. */
export function parseSteps(text: string): ConfChangeStep[] {
  return text
    .split(/\s+/)
    .filter((word) => word !== "")
    .map((word) => {
      const kind = kinds[word.slice(0, 1)];
      if (kind === undefined) throw new Error(`unknown step ${word}`);
      return { kind, id: Number(word.slice(1)) };
    });
}

/** Encodes a change; `single` marks the older kind of entry, which holds exactly one step. */
export function encodeChange(steps: string, transition: Transition, single = false): Uint8Array {
  if (steps === "" && transition === "auto") return new Uint8Array(0);
  return new TextEncoder().encode([single ? "single" : "many", transition, steps].join("|"));
}

/** Decodes what `encodeChange` made. */
export function decodeChange(data: Uint8Array): ConfChange {
  const [, transition = "auto", steps = ""] = Buffer.from(data).toString("utf8").split("|");
  return { transition: transition as Transition, steps: parseSteps(steps) };
}

/** The parts of an encoded change that are shown. */
export function changeText(data: Uint8Array): { single: boolean; steps: string } {
  const [kind, , steps = ""] = Buffer.from(data).toString("utf8").split("|");
  return { single: kind === "single", steps };
}
