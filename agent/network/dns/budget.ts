/**
 * How often a container may ask: so many times a second, saved up for one second.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import { nameQueriesPerSecondMax } from "../../../src/common/limits/names.ts";

interface Account {
  left: number;
  atMs: number;
}

/** Containers whose accounts are kept; with more of them all begin anew. */
const accountsMax = 4096;

/** The budgets of all containers of a node. */
export class Budget {
  readonly #clock: Clock;
  readonly #accounts = new Map<string, Account>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether there is something left; takes one. */
  take(containerId: string): boolean {
    const now = this.#clock.monotonic();
    let account = this.#accounts.get(containerId);
    if (account === undefined) {
      if (this.#accounts.size >= accountsMax) this.#accounts.clear();
      account = { left: nameQueriesPerSecondMax, atMs: now };
      this.#accounts.set(containerId, account);
    }
    const earned = ((now - account.atMs) / 1000) * nameQueriesPerSecondMax;
    account.left = Math.min(nameQueriesPerSecondMax, account.left + earned);
    account.atMs = now;
    if (account.left < 1) return false;
    account.left--;
    return true;
  }
}
