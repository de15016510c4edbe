/**
 * A running history and its one way of passing time.
 */
import type { Operation } from "./check/linearizability.ts";
import type { VirtualLoop } from "./virtual-time.ts";
import type { World } from "./world.ts";

/** What a running history consists of. */
export interface Stage {
  readonly world: World;
  readonly loop: VirtualLoop;
  readonly operations: Operation[];
}

/** Lets virtual time pass until `done` says so. */
export async function runUntil({ world, loop }: Stage, done: () => boolean): Promise<void> {
  while (!done()) {
    if (!(await loop.step())) throw new Error("nothing is left to happen");
    if (world.violation !== undefined) throw world.violation;
  }
}
