/**
 * Images of a containerd of a test's own, and what a test asks of them.
 */
import { deepEqual } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
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
import { mediaTypes } from "../../src/common/registry/manifest.ts";
import { Registry } from "../../src/common/registry/registry.ts";
import { digestOf } from "../../src/common/registry/repository.ts";
import { loopbackRanges } from "../../src/common/registry/settings.ts";
import type { FakeRegistry } from "./fake-registry.ts";
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
  await until(isClean, { withinMs: 60_000, what: "nothing is left" }).catch(() =>
    deepEqual(left, []),
  );
}

/**
 * Puts an image for amd64 into the registry, tagged `1`, of one layer that cannot be compressed. Resolves with the layer's
 * digest.
 */
export async function noiseImage(
  fake: FakeRegistry,
  o: { readonly bytes: number },
): Promise<string> {
  const tar = pack();
  tar.entry({ name: "noise" }, randomBytes(o.bytes));
  tar.finalize();
  const pieces: Uint8Array[] = [];
  for await (const piece of tar) pieces.push(piece as Uint8Array);
  const plain = Buffer.concat(pieces);
  const body = gzipSync(plain, { level: 1 });
  const layer = fake.put(body);
  const config = JSON.stringify({
    ...{ architecture: "amd64", os: "linux", config: {} },
    rootfs: { type: "layers", diff_ids: [digestOf(plain)] },
  });
  const { dockerManifest, dockerConfig, dockerLayerGzip } = mediaTypes;
  const manifest = fake.put(
    {
      ...{ schemaVersion: 2, mediaType: dockerManifest },
      config: { mediaType: dockerConfig, digest: fake.put(config), size: config.length },
      layers: [{ mediaType: dockerLayerGzip, digest: layer, size: body.length }],
    },
    dockerManifest,
  );
  fake.name("1", manifest);
  return layer;
}
