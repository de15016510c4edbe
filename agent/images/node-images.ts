/**
 * The images of this node: pulled, made, named and removed, all of it kept by containerd.
 *
 * The class joins the parts of this folder; what is where is in `catalog.ts`, how it comes is in `pull.ts` and `load.ts`.
 */
import { Platform } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { EventHub } from "../../src/common/container/event-hub.ts";
import type {
  Image,
  ImageConfig,
  ImageEvent,
  ImageHistory,
  ImageRemoval,
  Images,
  PullRequest,
} from "../../src/common/container/images.ts";
import { type ContainerdClient, snapshotterName } from "../../src/common/containerd/client.ts";
import { SnapshotsService } from "../../src/common/containerd/generated/protocol.ts";
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import { imagesSweepMs, pullLingerMs } from "../../src/common/limits/runtime.ts";
import type { Log } from "../../src/common/log/log.ts";
import {
  choosePlatform,
  normalizePlatform,
  platformText,
} from "../../src/common/platform/match.ts";
import type { Random } from "../../src/common/random/random.ts";
import {
  familiarName,
  familiarText,
  fullText,
  parseReference,
  withDefaultTag,
} from "../../src/common/registry/reference.ts";
import type { Registry } from "../../src/common/registry/registry.ts";
import { Catalog, type CatalogImage, noSuchImage } from "./catalog.ts";
import { applyChanges } from "./changes.ts";
import { ContentStore } from "./content.ts";
import { BusyLeases, endLease, imageLeases } from "./leases.ts";
import { loadArchive } from "./load.ts";
import { lookUp, pickImage } from "./look-up.ts";
import { assignName } from "./names.ts";
import { type Extension, extendImage, importImage } from "./new-image.ts";
import { Puller, type PullTools } from "./pull.ts";
import { pushImage } from "./push.ts";
import { namesToRemove, planRemoval, remove } from "./remove.ts";
import { saveImages } from "./save.ts";
import { SharedWork } from "./shared-work.ts";

/** What the images of a node are made with. */
export interface NodeImagesOptions {
  readonly client: ContainerdClient;
  /** Resolves when containerd can be asked. @throws ClusterError `unavailable` with the reason when it is down */
  readonly ready?: () => Promise<void>;
  readonly registry: Registry;
  /** What the node runs, the best first, emulated ones marked. */
  readonly platforms: () => readonly Platform[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The images of one node. */
export class NodeImages implements Images {
  readonly #o: NodeImagesOptions;
  readonly #ready: () => Promise<void>;
  readonly #content: ContentStore;
  readonly #catalog: Catalog;
  readonly #tools: PullTools;
  readonly #puller: Puller;
  readonly #pulls = new SharedWork<CatalogImage>();
  readonly #lingering = new Map<string, number>();
  readonly #busy = new BusyLeases();
  readonly #events = new EventHub<ImageEvent>();

  constructor(options: NodeImagesOptions) {
    this.#o = options;
    const { client, registry, clock, random } = options;
    this.#content = new ContentStore(client, clock);
    this.#ready = options.ready ?? (async () => {});
    this.#catalog = new Catalog(client, this.#content, { clock, ready: this.#ready });
    this.#tools = {
      ...{ client, registry, clock, random, lingering: this.#lingering, busy: this.#busy },
      ...{ content: this.#content, catalog: this.#catalog },
    };
    this.#puller = new Puller(this.#tools);
  }

  async list(): Promise<readonly Image[]> {
    const view = await this.#catalog.view();
    const all = new Map(
      view.names.flatMap(({ images }) => images).map((image) => [image.id, image]),
    );
    return await Promise.all([...all.values()].map((image) => this.#catalog.describe(image, view)));
  }

  async find(reference: string, platform?: Platform): Promise<Image> {
    const view = await this.#catalog.view();
    const found = lookUp(view, reference);
    const node = this.#o.platforms();
    const image = pickImage(found, { wanted: platform, node, text: reference });
    return await this.#catalog.describe(image, view);
  }

  async pull(request: PullRequest): Promise<Image> {
    const reference = withDefaultTag(parseReference(request.reference));
    await this.#ready();
    const platforms = request.platform === undefined ? this.#o.platforms() : [request.platform];
    const emulated = request.platform !== undefined || request.emulated === true;
    const wish = { reference, platforms, emulated, auth: request.auth };
    if (reference.digest !== "") {
      const here = await this.#hereAlready(request, emulated);
      if (here !== undefined) return here;
    }
    // Others' credentials are not good for whoever cannot show them.
    const key = JSON.stringify([
      fullText(reference),
      platforms.map(platformText),
      emulated,
      request.auth ?? "",
    ]);
    const image = await this.#pulls.join(key, request, (report, signal) =>
      this.#puller.pull(wish, { report, keepMs: pullLingerMs, signal }),
    );
    this.#tell("pull", familiarText(reference), familiarName(reference));
    return await this.#catalog.describe(image, await this.#catalog.view());
  }

  async push(request: PullRequest): Promise<{ digest: string; sizeBytes: number }> {
    const view = await this.#catalog.view();
    const found = lookUp(view, request.reference);
    const { platform: wanted, reference: text } = request;
    const image = pickImage(found, { wanted, node: this.#o.platforms(), text });
    const pushed = await pushImage(this.#tools, { found, image, view, request });
    if (found.reference !== undefined)
      this.#tell("push", familiarText(found.reference), familiarName(found.reference));
    return pushed;
  }

  async tag(reference: string, target: string): Promise<void> {
    const { client } = this.#o;
    const name = withDefaultTag(parseReference(target));
    if (name.digest !== "") {
      throw new ClusterError(
        "invalid-argument",
        "refusing to create a tag with a digest reference",
      );
    }
    const found = lookUp(await this.#catalog.view(), reference);
    const node = this.#o.platforms();
    const image = pickImage(found, { wanted: undefined, node, text: reference });
    // By its id one image is meant, whatever others its index has.
    const whole = found.names.find(
      ({ images }) => found.reference !== undefined || images.length === 1,
    );
    const { mediaType } = image.manifest;
    const own = { mediaType, digest: image.manifestDigest, sizeBytes: 0 };
    const size = (await this.#content.info(own.digest))?.size ?? 0;
    const to = whole?.record.target ?? { ...own, sizeBytes: size };
    await assignName(client, this.#catalog, { name: fullText(name), target: to });
    this.#tell("tag", image.id, familiarText(name));
  }

  async remove(
    reference: string,
    o: { force: boolean; prune: boolean; inUse: (imageId: string) => boolean },
  ): Promise<ImageRemoval> {
    const { client } = this.#o;
    this.#catalog.changed();
    const view = await this.#catalog.view();
    const text = reference;
    const names = namesToRemove(lookUp(view, reference), { ...o, text });
    const tools = { client, catalog: this.#catalog };
    const removal = await remove(tools, planRemoval(view, names), { ...o, text });
    this.#tellRemoval(removal);
    return removal;
  }

  async prune(o: {
    all: boolean;
    untilMs: number;
    inUse: (imageId: string) => boolean;
  }): Promise<ImageRemoval> {
    const { client } = this.#o;
    const total = { untagged: [] as string[], deleted: [] as string[], freedBytes: 0 };
    for (const { id, tags, createdAtMs } of await this.list()) {
      const isWanted = (o.all || tags.length === 0) && createdAtMs <= o.untilMs && !o.inUse(id);
      if (!isWanted) continue;
      const view = await this.#catalog.view();
      const names = view.names.filter(({ images }) => images.some((image) => image.id === id));
      const plan = planRemoval(view, names);
      // One index may stand for a platform in use and for one that is not.
      if (plan.lost.some((image) => o.inUse(image.id))) continue;
      const tools = { client, catalog: this.#catalog };
      const removal = await remove(tools, plan, { force: true, text: id, inUse: o.inUse });
      this.#tellRemoval(removal);
      total.untagged.push(...removal.untagged);
      total.deleted.push(...removal.deleted);
      total.freedBytes += removal.freedBytes;
    }
    return total;
  }

  async history(reference: string): Promise<readonly ImageHistory[]> {
    const view = await this.#catalog.view();
    const node = this.#o.platforms();
    const image = pickImage(lookUp(view, reference), { wanted: undefined, node, text: reference });
    const { tags } = await this.#catalog.describe(image, view);
    const lines: ImageHistory[] = [];
    let layer = 0;
    for (const step of image.document.history) {
      const chainId = step.empty ? undefined : image.chain[layer++];
      const sizeBytes = chainId === undefined ? 0 : await this.#catalog.layerSize(chainId);
      const { createdAtMs, createdBy, comment } = step;
      lines.unshift({ id: "<missing>", createdAtMs, createdBy, comment, sizeBytes, tags: [] });
    }
    const [newest, ...rest] = lines;
    return newest === undefined ? [] : [{ ...newest, id: image.id, tags }, ...rest];
  }

  async save(references: readonly string[]): Promise<AsyncIterable<Uint8Array>> {
    const view = await this.#catalog.view();
    const platforms = this.#o.platforms();
    const archive = saveImages(this.#content, view, { references, platforms });
    for (const text of references) {
      const { images } = lookUp(view, text);
      this.#tell("save", images[0]?.id ?? "", text);
    }
    return archive;
  }

  async load(tar: AsyncIterable<Uint8Array>): Promise<readonly string[]> {
    await this.#ready();
    try {
      const loaded = await loadArchive(this.#tools, tar);
      for (const { image, names } of loaded) this.#tell("load", image.id, names[0] ?? image.id);
      return loaded.flatMap(({ image, names }) =>
        names.length === 0
          ? [`Loaded image ID: ${image.id}`]
          : names.map((name) => `Loaded image: ${name}`),
      );
    } finally {
      this.#catalog.changed();
    }
  }

  async importTar(
    tar: AsyncIterable<Uint8Array>,
    o: {
      repository: string;
      tag: string;
      message: string;
      changes: readonly string[];
      platform: Platform | undefined;
    },
  ): Promise<string> {
    const config = applyChanges(emptyConfig, o.changes);
    await this.#ready();
    const platform = o.platform ?? this.#o.platforms()[0];
    const image = await importImage(this.#tools, tar, {
      ...{ config, message: o.message, names: namesFrom(o) },
      platform: normalizePlatform(platform ?? Platform.create()),
    });
    this.#tell("import", image.id, image.id);
    return image.id;
  }

  /**
   * Makes an image of another one and a further layer, for `commit`. Resolves with its id.
   *
   * @param o.makeLayer Puts the layer into the content store, for the lease.
   * @throws ClusterError `not-found` when the image below is gone, `invalid-argument` for an instruction
   */
  async extend(o: Extension): Promise<string> {
    const config = applyChanges(o.config, o.changes);
    const view = await this.#catalog.view();
    const [below] = lookUp(view, o.imageId).images;
    if (below === undefined) throw noSuchImage(o.imageId);
    const image = await extendImage(this.#tools, { ...o, below, config, names: namesFrom(o) });
    return image.id;
  }

  /** Digest of a compressed layer's content that containerd made; "" when it does not know it. */
  async uncompressedDigest(digest: string): Promise<string> {
    return (await this.#content.info(digest))?.labels["containerd.io/uncompressed"] ?? "";
  }

  /** Bytes of all layers that are unpacked, each counted once. */
  async held(digests: readonly string[]): Promise<readonly string[]> {
    await this.#ready();
    const { content } = await this.#catalog.view();
    return digests.filter((digest) => content.has(digest));
  }

  async layersBytes(): Promise<number> {
    const request = { snapshotter: snapshotterName };
    await this.#ready();
    let total = 0;
    for await (const { info } of this.#o.client.list(SnapshotsService.list, request)) {
      for (const { kind, name } of info)
        if (kind === "committed") total += await this.#catalog.layerSize(name);
    }
    return total;
  }

  events(signal: AbortSignal): AsyncIterable<ImageEvent> {
    return this.#events.read(signal);
  }

  /**
   * Ends what failed pulls and former lives of the daemon left, some time after, until the signal aborts.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#o;
    while (!signal.aborted) {
      try {
        await this.#sweep();
      } catch (error) {
        // While containerd is away there is nothing to sweep.
        if (!hasCode(error, "unavailable"))
          log.warn("leases of images not swept", { err: errorText(error) });
      }
      await clock.sleep(imagesSweepMs, signal).catch(() => {
        // The condition of the loop says what follows.
      });
    }
  }

  /** A lease that is seen for the first time may be of a pull that is about to be made again. */
  async #sweep(): Promise<void> {
    const { client, clock } = this.#o;
    const now = clock.monotonic();
    for (const { id } of await imageLeases(client)) {
      if (this.#busy.has(id)) continue;
      const end = this.#lingering.get(id);
      if (end === undefined) this.#lingering.set(id, now + pullLingerMs);
      else if (end <= now) {
        await endLease(client, id, { sync: false });
        this.#lingering.delete(id);
      }
    }
  }

  #tellRemoval({ untagged, deleted }: ImageRemoval): void {
    const [id] = deleted;
    for (const name of untagged) this.#tell("untag", id ?? name, name);
    if (id !== undefined) this.#tell("delete", id, id);
  }

  #tell(action: string, id: string, name: string): void {
    this.#events.emit({ timeNs: BigInt(this.#o.clock.now()) * 1_000_000n, action, id, name });
  }

  /** What is under a digest cannot have changed at the registry. */
  async #hereAlready(request: PullRequest, emulated: boolean): Promise<Image | undefined> {
    const view = await this.#catalog.view();
    const found = whenThere(() => lookUp(view, request.reference));
    if (found?.reference === undefined) return undefined;
    const offered = found.images.map(({ document }) => document.platform);
    const wanted = request.platform === undefined ? this.#o.platforms() : [request.platform];
    const image = found.images[choosePlatform(offered, wanted, { emulated })];
    if (image === undefined || !(await this.#catalog.isUnpacked(image))) return undefined;
    const status = `Status: Image is up to date for ${familiarText(found.reference)}`;
    request.onProgress({ id: "", status, currentBytes: 0, totalBytes: 0 });
    return await this.#catalog.describe(image, view);
  }
}

function namesFrom(o: { readonly repository: string; readonly tag: string }): readonly string[] {
  if (o.repository === "") return [];
  const text = o.tag === "" ? o.repository : `${o.repository}:${o.tag}`;
  return [fullText(withDefaultTag(parseReference(text)))];
}

const emptyConfig: ImageConfig = {
  ...{ env: [], entrypoint: [], command: [], workingDir: "", user: "", labels: {} },
  ...{ exposedPorts: [], volumes: [], stopSignal: "", health: undefined, shell: [] },
};

function whenThere<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (hasCode(error, "not-found")) return undefined;
    throw error;
  }
}
