/**
 * An image with nothing but busybox, made without a registry: layer and snapshot are written into a test's containerd and
 * kept by a lease; `images` then knows that one image.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { pack } from "tar-stream";
import { chainId } from "../../agent/exec/containerd/creator.ts";
import { Platform } from "../../src/common/api/generated/api.ts";
import type { Image, ImageConfig, Images } from "../../src/common/container/images.ts";
import { type ContainerdClient, snapshotterName } from "../../src/common/containerd/client.ts";
import {
  ContentService,
  ContentWriteRequest,
  DiffService,
  LeasesService,
  SnapshotsService,
} from "../../src/common/containerd/generated/protocol.ts";
import { ClusterError, hasCode } from "../../src/common/errors/cluster-error.ts";

const lease = "test-image";
const programs =
  "sh cat echo sleep id env ls ln mkdir stat head tail wc hostname ip mount true false rm touch chmod chown kill ps test seq dd od uname find".split(
    " ",
  );

/** What the image says when a test does not say it. */
export const plainImageConfig: ImageConfig = {
  env: ["PATH=/bin"],
  entrypoint: [],
  command: ["sh"],
  workingDir: "",
  user: "",
  labels: {},
  exposedPorts: [],
  volumes: [],
  stopSignal: "",
  health: undefined,
  shell: [],
};

/** Further files of the image: content, or the target of a link. */
export type ExtraFile =
  | { readonly path: string; readonly text: string; readonly uid?: number; readonly mode?: number }
  | { readonly path: string; readonly link: string }
  | { readonly path: string; readonly folder: true; readonly uid?: number };

/** Writes an image of one layer per list of files; the first has busybox besides. */
export async function makeImage(
  client: ContainerdClient,
  name: string,
  config: Partial<ImageConfig> = {},
  layers: readonly (readonly ExtraFile[])[] = [[]],
): Promise<Image> {
  await client.call(LeasesService.create, { id: lease, labels: {} }).catch((error) => {
    if (!hasCode(error, "already-exists")) throw error;
  });
  const diffIds: string[] = [];
  for (const [position, files] of layers.entries()) {
    const tar = await layerTar(position === 0, files);
    const digest = `sha256:${createHash("sha256").update(tar).digest("hex")}`;
    await writeBlob(client, digest, tar);
    await unpack(client, digest, tar.length, chainId(diffIds), chainId([...diffIds, digest]));
    diffIds.push(digest);
  }
  const id = `sha256:${createHash("sha256").update(name).digest("hex")}`;
  return {
    id,
    tags: [name],
    digests: [],
    manifestDigest: id,
    platform: Platform.create({ architecture: "x86_64", os: "linux" }),
    createdAtMs: 0,
    taggedAtMs: 0,
    author: "",
    comment: "",
    sizeBytes: 0,
    config: { ...plainImageConfig, ...config },
    diffIds,
  };
}

/** `Images` that only finds these. */
export function imagesOf(images: readonly Image[]): Images {
  const find = async (reference: string) => {
    const image = images.find(({ id, tags }) => id === reference || tags.includes(reference));
    if (image === undefined) throw new ClusterError("not-found", `No such image: ${reference}`);
    return image;
  };
  return { find } as unknown as Images;
}

async function layerTar(withBusybox: boolean, files: readonly ExtraFile[]): Promise<Buffer> {
  const tar = pack();
  if (withBusybox) {
    tar.entry({ name: "bin/busybox", mode: 0o755 }, readFileSync("/bin/busybox"));
    for (const program of programs) {
      tar.entry({ name: `bin/${program}`, type: "symlink", linkname: "busybox" });
    }
    tar.entry({ name: "tmp", type: "directory", mode: 0o1777 });
  }
  for (const file of files) {
    const { path: entryName } = file;
    if ("link" in file) tar.entry({ name: entryName, type: "symlink", linkname: file.link });
    else if ("folder" in file) {
      tar.entry({ name: entryName, type: "directory", mode: 0o755, uid: file.uid ?? 0 });
    } else {
      tar.entry({ name: entryName, mode: file.mode ?? 0o644, uid: file.uid ?? 0 }, file.text);
    }
  }
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function writeBlob(client: ContainerdClient, digest: string, data: Buffer): Promise<void> {
  const stream = client.stream(ContentService.write, { lease });
  const send = (fields: Partial<ContentWriteRequest>) =>
    stream.write(
      ContentWriteRequest.create({ ref: digest, total: data.length, expected: digest, ...fields }),
    );
  const reading = (async () => {
    for await (const _ of stream) {
      // Its answers only say how far it is.
    }
  })();
  const writing = (async () => {
    await send({ action: "write", data });
    await send({ action: "commit", offset: data.length });
    stream.end();
  })();
  await Promise.all([reading, writing]).catch((error) => {
    if (!hasCode(error, "already-exists")) throw error;
  });
}

async function unpack(
  client: ContainerdClient,
  digest: string,
  size: number,
  parent: string,
  name: string,
): Promise<void> {
  const snapshotter = snapshotterName;
  const key = `extract-${name}`;
  try {
    const { mounts } = await client.call(
      SnapshotsService.prepare,
      { snapshotter, key, parent },
      { lease },
    );
    const diff = {
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest,
      size,
      annotations: {},
    };
    await client.call(DiffService.apply, { diff, mounts }, { lease });
    await client.call(SnapshotsService.commit, { snapshotter, name, key }, { lease });
  } catch (error) {
    if (!hasCode(error, "already-exists")) throw error;
  }
}
