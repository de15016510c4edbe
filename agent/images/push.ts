/**
 * Pushes an image: layers and configuration first, then its manifest, and the index over it where all of that is here.
 */
import type { PullRequest } from "../../src/common/container/images.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { layerUploadsMax, progressPeriodMs } from "../../src/common/limits/runtime.ts";
import { type Descriptor, isIndexType } from "../../src/common/registry/manifest.ts";
import { familiarName, familiarText } from "../../src/common/registry/reference.ts";
import type { Repository } from "../../src/common/registry/repository.ts";
import { type CatalogImage, type CatalogName, type CatalogView, sourceLabel } from "./catalog.ts";
import { shortDigest } from "./layer-download.ts";
import type { Found } from "./look-up.ts";
import type { PullTools } from "./pull.ts";
import { inParallel, type Report } from "./shared-work.ts";

/** What a push is about. */
export interface PushWish {
  readonly found: Found;
  /** The one to push where not the whole index is here. */
  readonly image: CatalogImage;
  readonly view: CatalogView;
  readonly request: PullRequest;
}

/** Pushes under the name the image was found by. @throws ClusterError `invalid-argument` when that is an id */
export async function pushImage(
  tools: PullTools,
  wish: PushWish,
): Promise<{ digest: string; sizeBytes: number }> {
  const { found, request } = wish;
  const { reference } = found;
  const name = found.names[0];
  if (reference === undefined || reference.tag === "" || name === undefined) {
    throw new ClusterError(
      "invalid-argument",
      `cannot push ${request.reference}: give the image a name with docker tag and push that`,
    );
  }
  const { auth, signal } = request;
  return await tools.registry.use(
    reference,
    { auth, access: "pull,push", signal },
    async (repository) => {
      const pushed = await new PushJob(tools, repository, wish).run(name);
      const label = `${sourceLabel}${reference.domain}`;
      const info = await tools.content.info(pushed.digest);
      const known = (info?.labels[label] ?? "").split(",").filter((text) => text !== "");
      const all = [...new Set([...known, reference.repository])].join(",");
      await tools.content.label(pushed.digest, { [label]: all });
      tools.catalog.changed();
      return pushed;
    },
  );
}

/** One push to one endpoint. */
class PushJob {
  readonly #tools: PullTools;
  readonly #repository: Repository;
  readonly #wish: PushWish;

  constructor(tools: PullTools, repository: Repository, wish: PushWish) {
    this.#tools = tools;
    this.#repository = repository;
    this.#wish = wish;
  }

  async run(name: CatalogName): Promise<{ digest: string; sizeBytes: number }> {
    const { target } = name.record;
    const isWhole = isIndexType(target.mediaType) && name.complete && name.images.length > 0;
    const images = isWhole ? name.images : [this.#wish.image];
    const layers = new Map(
      images.flatMap(({ manifest }) => manifest.layers).map((layer) => [layer.digest, layer]),
    );
    for (const { digest } of layers.values()) this.#say(digest, "Preparing");
    await this.#blobs([...layers.values()], (digest, status, bytes) =>
      this.#say(digest, status, bytes),
    );
    await this.#blobs(
      images.map(({ manifest }) => manifest.config),
      () => {},
    );
    for (const { manifestDigest, manifest } of images)
      await this.#manifest(manifestDigest, manifest.mediaType, isWhole);
    if (isWhole) return await this.#manifest(target.digest, target.mediaType, false);
    return await this.#manifest(
      this.#wish.image.manifestDigest,
      this.#wish.image.manifest.mediaType,
      false,
    );
  }

  async #blobs(
    blobs: readonly Descriptor[],
    say: (digest: string, status: string, bytes?: { done: number; all: number }) => void,
  ): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    await inParallel(blobs, layerUploadsMax, async (blob) => {
      if (failure !== undefined) return;
      try {
        await this.#upload(blob, say);
      } catch (error) {
        failure ??= { error };
      }
    });
    if (failure !== undefined) throw failure.error;
  }

  async #upload(
    { digest, sizeBytes }: Descriptor,
    say: (digest: string, status: string, bytes?: { done: number; all: number }) => void,
  ): Promise<void> {
    const { clock, content } = this.#tools;
    const read = async function* () {
      let done = 0;
      let saidMs = Number.NEGATIVE_INFINITY;
      for await (const piece of content.read(digest)) {
        yield piece;
        done += piece.length;
        if (clock.monotonic() - saidMs < progressPeriodMs) continue;
        saidMs = clock.monotonic();
        say(digest, "Pushing", { done, all: sizeBytes });
      }
    };
    const mountFrom = this.#knownElsewhere(digest);
    const end = await this.#repository.upload({ digest, sizeBytes, mountFrom, content: read });
    if (end === "present") say(digest, "Layer already exists");
    else if (end === "mounted") {
      const domain = this.#repository.domain;
      const other = { domain, repository: mountFrom, tag: "", digest: "" };
      say(digest, `Mounted from ${familiarName(other)}`);
    } else say(digest, "Pushed");
  }

  /** Another repository of the registry from which an image with this blob was pulled, or to which one was pushed. */
  #knownElsewhere(digest: string): string {
    const { view, found } = this.#wish;
    const label = `${sourceLabel}${this.#repository.domain}`;
    for (const { record, images } of view.names) {
      const holds = images.some(({ manifest }) =>
        [manifest.config, ...manifest.layers].some((blob) => blob.digest === digest),
      );
      const sources = view.content.get(record.target.digest)?.labels[label] ?? "";
      const other = sources
        .split(",")
        .find((repository) => repository !== "" && repository !== found.reference?.repository);
      if (holds && other !== undefined) return other;
    }
    return "";
  }

  async #manifest(
    digest: string,
    mediaType: string,
    byDigest: boolean,
  ): Promise<{ digest: string; sizeBytes: number }> {
    const body = await this.#tools.content.readWhole(digest);
    const put = await this.#repository.putManifest({ mediaType, body }, byDigest ? digest : "");
    if (put === digest) return { digest, sizeBytes: body.length };
    throw new ClusterError(
      "failed-precondition",
      `${familiarText(this.#wish.found.reference ?? noReference)}: manifest ${digest} is damaged on this node`,
    );
  }

  #say(digest: string, status: string, bytes?: { done: number; all: number }): void {
    const report: Report = this.#wish.request.onProgress;
    const [currentBytes, totalBytes] = [bytes?.done ?? 0, bytes?.all ?? 0];
    report({ id: shortDigest(digest), status, currentBytes, totalBytes });
  }
}

const noReference = { domain: "", repository: "", tag: "", digest: "" };
