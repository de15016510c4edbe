/**
 * Images of a containerd of a test's own, and what a test asks of them.
 */
import { deepEqual } from "node:assert/strict";
import { ContentStore } from "../../agent/images/content.ts";
import { NodeImages } from "../../agent/images/node-images.ts";
import { systemClock } from "../../src/common/clock/clock.ts";
import type { PullRequest } from "../../src/common/container/images.ts";
import { type ContainerdClient, snapshotterName } from "../../src/common/containerd/client.ts";
import {
  ContentService,
  LeasesService,
  SnapshotsService,
} from "../../src/common/containerd/generated/protocol.ts";
import { silentLog } from "../../src/common/log/log.ts";
import { parsePlatform } from "../../src/common/platform/match.ts";
import { systemRandom } from "../../src/common/random/random.ts";
import { Registry } from "../../src/common/registry/registry.ts";
import { loopbackRanges } from "../../src/common/registry/settings.ts";
import { until } from "./wait.ts";

/** A client of registries that trusts what is on loopback only. */
export function loopbackRegistry(): Registry {
  return new Registry({
    settings: { insecure: loopbackRanges, mirrors: [] },
    trust: { systemFiles: [], certsFolders: [] },
    environment: {},
    clock: systemClock,
  });
}

/** Images of a node of one platform. */
export function imagesOf(
  client: ContainerdClient,
  platform: string,
  clock = systemClock,
): NodeImages {
  return new NodeImages({
    ...{ client, clock, random: systemRandom, log: silentLog, registry: loopbackRegistry() },
    platforms: () => [parsePlatform(platform)],
  });
}

/** The content store by itself. */
export function contentOf(client: ContainerdClient): ContentStore {
  return new ContentStore(client, systemClock);
}

/** A pull that nobody stops or listens to. */
export function pullOf(reference: string, more: Partial<PullRequest> = {}): PullRequest {
  return {
    ...{ reference, platform: undefined, auth: undefined },
    ...{ onProgress: () => {}, signal: new AbortController().signal, ...more },
  };
}

/** Leases, writes that are not committed, and snapshots under way. */
export async function leftovers(client: ContainerdClient): Promise<string[]> {
  const { leases } = await client.call(LeasesService.list, {});
  const { statuses } = await client.call(ContentService.listStatuses, {});
  const found = [...leases.map(({ id }) => id), ...statuses.map(({ ref }) => ref)];
  const request = { snapshotter: snapshotterName };
  for await (const { info } of client.list(SnapshotsService.list, request)) {
    for (const { kind, name } of info) if (kind !== "committed") found.push(name);
  }
  return found;
}

/** Waits until containerd's collector has taken what nothing needs. */
export async function untilClean(client: ContainerdClient): Promise<void> {
  let left: string[] = [];
  const isClean = async () => {
    left = await leftovers(client);
    return left.length === 0;
  };
  await until(isClean, { withinMs: 5_000, what: "nothing is left" }).catch(() =>
    deepEqual(left, []),
  );
}
