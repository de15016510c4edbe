/**
 * The ring of data keys: what entries, checkpoints and snapshots are sealed with.
 *
 * Made and kept by `manager/keymanager` (sealed by the node key, and by the unlock key under autolock); handed to the
 * store's checkpoint and to the Raft worker. New values are sealed with the current key, older keys only open.
 */
import { ClusterError } from "../errors/cluster-error.ts";

/** Bytes of a data key: AES-256. */
export const dataKeyBytes = 32;

/** Several data keys by id (1 to 2^32 - 1) and which of them seals. Structured-clonable, so it can go to a worker. */
export interface DataKeys {
  readonly currentId: number;
  readonly keys: ReadonlyMap<number, Uint8Array>;
}

/**
 * The bytes of one key of the ring.
 *
 * @throws ClusterError failed-precondition when the ring has no such key.
 */
export function dataKey(ring: DataKeys, id: number): Uint8Array {
  const key = ring.keys.get(id);
  if (key === undefined) {
    throw new ClusterError("failed-precondition", `data key ${id} is not in the key ring`, {
      fields: { "key.id": id },
    });
  }
  if (key.length !== dataKeyBytes) {
    throw new ClusterError("internal", `data key ${id} is not ${dataKeyBytes} bytes long`);
  }
  return key;
}
