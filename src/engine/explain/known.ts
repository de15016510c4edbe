/**
 * Everything an explanation is made from: the managers' tables, what nodes were to probe, and what they answered.
 */
import type { NodeLook, ProbeResult } from "../../common/container/data-path.ts";
import type { NodeAnswer } from "./ask.ts";
import type { PlannedName } from "./names.ts";
import type { Picture } from "./picture.ts";
import type { PlannedProbe } from "./probes.ts";

/** What is known. */
export interface Known {
  readonly picture: Picture;
  /** By node id; nodes that were not asked have none. */
  readonly answers: ReadonlyMap<string, NodeAnswer>;
  /** What each node was to probe. */
  readonly probes: ReadonlyMap<string, readonly PlannedProbe[]>;
  /** What each node was to ask its name server. */
  readonly names: ReadonlyMap<string, readonly PlannedName[]>;
}

/** A probe that was made. */
export interface MadeProbe {
  readonly planned: PlannedProbe;
  readonly result: ProbeResult;
}

/** What a node told; undefined when it did not answer. */
export function lookOf({ answers }: Pick<Known, "answers">, nodeId: string): NodeLook | undefined {
  const answer = answers.get(nodeId);
  return answer?.kind === "look" ? answer.look : undefined;
}

/** The probes a node made, with what they were for. */
export function madeProbes(known: Known, nodeId: string): MadeProbe[] {
  const results = lookOf(known, nodeId)?.probes ?? [];
  return (known.probes.get(nodeId) ?? []).flatMap((planned) => {
    const result = results.find(
      (one) =>
        one.from === planned.from &&
        one.networkId === planned.networkId &&
        one.address === planned.address &&
        one.port === planned.port,
    );
    return result === undefined ? [] : [{ planned, result }];
  });
}

/** Whether a probe did not come to what it should. */
export function isLost({ planned, result }: MadeProbe): boolean {
  if (result.outcome === "open" || result.outcome === "unmade") return false;
  return result.outcome === "refused" ? planned.mustListen : true;
}
