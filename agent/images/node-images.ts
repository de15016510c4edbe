/**
 * The images of this node: pulled, made, named and removed, all of it kept by containerd.
 *
 * The class joins the parts of this folder; what is where is in `catalog.ts`, how it comes is in `pull.ts` and `load.ts`.
 */
import type { Platform } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import type { Image, PullRequest } from "../../src/common/container/images.ts";
import type { ContainerdClient } from "../../src/common/containerd/client.ts";
import { errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import { imagesSweepMs, pullLingerMs } from "../../src/common/limits/runtime.ts";
import type { Log } from "../../src/common/log/log.ts";
import { choosePlatform, platformText } from "../../src/common/platform/match.ts";
import type { Random } from "../../src/common/random/random.ts";
import {
  familiarText,
  fullText,
  parseReference,
  withDefaultTag,
} from "../../src/common/registry/reference.ts";
import type { Registry } from "../../src/common/registry/registry.ts";
import { Catalog, type CatalogImage } from "./catalog.ts";
import { ContentStore } from "./content.ts";
import { endLease, imageLeases } from "./leases.ts";
import { lookUp, pickImage } from "./look-up.ts";
import { Puller } from "./pull.ts";
import { SharedWork } from "./shared-work.ts";

/** What the images of a node are made with. */
export interface NodeImagesOptions {
  readonly client: ContainerdClient;
  readonly registry: Registry;
  /** What the node runs, the best first, emulated ones marked. */
  readonly platforms: () => readonly Platform[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The images of one node. */
export class NodeImages {
  readonly #o: NodeImagesOptions;
  readonly #content: ContentStore;
  readonly #catalog: Catalog;
  readonly #puller: Puller;
  readonly #pulls = new SharedWork<CatalogImage>();
  readonly #lingering = new Map<string, number>();

  constructor(options: NodeImagesOptions) {
    this.#o = options;
    const { client, registry, clock, random } = options;
    this.#content = new ContentStore(client, clock);
    this.#catalog = new Catalog(client, this.#content, clock);
    this.#puller = new Puller({
      ...{ client, registry, clock, random, lingering: this.#lingering },
      ...{ content: this.#content, catalog: this.#catalog },
    });
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
    return await this.#catalog.describe(image, await this.#catalog.view());
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
      if (this.#puller.isActive(id)) continue;
      const end = this.#lingering.get(id);
      if (end === undefined) this.#lingering.set(id, now + pullLingerMs);
      else if (end <= now) {
        await endLease(client, id, { sync: false });
        this.#lingering.delete(id);
      }
    }
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

function whenThere<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (hasCode(error, "not-found")) return undefined;
    throw error;
  }
}
