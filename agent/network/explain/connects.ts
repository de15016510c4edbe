/**
 * What the programs at `connect` have otherwise than planned: compares where they lead the service addresses of containers
 * with the plan. Pure.
 */
import type { ConnectLook } from "../connect/connect-hooks.ts";
import { ledBy } from "../connect/entries.ts";
import { hostSpace } from "../model.ts";
import type { SlotsByAddress } from "../nft/slots.ts";
import type { WantedTable } from "../node-rules.ts";
import { canonical } from "../pools.ts";
import type { Comparison } from "./differences.ts";
import { leadDifferences } from "./tables.ts";

/** What was compared of one namespace. */
export interface ConnectComparison extends Comparison {
  readonly space: string;
}

/**
 * The programs themselves, and what they know of the containers that have these tables.
 *
 * @param look Undefined while rules lead every connection: then there is nothing to compare.
 * @param fileOf File that keeps a namespace.
 */
export function compareConnects(
  tables: readonly Pick<WantedTable, "space" | "slots">[],
  look: ConnectLook | undefined,
  fileOf: (space: string) => string | undefined,
): ConnectComparison[] {
  if (look === undefined) return [];
  const missing = look.links - look.linked;
  const what = `${missing} of ${look.links} programs that lead connections to service addresses are taken away`;
  const own = { compared: look.links, differences: missing > 0 ? [what] : [] };
  return [
    { space: hostSpace, ...own },
    ...tables.flatMap(({ space, slots }) => {
      // Without one the kernel has no room for it, or it comes just now: rules lead.
      const cookie = look.cookies.get(fileOf(space) ?? "");
      if (slots === undefined || cookie === undefined) return [];
      return [{ space, ...compareOne(slots, look, cookie) }];
    }),
  ];
}

function compareOne(slots: SlotsByAddress, look: ConnectLook, cookie: Uint8Array): Comparison {
  const wanted = new Map(
    [...slots].map(([address, { places }]) => [canonical(address), new Set(places.map(canonical))]),
  );
  const size = [...wanted.values()].reduce((sum, backends) => sum + backends.size, 1);
  const led = ledBy(look, cookie);
  const texts =
    led === undefined ? ["they do not know the container"] : leadDifferences(wanted, led);
  return { compared: size, differences: texts.map((text) => `programs at connect: ${text}`) };
}
