/**
 * One history: a group, its clients and its nemesis, from one seed, with all checks.
 */
import { checkHistory, type Operation } from "./check/linearizability.ts";
import { Violation } from "./check/violation.ts";
import { Client } from "./client.ts";
import { finish } from "./ending.ts";
import type { Fault } from "./faults.ts";
import { Nemesis } from "./nemesis.ts";
import { Operator } from "./operator.ts";
import { runUntil, type Stage } from "./stage.ts";
import { VirtualLoop } from "./virtual-time.ts";
import { World } from "./world.ts";

/** Least size of a history. */
export const eventsMin = 20_000;
/** Least number of operations of clients in a history. */
export const operationsMin = 200;
/** A history that needs more events than this for its operations is ended. */
const eventsMax = 200_000;

/** What became of a history. */
export interface HistoryResult {
  readonly seed: number;
  readonly violation: Violation | undefined;
  readonly events: number;
  readonly operations: number;
  /** Operations whose outcome no client learnt. */
  readonly unknown: number;
  readonly leaderChanges: number;
  readonly faults: ReadonlyMap<Fault, number>;
  /** Whether the search for a linearization was given up. */
  readonly undecided: boolean;
  /** Virtual time, in microseconds. */
  readonly time: number;
  /** The group as it was at a violation. */
  readonly group: string;
}

/** Runs the history of a seed. */
export async function runHistory(seed: number): Promise<HistoryResult> {
  const world = new World(seed);
  const loop = new VirtualLoop(world.queue);
  loop.install();
  world.observer.install();
  const operations: Operation[] = [];
  let undecided = false;
  try {
    await live({ world, loop, operations });
    undecided = checkOperations(operations);
  } catch (error) {
    world.violate(
      error instanceof Violation
        ? error
        : new Violation("assertion", error instanceof Error ? error.message : String(error), {
            cause: error,
          }),
    );
  } finally {
    world.observer.restore();
    loop.restore();
  }
  return {
    seed,
    violation: world.violation,
    events: world.queue.count,
    operations: operations.length,
    unknown: operations.filter(({ end }) => end === Number.POSITIVE_INFINITY).length,
    leaderChanges: world.safety.leaderChanges,
    faults: world.faults.counts,
    undecided,
    time: world.queue.now,
    group: world.violation === undefined ? "" : world.describe(),
  };
}

async function live(stage: Stage): Promise<void> {
  const { world, operations } = stage;
  let value = 0;
  const workload = { world, operations, nextValue: () => ++value };
  const clients = Array.from(
    { length: world.parameters.clients },
    (_, number) => new Client(workload, number),
  );
  const nemesis = new Nemesis(world);
  const operator = new Operator(world);
  world.bootstrap();
  operator.start();
  clients[0]?.setUp(() => {
    for (const client of clients) client.start();
    nemesis.start();
  });
  await runUntil(stage, () => {
    const { count } = world.queue;
    return (count >= eventsMin && operations.length >= operationsMin) || count >= eventsMax;
  });
  await finish(stage, { clients, nemesis, operator });
}

function checkOperations(operations: readonly Operation[]): boolean {
  const { verdict, key } = checkHistory(operations);
  if (verdict === "violation") {
    throw new Violation("linearizability", `no order explains what clients saw of key ${key}`);
  }
  return verdict === "undecided";
}
