/**
 * Images of a node in memory, for tests of the HTTP API.
 */
import { Platform } from "../../src/common/api/generated/api.ts";
import type {
  Image,
  ImageEvent,
  ImageHistory,
  ImageRemoval,
  Images,
  PullRequest,
} from "../../src/common/container/images.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { plainImageConfig } from "./busybox-image.ts";

/** Images in memory; a pull of a name with `missing` in it fails. */
export class FakeImages implements Images {
  readonly #images = new Map<string, Image>();
  /** Credentials the last pull or push came with. */
  lastAuth: PullRequest["auth"];
  #next = 1;

  /** Makes an image with this name, beside those of the name for other platforms. */
  add(tag: string, architecture = "amd64"): Image {
    const number = (this.#next++).toString(16).padStart(2, "0");
    const image: Image = {
      id: `sha256:${number.repeat(32)}`,
      tags: [tag],
      digests: [],
      manifestDigest: `sha256:${number.repeat(32)}`,
      platform: Platform.create({ os: "linux", architecture }),
      createdAtMs: 1_700_000_000_000,
      taggedAtMs: 1_700_000_000_000,
      author: "",
      comment: "",
      sizeBytes: 1000,
      config: plainImageConfig,
      diffIds: [`sha256:${"d".repeat(64)}`],
    };
    this.#images.set(image.id, image);
    return image;
  }

  async list(): Promise<readonly Image[]> {
    return [...this.#images.values()];
  }

  async find(reference: string, platform?: Platform): Promise<Image> {
    const last = reference.slice(reference.lastIndexOf("/") + 1);
    const tagged = last.includes(":") ? reference : `${reference}:latest`;
    const found = [...this.#images.values()].find(
      ({ id, tags, platform: own }) =>
        (tags.includes(tagged) || id === reference || id.startsWith(`sha256:${reference}`)) &&
        (platform === undefined || platform.architecture === own.architecture),
    );
    if (found === undefined) throw new ClusterError("not-found", `No such image: ${tagged}`);
    return found;
  }

  async pull(request: PullRequest): Promise<Image> {
    this.lastAuth = request.auth;
    if (request.reference.includes("missing"))
      throw new ClusterError("not-found", `manifest for ${request.reference} not found`);
    request.onProgress({ id: "", status: "Pulling", currentBytes: 0, totalBytes: 0 });
    request.onProgress({ id: "abc", status: "Downloading", currentBytes: 5, totalBytes: 10 });
    return this.add(request.reference);
  }

  async push(request: PullRequest): Promise<{ digest: string; sizeBytes: number }> {
    this.lastAuth = request.auth;
    const image = await this.find(request.reference);
    return { digest: image.manifestDigest, sizeBytes: 528 };
  }

  async tag(reference: string, target: string): Promise<void> {
    const image = await this.find(reference);
    this.#images.set(image.id, { ...image, tags: [...image.tags, target] });
  }

  async remove(
    reference: string,
    o: { force: boolean; inUse: (imageId: string) => boolean },
  ): Promise<ImageRemoval> {
    const image = await this.find(reference);
    if (o.inUse(image.id) && !o.force)
      throw new ClusterError(
        "failed-precondition",
        `conflict: unable to remove repository reference "${reference}" (must force)`,
      );
    this.#images.delete(image.id);
    return { untagged: image.tags, deleted: [image.id], freedBytes: image.sizeBytes };
  }

  async prune(): Promise<ImageRemoval> {
    return { untagged: [], deleted: [], freedBytes: 0 };
  }

  async history(reference: string): Promise<readonly ImageHistory[]> {
    const image = await this.find(reference);
    const line = { createdAtMs: image.createdAtMs, createdBy: "made", comment: "" };
    return [{ ...line, id: image.id, sizeBytes: 1000, tags: image.tags }];
  }

  async save(): Promise<AsyncIterable<Uint8Array>> {
    return (async function* () {
      yield Buffer.from("saved");
    })();
  }

  async load(tar: AsyncIterable<Uint8Array>): Promise<readonly string[]> {
    for await (const _ of tar);
    return ["Loaded image: busybox:latest"];
  }

  async importTar(
    tar: AsyncIterable<Uint8Array>,
    o: { repository: string; tag: string },
  ): Promise<string> {
    for await (const _ of tar);
    return this.add(`${o.repository}:${o.tag || "latest"}`).id;
  }

  /** Blobs that are here; tests put them in. */
  readonly blobs = new Set<string>();

  async held(digests: readonly string[]): Promise<readonly string[]> {
    return digests.filter((digest) => this.blobs.has(digest));
  }

  async layersBytes(): Promise<number> {
    return 1000 * this.#images.size;
  }

  async *events(signal: AbortSignal): AsyncIterable<ImageEvent> {
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
}
