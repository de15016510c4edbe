/**
 * Which networks run out of addresses: the level is stored with the network, where every manager sees it. Pure.
 */
import type { AllocationBook, NetworkPage } from "./book.ts";

/** Percent of taken addresses that are told, highest first. */
const levels = [100, 90, 75] as const;
/** A level is left when there are so much less, percent: else each task that comes and goes would be told. */
const slack = 5;

/** A network whose level is another than the stored one. */
export interface FullnessChange {
  readonly id: string;
  readonly name: string;
  readonly level: number;
  readonly before: number;
}

/** All of them. */
export function fullnessChanges(book: AllocationBook): FullnessChange[] {
  const changes: FullnessChange[] = [];
  for (const page of book.pages()) {
    const { id, spec, fullness: before } = page.network;
    const level = levelOf(countOf(page), before);
    if (level !== before) {
      changes.push({ id, name: spec?.annotations?.name ?? id, level, before });
    }
  }
  return changes;
}

/** The level of a network that had one before; 0 for none. */
export function levelOf(
  { taken, size }: { readonly taken: number; readonly size: number },
  before: number,
): number {
  if (size === 0) return 0;
  const percent = (100 * taken) / size;
  const level = levels.find((one) => percent >= one) ?? 0;
  return level < before && percent >= before - slack ? before : level;
}

/** IPv4 only: the others do not run out. */
function countOf({ subnets }: NetworkPage): { readonly taken: number; readonly size: number } {
  let [taken, size] = [0, 0];
  for (const subnet of subnets) {
    if (subnet.prefix.family !== 4) continue;
    taken += subnet.taken;
    size += subnet.size;
  }
  return { taken, size };
}
