/**
 * Makes snapshots that can be written to, on any containerd that was killed before.
 */
import { errorText } from "../errors/cluster-error.ts";
import type { ContainerdCallOptions, ContainerdClient } from "./client.ts";
import {
  type SnapshotMountsResponse,
  type SnapshotPrepareRequest,
  SnapshotsService,
} from "./generated/protocol.ts";

/** A folder in the way is one of one kill; more than one kill in so short a time is something else. */
const attemptsMax = 3;

/**
 * `SnapshotsService.prepare`. A containerd that is killed in it may leave a folder under the number that the next snapshot
 * gets. containerd 1.6 fails on that folder once, and takes it away as it does.
 */
export async function prepareSnapshot(
  client: ContainerdClient,
  request: Partial<SnapshotPrepareRequest>,
  options: ContainerdCallOptions = {},
): Promise<SnapshotMountsResponse> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await client.call(SnapshotsService.prepare, request, options);
    } catch (error) {
      const isInTheWay = /failed to rename: .*: file exists$/.test(errorText(error));
      if (!isInTheWay || attempt === attemptsMax) throw error;
    }
  }
}
