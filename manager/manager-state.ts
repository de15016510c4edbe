/**
 * The state of a manager before anything runs: its data keys, and its tables filled from the sealed checkpoint.
 *
 * Opened by `src/node` ahead of the manager, because a node whose certificate ran out takes the CA key from here: no quorum
 * is needed to form the quorum.
 */
import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../src/common/clock/clock.ts";
import { ClusterError } from "../src/common/errors/cluster-error.ts";
import type { Standing, TlsMaterial } from "../src/common/identity/types.ts";
import { unlockKeyFromText, unlockKeyToText } from "../src/common/identity/unlock-key.ts";
import type { Log } from "../src/common/log/log.ts";
import type { Random } from "../src/common/random/random.ts";
import type { DataKeys } from "../src/common/seal/data-keys.ts";
import { type KeyRingSealer, newSealer } from "../src/common/seal/sealer.ts";
import { nodeTombstoneId } from "./ca/ports.ts";
import { selfIssue } from "./ca/signer.ts";
import { unlockKeyOf } from "./keymanager/decide.ts";
import { createKeyRing, type KeyRing, keysFileState, openKeyRing } from "./keymanager/keys.ts";
import { holdsLog } from "./raft/log-swap.ts";
import { type Checkpointer, type Found, openCheckpointer } from "./state/checkpoint.ts";
import { Store } from "./state/store.ts";

/** Where and how to open. */
export interface ManagerStateOptions {
  /** `<data>/raft`. */
  readonly folder: string;
  /** The sealed data keys, outside the folder: they seal the key of the node's certificate, too. */
  readonly keysPath: string;
  /** 32 bytes of the node itself. */
  readonly nodeKey: Uint8Array;
  /** Text of the unlock key; needed when the state is locked, and for a new one that starts out locked. */
  readonly unlockKey?: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Whether the node is a manager by its keys file, and whether it takes the unlock key to open its state. */
export function managerStateKind(keysPath: string): "absent" | "open" | "locked" {
  return keysFileState(keysPath);
}

/** Whether the folder holds a Raft log, so that the member it belongs to can go on. */
export function hasRaftLog(folder: string): boolean {
  return holdsLog(folder);
}

/** Removes all manager state, the keys last. */
export async function removeManagerState(
  o: Pick<ManagerStateOptions, "folder" | "keysPath">,
): Promise<void> {
  await rm(o.folder, { recursive: true, force: true });
  await rm(o.keysPath, { force: true });
}

/** Open tables with their checkpoint and keys. */
export class ManagerState {
  readonly store: Store;
  readonly ring: KeyRing;
  readonly checkpointer: Checkpointer;
  /** What the checkpoint held; a damaged one means that the state comes from the other managers. */
  readonly found: Found;
  /** Told of the index up to which the checkpoint is durable. */
  onDurable: (index: number) => void = () => {};
  readonly #sealer: KeyRingSealer;
  readonly #options: ManagerStateOptions;
  #isClosed = false;

  /**
   * Opens, or makes where there is nothing.
   *
   * @throws ClusterError invalid-argument for a wrong unlock key, failed-precondition when one is needed, unavailable when
   *   another process has the checkpoint open, unimplemented for a newer format, internal for a damaged keys file.
   */
  static async open(options: ManagerStateOptions): Promise<ManagerState> {
    const { folder, clock, random, log } = options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    mkdirSync(dirname(options.keysPath), { recursive: true, mode: 0o700 });
    const ring = openRing(options);
    const store = new Store({ clock, random, log });
    const sealer = newSealer({ keys: ring.dataKeys(), label: "checkpoint", random });
    const holder: { state?: ManagerState } = {};
    const { checkpointer, found } = await openCheckpointer({
      dir: join(folder, "state"),
      sealer,
      store,
      clock,
      log,
      onDurable: (index) => holder.state?.onDurable(index),
    });
    if (found.state === "damaged") log.error("checkpoint damaged", { err: found.error });
    const state = new ManagerState({ options, store, ring, sealer, checkpointer, found });
    holder.state = state;
    return state;
  }

  private constructor(parts: {
    readonly options: ManagerStateOptions;
    readonly store: Store;
    readonly ring: KeyRing;
    readonly sealer: KeyRingSealer;
    readonly checkpointer: Checkpointer;
    readonly found: Found;
  }) {
    this.#options = parts.options;
    this.store = parts.store;
    this.ring = parts.ring;
    this.checkpointer = parts.checkpointer;
    this.found = parts.found;
    this.#sealer = parts.sealer;
  }

  /** From now on seals the checkpoint with the new current data key. */
  async rotateKeys(keys: DataKeys): Promise<void> {
    this.#sealer.rotate(keys);
    await this.checkpointer.rewrite();
  }

  /**
   * A new certificate for the node itself, signed with the CA key of the checkpoint.
   *
   * @throws ClusterError failed-precondition when the checkpoint has no CA key, or the node is no manager in it.
   */
  selfIssue(nodeId: string, present: TlsMaterial): TlsMaterial {
    const view = this.store.view();
    const [cluster] = view.list("cluster");
    if (cluster === undefined) {
      throw new ClusterError(
        "failed-precondition",
        "the certificate of this manager has expired, and its checkpoint has no cluster to renew it from",
      );
    }
    return selfIssue({
      cluster,
      node: view.get("node", nodeId),
      key: present.key,
      nowMs: this.#options.clock.now(),
      serial: this.#options.random.bytes(16),
    });
  }

  /** The unlock key as users copy it; empty while autolock is off. */
  unlockKeyText(): string {
    const [cluster] = this.store.view().list("cluster");
    const key = cluster === undefined ? undefined : unlockKeyOf(cluster);
    return key === undefined ? "" : unlockKeyToText(key);
  }

  /** Closes the checkpoint after a last write; safe to call twice. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.checkpointer.close();
  }
}

function openRing({ keysPath: path, nodeKey, unlockKey, random }: ManagerStateOptions): KeyRing {
  const sealing = {
    nodeKey,
    unlockKey: unlockKey === undefined ? undefined : unlockKeyFromText(unlockKey),
  };
  return keysFileState(path) === "absent"
    ? createKeyRing(path, sealing, random)
    : openKeyRing(path, sealing, random);
}

/** What the tables say of a node that calls. */
export function standingOf({ store }: ManagerState, nodeId: string): Standing {
  const view = store.view();
  if (view.get("tombstone", nodeTombstoneId(nodeId)) !== undefined) return "removed";
  return view.get("node", nodeId)?.role ?? "unknown";
}
