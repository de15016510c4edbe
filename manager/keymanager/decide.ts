/**
 * What autolock asks for: of the cluster object (on the leader), and of each manager's keys file. Pure.
 */
import { type Cluster, UnlockKey } from "../../src/common/api/generated/api.ts";

/** The subsystem whose unlock key managers use; the only one today. */
export const managerSubsystem = "manager";

/**
 * The unlock keys the cluster object should have, or undefined when it has them.
 *
 * Control makes and rotates the key in the same transaction that changes the spec; this repairs what got past it.
 *
 * @param newKey Makes 32 random bytes; called at most once.
 */
export function wantedUnlockKeys(
  cluster: Cluster,
  newKey: () => Uint8Array,
): readonly UnlockKey[] | undefined {
  const others = cluster.unlockKeys.filter((key) => key.subsystem !== managerSubsystem);
  const own = cluster.unlockKeys.find((key) => key.subsystem === managerSubsystem);
  const isOn = cluster.spec?.encryption?.autoLockManagers === true;
  if (isOn === (own !== undefined && own.key.length > 0)) return undefined;
  if (!isOn) return others;
  const key = UnlockKey.create({
    subsystem: managerSubsystem,
    key: newKey(),
    // Above every version before, also of a key that is gone: the object's own version only grows.
    version: cluster.meta?.version ?? 0,
  });
  return [...others, key];
}

/** The unlock key this manager's keys file should be sealed by; undefined with autolock off. */
export function unlockKeyOf(cluster: Cluster): Uint8Array | undefined {
  const own = cluster.unlockKeys.find((key) => key.subsystem === managerSubsystem);
  return own === undefined || own.key.length === 0 ? undefined : own.key;
}

/** What a manager has to do about its keys file. */
export type KeysStep = "nothing" | "reseal" | "reseal-and-rotate";

/**
 * What to do when the cluster's unlock key is `wanted`.
 *
 * When locking begins, the data key changes too: the old one lay open beside what it sealed.
 */
export function keysStep(
  ring: { isLocked(): boolean; isSealedBy(key: Uint8Array | undefined): boolean },
  wanted: Uint8Array | undefined,
): KeysStep {
  if (ring.isSealedBy(wanted)) return "nothing";
  return wanted !== undefined && !ring.isLocked() ? "reseal-and-rotate" : "reseal";
}
