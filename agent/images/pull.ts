/**
 * Pulls an image: manifest by platform, configuration, layers in parallel, unpacked as they come, and last the name.
 *
 * Everything is written under a lease until the name refers to it. A pull that fails keeps its lease for a while, so that the
 * next one goes on where it stopped; one that is given up ends it at once.
 */
import { createHash } from "node:crypto";
import type { Platform } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import type { RegistryAuth } from "../../src/common/container/images.ts";
import { type ContainerdClient, snapshotterName } from "../../src/common/containerd/client.ts";
import { ClusterError, hasCode } from "../../src/common/errors/cluster-error.ts";
import { layerDownloadsMax } from "../../src/common/limits/runtime.ts";
import {
  canRun,
  choosePlatform,
  normalizePlatform,
  platformText,
} from "../../src/common/platform/match.ts";
import { noMatchingManifest, wrongPlatform } from "../../src/common/platform/refusal.ts";
import type { Random } from "../../src/common/random/random.ts";
import {
  type Descriptor,
  type ImageManifest,
  imagesOf,
  parseManifest,
} from "../../src/common/registry/manifest.ts";
import {
  familiarText,
  fullName,
  fullText,
  type ImageReference,
} from "../../src/common/registry/reference.ts";
import type { Registry } from "../../src/common/registry/registry.ts";
import type { RawManifest, Repository } from "../../src/common/registry/repository.ts";
import { type Catalog, type CatalogImage, sourceLabel } from "./catalog.ts";
import type { ContentStore } from "./content.ts";
import { parseImageConfig } from "./image-config.ts";
import { downloadLayer, shortDigest } from "./layer-download.ts";
import { type BusyLeases, endLease, holdFor, leaseId, takeLease } from "./leases.ts";
import { assignName } from "./names.ts";
import { inParallel, KeyedLock, type Report } from "./shared-work.ts";
import { chainIds, holdSnapshot, unpackLayer } from "./unpack.ts";

/** What pulls are made with. */
export interface PullTools {
  readonly client: ContainerdClient;
  readonly content: ContentStore;
  readonly catalog: Catalog;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly random: Random;
  /** Leases of failed pulls, and until when they are kept (monotonic). */
  readonly lingering: Map<string, number>;
  readonly busy: BusyLeases;
}

/** What is to be pulled. */
export interface PullWish {
  /** With a tag or a digest. */
  readonly reference: ImageReference;
  /** The best first. */
  readonly platforms: readonly Platform[];
  readonly emulated: boolean;
  readonly auth: RegistryAuth | undefined;
}

/** The manifests from the top of what the reference stands for down to the image's. */
interface Choice {
  readonly path: readonly RawManifest[];
  readonly manifest: ImageManifest;
  readonly manifestDigest: string;
}

/** Pulls images. */
export class Puller {
  readonly #tools: PullTools;
  readonly #locks = new KeyedLock();

  constructor(tools: PullTools) {
    this.#tools = tools;
  }

  /** Makes the image be here, unpacked and named. */
  async pull(
    wish: PullWish,
    o: { readonly report: Report; readonly keepMs: number; readonly signal: AbortSignal },
  ): Promise<CatalogImage> {
    const { reference, auth } = wish;
    const use = { auth, access: "pull", signal: o.signal } as const;
    return await this.#tools.registry.use(reference, use, async (repository) => {
      const top = await repository.manifest();
      const say = (status: string, id = "") =>
        o.report({ id, status, currentBytes: 0, totalBytes: 0 });
      say(`Pulling from ${reference.repository}`, reference.tag || top.digest);
      const here = await this.#isHere(wish, top);
      const image = here ?? (await this.#bring(wish, { ...o, repository, top }));
      say(`Digest: ${top.digest}`);
      const news = here === undefined ? "Downloaded newer image" : "Image is up to date";
      say(`Status: ${news} for ${familiarText(reference)}`);
      return image;
    });
  }

  /** The image, if it stands under this very name already, whole and unpacked. */
  async #isHere(wish: PullWish, top: RawManifest): Promise<CatalogImage | undefined> {
    const { catalog } = this.#tools;
    const name = recordName(wish.reference);
    const { names } = await catalog.view();
    const known = names.find(({ record }) => record.name === name);
    if (known === undefined || known.record.target.digest !== top.digest) return undefined;
    const offered = known.images.map(({ document }) => document.platform);
    const image = known.images[choosePlatform(offered, wish.platforms, wish)];
    return image !== undefined && (await catalog.isUnpacked(image)) ? image : undefined;
  }

  /** Brings what is missing, under a lease. */
  async #bring(
    wish: PullWish,
    o: Omit<JobOptions, keyof PullWish | "lease" | "begun"> & { readonly keepMs: number },
  ): Promise<CatalogImage> {
    const { client, clock, lingering, busy } = this.#tools;
    const what = [fullText(wish.reference), ...wish.platforms.map(platformText)].join(" ");
    const name = createHash("sha256").update(what).digest("hex").slice(0, 24);
    const lease = leaseId(name);
    busy.begin(lease);
    lingering.delete(lease);
    let hasBegun = false;
    let keep = false;
    let isFull = false;
    const begun = () => {
      hasBegun = true;
    };
    try {
      await takeLease(client, { name, nowMs: clock.now() });
      return await new PullJob(this.#tools, this.#locks, { ...wish, ...o, begun, lease }).run();
    } catch (error) {
      // Worth going on with only if the rest may come another time.
      keep = hasBegun && !o.signal.aborted && hasCode(error, "unavailable");
      isFull = hasCode(error, "resource-exhausted");
      throw error;
    } finally {
      const hasOthers = busy.end(lease);
      if (keep) lingering.set(lease, clock.monotonic() + o.keepMs);
      // Whoever comes next shall find the room that this one gives back.
      else if (!hasOthers) await this.#end(lease, { sync: isFull });
    }
  }

  /** A lease that cannot be ended now, as containerd is away, is ended with those of former lives. */
  async #end(lease: string, o: { readonly sync: boolean }): Promise<void> {
    this.#tools.lingering.delete(lease);
    await endLease(this.#tools.client, lease, o).catch(() => {
      this.#tools.lingering.set(lease, this.#tools.clock.monotonic());
    });
  }
}

/** What one pull from one endpoint is about. */
interface JobOptions extends PullWish {
  readonly report: Report;
  readonly signal: AbortSignal;
  readonly lease: string;
  readonly repository: Repository;
  /** What the reference stands for at the registry. */
  readonly top: RawManifest;
  /** There is something to go on with from now on. */
  readonly begun: () => void;
}

/** One pull from one endpoint. */
class PullJob {
  readonly #tools: PullTools;
  readonly #locks: KeyedLock;
  readonly #o: JobOptions;

  constructor(tools: PullTools, locks: KeyedLock, o: JobOptions) {
    this.#tools = tools;
    this.#locks = locks;
    this.#o = o;
  }

  async run(): Promise<CatalogImage> {
    const { content, catalog, client } = this.#tools;
    const { reference, top, lease, signal } = this.#o;
    const choice = await this.#choose([top]);
    const { manifest } = choice;
    const config = await this.#config(manifest);
    const document = parseImageConfig(config);
    this.#checkPlatform(document.platform);
    if (document.diffIds.length !== manifest.layers.length) {
      throw new ClusterError(
        "failed-precondition",
        `${familiarText(reference)} is no image that can be run: its manifest has ${manifest.layers.length} layers, its configuration ${document.diffIds.length}`,
      );
    }
    const chain = chainIds(document.diffIds);
    const labels = chain.length === 0 ? {} : { [snapshotLabel]: chain.at(-1) ?? "" };
    await content.put(config, { lease, labels, signal });
    await this.#layers(manifest.layers, document.diffIds);
    await this.#putManifests(choice);
    const target = targetOf(top);
    await assignName(client, catalog, { name: recordName(reference), target });
    return await catalog.image(choice.manifestDigest, manifest);
  }

  /** Goes down from an index to the image for the platform. */
  async #choose(path: readonly RawManifest[]): Promise<Choice> {
    const { platforms, emulated, repository, reference } = this.#o;
    const raw = path.at(-1);
    if (raw === undefined || path.length > indexDepthMax) {
      throw new ClusterError(
        "failed-precondition",
        `${familiarText(reference)}: indexes in indexes`,
      );
    }
    const manifest = parseManifest(raw.body, raw.mediaType);
    if (manifest.kind === "manifest") return { path, manifest, manifestDigest: raw.digest };
    const entries = imagesOf(manifest);
    const offered = entries.map(({ platform }) => platform ?? unknownPlatform);
    const entry = entries[choosePlatform(offered, platforms, { emulated })];
    if (entry === undefined) {
      const wanted =
        platforms[0] === undefined ? "" : platformText(normalizePlatform(platforms[0]));
      const there = offered.map((platform) => platformText(platform)).join(", ");
      throw new ClusterError(
        "not-found",
        `${noMatchingManifest} ${wanted} in the manifest list entries: ${familiarText(reference)} is for ${there || "no platform"}`,
      );
    }
    const next = await this.#manifestBody(repository, entry);
    return await this.#choose([...path, next]);
  }

  async #manifestBody(repository: Repository, entry: Descriptor): Promise<RawManifest> {
    const { content } = this.#tools;
    const { mediaType, digest } = entry;
    if ((await content.info(digest)) === undefined) return await repository.manifest(digest);
    return { digest, mediaType, body: await content.readWhole(digest) };
  }

  async #config({ config }: ImageManifest): Promise<Uint8Array> {
    const { content } = this.#tools;
    if (/helm|wasm|artifact|empty/.test(config.mediaType)) {
      throw new ClusterError(
        "failed-precondition",
        `${familiarText(this.#o.reference)} is no image that can be run: unsupported media type ${config.mediaType}`,
      );
    }
    const isHere = (await content.info(config.digest)) !== undefined;
    if (isHere) return await content.readWhole(config.digest);
    return await this.#o.repository.smallBlob(config.digest);
  }

  /** What the image says of itself counts, whatever the index says. */
  #checkPlatform(image: Platform): void {
    const { platforms, emulated, reference } = this.#o;
    const fits = platforms.some((node) => (emulated || !node.emulated) && canRun({ node, image }));
    if (fits) return;
    const wanted = platforms[0] === undefined ? "" : platformText(normalizePlatform(platforms[0]));
    throw new ClusterError(
      "not-found",
      `image with reference ${familiarText(reference)} was found but ${wrongPlatform}: wanted ${wanted}, actual: ${platformText(normalizePlatform(image))}`,
    );
  }

  /** Downloads some at once; each is unpacked when those below it are. */
  async #layers(layers: readonly Descriptor[], diffIds: readonly string[]): Promise<void> {
    const chain = chainIds(diffIds);
    const stop = new AbortController();
    const leave = () => stop.abort(this.#o.signal.reason);
    this.#o.signal.addEventListener("abort", leave, { once: true });
    const arrivals = layers.map(() => new Arrival());
    for (const { digest } of layers) this.#layerSays(digest, "Pulling fs layer");
    // The first failure stops all the rest, and is the one that is told.
    const guarded = async (work: () => Promise<void>) => {
      try {
        await work();
      } catch (error) {
        stop.abort(error);
        for (const arrival of arrivals) arrival.happened();
      }
    };
    const download = inParallel(layers, layerDownloadsMax, (layer, position) =>
      guarded(async () => {
        stop.signal.throwIfAborted();
        await this.#download(layer, stop.signal);
        arrivals[position]?.happened();
      }),
    );
    const unpack = guarded(async () => {
      for (const [position, layer] of layers.entries()) {
        await arrivals[position]?.wait;
        stop.signal.throwIfAborted();
        const place = { chainId: chain[position] ?? "", parent: chain[position - 1] ?? "" };
        await this.#unpack(layer, { ...place, diffId: diffIds[position] ?? "" }, stop.signal);
      }
    });
    await Promise.all([download, unpack]);
    this.#o.signal.removeEventListener("abort", leave);
    stop.signal.throwIfAborted();
  }

  async #download(layer: Descriptor, signal: AbortSignal): Promise<void> {
    const { client, content, clock } = this.#tools;
    const { lease, repository, report } = this.#o;
    await this.#locks.run(layer.digest, signal, async () => {
      await holdFor(client, lease, { kind: "content", id: layer.digest });
      if ((await content.info(layer.digest)) !== undefined) return;
      this.#o.begun();
      await downloadLayer({ repository, content, layer, lease, clock, report, signal });
    });
  }

  async #unpack(
    layer: Descriptor,
    o: { readonly chainId: string; readonly parent: string; readonly diffId: string },
    signal: AbortSignal,
  ): Promise<void> {
    const { client, random } = this.#tools;
    const { lease } = this.#o;
    await this.#locks.run(o.chainId, signal, async () => {
      if (await holdSnapshot(client, lease, o.chainId)) {
        this.#layerSays(layer.digest, "Already exists");
        return;
      }
      this.#layerSays(layer.digest, "Extracting");
      await unpackLayer(client, { layer, ...o, lease, random, signal });
      this.#layerSays(layer.digest, "Pull complete");
    });
  }

  /** The lowest first, each with what keeps its parts from the collector. */
  async #putManifests(choice: Choice): Promise<void> {
    const { content } = this.#tools;
    const { lease, signal, reference } = this.#o;
    for (const raw of [...choice.path].reverse()) {
      const source = `${sourceLabel}${reference.domain}`;
      const known = (await content.info(raw.digest))?.labels[source] ?? "";
      const all = new Set([...known.split(",").filter((r) => r !== ""), reference.repository]);
      const labels = { ...collectorLabels(raw), [source]: [...all].join(",") };
      await content.put(raw.body, { lease, labels, signal });
    }
  }

  #layerSays(digest: string, status: string): void {
    this.#o.report({ id: shortDigest(digest), status, currentBytes: 0, totalBytes: 0 });
  }
}

/** Something that happens once and is waited for. */
class Arrival {
  happened: () => void = () => {};
  readonly wait = new Promise<void>((resolve) => {
    this.happened = resolve;
  });
}

const unknownPlatform: Platform = { architecture: "", os: "", variant: "", emulated: false };

/** An index of indexes is allowed, more is somebody's mistake. */
const indexDepthMax = 4;

/** Tells the collector that a configuration's snapshots are to stay. */
export const snapshotLabel = `containerd.io/gc.ref.snapshot.${snapshotterName}`;

/** Labels by which a manifest or index keeps its parts from the collector. */
export function collectorLabels(
  raw: Pick<RawManifest, "body" | "mediaType">,
): Record<string, string> {
  const parsed = parseManifest(raw.body, raw.mediaType);
  const prefix = "containerd.io/gc.ref.content";
  if (parsed.kind === "index") {
    return Object.fromEntries(
      parsed.manifests.map(({ digest }, position) => [`${prefix}.m.${position}`, digest]),
    );
  }
  const layers = parsed.layers.map(({ digest }, position) => [`${prefix}.l.${position}`, digest]);
  return { [`${prefix}.config`]: parsed.config.digest, ...Object.fromEntries(layers) };
}

/** Name of the record of what was pulled by this reference: a digest stands alone, as in Docker. */
export function recordName(reference: ImageReference): string {
  const { digest } = reference;
  return digest === "" ? fullText(reference) : `${fullName(reference)}@${digest}`;
}

function targetOf(raw: RawManifest): {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
} {
  const { mediaType } = parseManifest(raw.body, raw.mediaType);
  return { mediaType, digest: raw.digest, sizeBytes: raw.body.length };
}
