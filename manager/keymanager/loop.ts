/**
 * Keeps unlock keys and keys files in line with autolock.
 *
 * `UnlockKeyLoop` runs on the leader and keeps the cluster object's unlock keys as its spec asks. `KeysFileLoop` runs on every
 * manager and seals its keys file anew when the cluster's unlock key changes. Both look whenever `changed` is called (the
 * cluster object changed) and again after a pause when something failed.
 */
import { Cluster } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import { unlockKeyBytes } from "../../src/common/identity/unlock-key.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { DataKeys } from "../../src/common/seal/data-keys.ts";
import { keysStep, unlockKeyOf, wantedUnlockKeys } from "./decide.ts";
import type { KeyRing } from "./keys.ts";

/** Pause before a failed step is tried again, milliseconds. */
const retryMs = 5_000;

/** The part of the store these loops use. */
export interface ClusterStore {
  view(): { list(table: "cluster"): Iterable<Cluster> };
  update<R>(
    decide: (tx: {
      list(table: "cluster"): Iterable<Cluster>;
      update(table: "cluster", cluster: Cluster): void;
    }) => R,
    options?: { readonly term?: number; readonly signal?: AbortSignal },
  ): Promise<R>;
}

interface Tools {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Waits to be told of a change. */
class Bell {
  #ring: (() => void) | undefined;
  #rung = true;

  ring(): void {
    this.#rung = true;
    this.#ring?.();
  }

  /** Resolves at the next ring (at once when it rang since the last wait), or when the signal aborts. */
  async wait(signal: AbortSignal): Promise<void> {
    if (!this.#rung && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#ring = undefined;
          signal.removeEventListener("abort", wake);
          resolve();
        };
        this.#ring = wake;
        signal.addEventListener("abort", wake, { once: true });
      });
    }
    this.#rung = false;
  }
}

/** The leader's loop; one for each leadership. */
export class UnlockKeyLoop {
  readonly #store: ClusterStore;
  readonly #term: number;
  readonly #tools: Tools;
  readonly #bell = new Bell();

  constructor(store: ClusterStore, term: number, tools: Tools) {
    this.#store = store;
    this.#term = term;
    this.#tools = tools;
  }

  /** The cluster object changed. */
  changed(): void {
    this.#bell.ring();
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await repeat(this.#bell, signal, this.#tools, () => this.#look(signal));
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { random, log } = this.#tools;
    const newKey = () => random.bytes(unlockKeyBytes);
    const [cluster] = this.#store.view().list("cluster");
    if (cluster === undefined || wantedUnlockKeys(cluster, newKey) === undefined) return;
    await this.#store.update(
      (tx) => {
        const [now] = tx.list("cluster");
        const unlockKeys = now && wantedUnlockKeys(now, newKey);
        if (unlockKeys !== undefined) tx.update("cluster", Cluster.create({ ...now, unlockKeys }));
      },
      { term: this.#term, signal },
    );
    log.info("unlock keys brought in line with autolock");
  }
}

/** The loop of every manager. */
export class KeysFileLoop {
  readonly #store: ClusterStore;
  readonly #ring: KeyRing;
  readonly #rotateKeys: (keys: DataKeys) => Promise<void>;
  readonly #tools: Tools;
  readonly #bell = new Bell();

  /**
   * @param rotateKeys Takes new data keys into use: the Raft host's and the checkpoint's sealers, and whatever else is sealed;
   *   when it resolves nothing at rest names an older one.
   */
  constructor(
    store: ClusterStore,
    ring: KeyRing,
    rotateKeys: (keys: DataKeys) => Promise<void>,
    tools: Tools,
  ) {
    this.#store = store;
    this.#ring = ring;
    this.#rotateKeys = rotateKeys;
    this.#tools = tools;
  }

  /** The cluster object changed. */
  changed(): void {
    this.#bell.ring();
  }

  /**
   * Runs until the signal aborts.
   *
   * @param upToDate Resolves once the store is no older than the file. The checkpoint a manager starts from may be: sealed
   *   after it, the file would go back to an unlock key that was replaced, or to none.
   */
  async run(signal: AbortSignal, upToDate: Promise<void>): Promise<void> {
    try {
      await upToDate;
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    await repeat(this.#bell, signal, this.#tools, () => this.#look());
  }

  async #look(): Promise<void> {
    const [cluster] = this.#store.view().list("cluster");
    if (cluster === undefined) return;
    const wanted = unlockKeyOf(cluster);
    const step = keysStep(this.#ring, wanted);
    if (step !== "nothing") {
      if (step === "reseal-and-rotate" && wanted !== undefined) {
        this.#ring.lockWithNewDataKey(wanted);
      } else this.#ring.setUnlockKey(wanted);
      this.#tools.log.info("keys file sealed anew", { locked: this.#ring.isLocked() });
    }
    // Older keys are in the file for as long as something may be sealed with them, also after a restart in between.
    const { currentId, keys } = this.#ring.dataKeys();
    const older = [...keys.keys()].filter((id) => id !== currentId);
    if (older.length === 0) return;
    await this.#rotateKeys(this.#ring.dataKeys());
    this.#ring.dropDataKeys(older);
    this.#tools.log.info("older data keys dropped", { count: older.length });
  }
}

/** Looks once at the start and at each ring; a failure is logged and tried again after a pause. */
async function repeat(
  bell: Bell,
  signal: AbortSignal,
  tools: Tools,
  look: () => Promise<void>,
): Promise<void> {
  for (;;) {
    await bell.wait(signal);
    if (signal.aborted) return;
    try {
      await look();
    } catch (error) {
      if (signal.aborted) return;
      tools.log.warn("unlock keys not in line yet", {
        component: "keymanager",
        err: errorText(error),
      });
      await tools.clock.sleep(retryMs, signal).catch(() => {
        // Aborted: the next look at the signal ends the loop.
      });
      bell.ring();
    }
  }
}
