/**
 * Which manager an agent tries next. Pure.
 *
 * The node's own manager comes first when there is one; among the others the choice is random, and one that failed lately
 * is tried again only when all have failed.
 */

/** A manager the agent knows. */
export interface KnownManager {
  readonly nodeId: string;
  readonly address: string;
}

/** What the choice depends on. */
export interface ManagerChoice {
  readonly managers: readonly KnownManager[];
  /** The node's own id; its own manager is preferred unless it failed. */
  readonly ownNodeId: string;
  /** Addresses that failed since the last success. */
  readonly failed: ReadonlySet<string>;
  /** In [0, 1). */
  readonly random: number;
}

/** The manager to try; undefined when none is known. */
export function chooseManager(choice: ManagerChoice): KnownManager | undefined {
  const { managers, failed, random } = choice;
  const fresh = managers.filter((m) => !failed.has(m.address));
  const own = fresh.find((m) => m.nodeId === choice.ownNodeId);
  if (own !== undefined) return own;
  const candidates = fresh.length > 0 ? fresh : managers;
  return candidates[Math.floor(random * candidates.length)];
}

/**
 * Pause before the next try, in milliseconds: doubles from 100 ms to 2 s, spread over the upper half.
 *
 * Not Docker's 8 s: with the time of a try that began before the way was free again, what a node knows of names and
 * backends is right within 5 s after a cut.
 */
export function retryDelayMs(failures: number, random: number): number {
  const full = Math.min(2000, 100 * 2 ** Math.min(failures, 10));
  return full / 2 + (full / 2) * random;
}

/** Milliseconds until the next heartbeat: the period less up to a tenth, so that agents do not beat together. */
export function heartbeatDelayMs(periodMs: number, random: number): number {
  return periodMs * (1 - 0.1 * random);
}
