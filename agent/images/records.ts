/**
 * The names of images: containerd's image records, each a name and the manifest or index it stands for.
 *
 * A record is named by a complete reference with a tag (`docker.io/library/busybox:1`) or a digest, or, for an image that has
 * lost its last name and is to stay, by `skep-dangling@` and the digest.
 */
import type { ContainerdClient } from "../../src/common/containerd/client.ts";
import {
  Descriptor as ContainerdDescriptor,
  ImagesService,
} from "../../src/common/containerd/generated/protocol.ts";
import { hasCode } from "../../src/common/errors/cluster-error.ts";
import type { Descriptor } from "../../src/common/registry/manifest.ts";
import { familiarText, parseReference } from "../../src/common/registry/reference.ts";

/** What a name points at. */
export type Target = Pick<Descriptor, "mediaType" | "digest" | "sizeBytes">;

/** One name. */
export interface NameRecord {
  readonly name: string;
  readonly target: Target;
  readonly createdAtMs: number;
  /** When the name last got another target. */
  readonly updatedAtMs: number;
}

const danglingPrefix = "skep-dangling@";

/** Name of an image that has none. */
export function danglingName(digest: string): string {
  return `${danglingPrefix}${digest}`;
}

/** What kind of name a record's is. */
export function kindOfName(name: string): "tag" | "digest" | "dangling" {
  if (name.startsWith(danglingPrefix)) return "dangling";
  return name.includes("@") ? "digest" : "tag";
}

/** A record's name as Docker shows it. */
export function shownName(name: string): string {
  return kindOfName(name) === "dangling" ? "<none>:<none>" : familiarText(parseReference(name));
}

/** All names, the oldest first. */
export async function allRecords(client: ContainerdClient): Promise<readonly NameRecord[]> {
  const { images } = await client.call(ImagesService.list, {});
  return images
    .flatMap(({ name, target, createdAt, updatedAt }) => {
      if (target === undefined) return [];
      const { mediaType, digest, size: sizeBytes } = target;
      const at = { mediaType, digest, sizeBytes };
      const [createdAtMs, updatedAtMs] = [msOf(createdAt), msOf(updatedAt)];
      return [{ name, target: at, createdAtMs, updatedAtMs }];
    })
    .sort((a, b) => a.createdAtMs - b.createdAtMs);
}

/** Makes a name stand for a target. */
export async function putRecord(
  client: ContainerdClient,
  name: string,
  target: Target,
): Promise<void> {
  const { mediaType, digest, sizeBytes: size } = target;
  const image = {
    name,
    labels: {},
    target: ContainerdDescriptor.create({ mediaType, digest, size }),
    createdAt: undefined,
    updatedAt: undefined,
  };
  try {
    await client.call(ImagesService.create, { image });
  } catch (error) {
    if (!hasCode(error, "already-exists")) throw error;
    await client.call(ImagesService.update, { image, updateMask: { paths: ["target"] } });
  }
}

/** Takes a name away; with `sync` when the collector has been through. */
export async function deleteRecord(
  client: ContainerdClient,
  name: string,
  o: { readonly sync: boolean },
): Promise<void> {
  try {
    await client.call(ImagesService.delete, { name, sync: o.sync });
  } catch (error) {
    if (!hasCode(error, "not-found")) throw error;
  }
}

function msOf(time: { readonly seconds: number; readonly nanos: number } | undefined): number {
  return time === undefined ? 0 : time.seconds * 1000 + Math.floor(time.nanos / 1e6);
}
