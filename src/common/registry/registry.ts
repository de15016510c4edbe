/**
 * The registries of the world as one object: what agents pull and push through, and managers resolve tags with.
 *
 * A use of a repository begins with a ping (`GET /v2/`), which tells whether the registry speaks TLS and how it wants to be
 * convinced; nothing of that is remembered but tokens, so that what an operator changes counts at once.
 */
import type { Platform } from "../api/generated/api.ts";
import type { Clock } from "../clock/clock.ts";
import type { RegistryAuth } from "../container/images.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { choosePlatform, normalizePlatform } from "../platform/match.ts";
import { answerError } from "./answer-error.ts";
import { Authorizer, TokenCache } from "./auth.ts";
import { WebClient } from "./http.ts";
import {
  configPlatform,
  type ImageManifest,
  imagesOf,
  isIndexType,
  parseManifest,
} from "./manifest.ts";
import type { Environment } from "./proxy.ts";
import { type ImageReference, parseReference, withDefaultTag } from "./reference.ts";
import { type Access, type RawManifest, Repository } from "./repository.ts";
import { type Endpoint, endpointsOf, type RegistrySettings } from "./settings.ts";
import { type TrustFolders, TrustStore } from "./trust.ts";

/** What the registries are reached with. */
export interface RegistryOptions {
  readonly settings: RegistrySettings;
  readonly trust: TrustFolders;
  /** For the proxy variables. */
  readonly environment: Environment;
  readonly clock: Clock;
}

/** How a repository is used. */
export interface UseOptions {
  readonly auth: RegistryAuth | undefined;
  readonly access: Access;
  readonly signal: AbortSignal;
}

/** What a tag or digest stands for at the registry. */
export interface ResolvedImage {
  /** Of the index, or of the manifest where there is no index. */
  readonly digest: string;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** Of all images in it, in OCI's words with variants; one without words runs anywhere, as far as is known. */
  readonly platforms: readonly Platform[];
  /** Digest of the manifest for each of the platforms. */
  readonly manifests: readonly string[];
}

/** What a machine pulls of an image: everything but the indexes on the way to it. */
export interface ImageContents {
  /** Digest of the manifest for the machine. */
  readonly digest: string;
  /** Configuration and layers, each once. */
  readonly blobs: readonly { readonly digest: string; readonly sizeBytes: number }[];
}

/** Client of all registries. */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #web: WebClient;
  readonly #tokens: TokenCache;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#web = new WebClient(new TrustStore(options.trust), options.environment);
    this.#tokens = new TokenCache(options.clock);
  }

  /**
   * Does something with a repository at the first address that serves it: mirrors first, then the registry itself.
   *
   * `work` may be called again when a mirror fails in it.
   * @throws ClusterError of the last address tried
   */
  async use<T>(
    reference: ImageReference,
    options: UseOptions,
    work: (repository: Repository) => Promise<T>,
  ): Promise<T> {
    const { signal } = options;
    const all = await endpointsOf(reference.domain, this.#options.settings);
    // What is pushed belongs to the registry itself.
    const endpoints = all.filter(({ mirror }) => !mirror || options.access === "pull");
    let last: unknown;
    for (const endpoint of endpoints) {
      if (isPointless(endpoint, last)) continue;
      // The user's password is for the registry, not for its mirrors.
      const auth = endpoint.mirror ? undefined : options.auth;
      const authorizer = this.#authorizer(endpoint, auth);
      try {
        await this.#ping(endpoint, authorizer, signal);
      } catch (error) {
        signal.throwIfAborted();
        last = error;
        continue;
      }
      const repository = new Repository({
        ...{ web: this.#web, endpoint, authorizer, reference },
        ...{ access: options.access, signal },
      });
      try {
        return await work(repository);
      } catch (error) {
        signal.throwIfAborted();
        if (!endpoint.mirror) throw error;
        last = error;
      }
    }
    throw last;
  }

  /**
   * Asks the registry what a reference stands for now.
   *
   * @throws ClusterError `not-found`, `unauthenticated`, `permission-denied`, `unavailable` when it does not answer,
   *   `failed-precondition` when it answers nonsense or cannot be trusted, `invalid-argument` for the reference.
   */
  async resolve(
    reference: string,
    options: { readonly auth: RegistryAuth | undefined; readonly signal: AbortSignal },
  ): Promise<ResolvedImage> {
    const parsed = withDefaultTag(parseReference(reference));
    return await this.use(parsed, { ...options, access: "pull" }, async (repository) => {
      const raw = await repository.manifest();
      const images = await platformsOf(repository, raw);
      const { mediaType } = parseManifest(raw.body, raw.mediaType);
      return {
        ...{ digest: raw.digest, mediaType, sizeBytes: raw.body.length },
        platforms: images.map(({ platform }) => platform),
        manifests: images.map(({ digest }) => digest),
      };
    });
  }

  /**
   * Asks the registry what a machine would pull of an image.
   *
   * @param options.platforms What the machine runs, the best first.
   * @throws ClusterError as `resolve`; `not-found` when the image is not for the machine.
   */
  async contents(
    reference: string,
    options: {
      readonly auth: RegistryAuth | undefined;
      readonly platforms: readonly Platform[];
      readonly emulated: boolean;
      readonly signal: AbortSignal;
    },
  ): Promise<ImageContents> {
    const { auth, signal, platforms } = options;
    const parsed = withDefaultTag(parseReference(reference));
    return await this.use(parsed, { auth, signal, access: "pull" }, async (repository) => {
      let raw = await repository.manifest();
      for (let depth = 0; depth < indexDepthMax; depth++) {
        const manifest = parseManifest(raw.body, raw.mediaType);
        if (manifest.kind === "manifest") return contentsOf(raw.digest, manifest);
        const entries = imagesOf(manifest);
        const offered = entries.map(({ platform }) => platform ?? unknownPlatform);
        const entry = entries[choosePlatform(offered, platforms, options)];
        if (entry === undefined)
          throw new ClusterError("not-found", `${reference} is not for the machine`);
        raw = await repository.manifest(entry.digest);
      }
      throw new ClusterError("failed-precondition", `${reference}: indexes in indexes`);
    });
  }

  /**
   * Checks credentials, for `docker login`. Resolves with an identity token if the registry gives one, else "".
   *
   * @throws ClusterError `unauthenticated` when it refuses them
   */
  async login(domain: string, auth: RegistryAuth, signal: AbortSignal): Promise<string> {
    const endpoints = await endpointsOf(domain, this.#options.settings);
    let last: unknown;
    for (const endpoint of endpoints.filter(({ mirror }) => !mirror)) {
      if (isPointless(endpoint, last)) continue;
      const authorizer = this.#authorizer(endpoint, auth);
      try {
        await this.#ping(endpoint, authorizer, signal);
      } catch (error) {
        signal.throwIfAborted();
        last = error;
        continue;
      }
      return await this.#checkLogin(endpoint, authorizer, signal);
    }
    throw last;
  }

  /** Closes all connections. */
  close(): void {
    this.#web.close();
  }

  async #checkLogin(
    endpoint: Endpoint,
    authorizer: Authorizer,
    signal: AbortSignal,
  ): Promise<string> {
    let identityToken = "";
    if (authorizer.takesTokens()) {
      identityToken = (await authorizer.token("", signal, true)).identityToken;
    }
    const authorization = await authorizer.header("", signal);
    const response = await this.#get(endpoint, { authorization, signal });
    if (response.status !== 200) {
      const url = `${endpoint.base}/v2/`;
      throw await answerError(response, `login attempt to ${url} failed`);
    }
    response.discard();
    return identityToken;
  }

  #authorizer(endpoint: Endpoint, auth: RegistryAuth | undefined): Authorizer {
    return new Authorizer({ web: this.#web, tokens: this.#tokens, endpoint, auth });
  }

  async #ping(endpoint: Endpoint, authorizer: Authorizer, signal: AbortSignal): Promise<void> {
    const response = await this.#get(endpoint, { authorization: "", signal });
    // Some registries do not serve the bare path; what they think of the repository is asked next.
    if (response.status >= 500) throw await answerError(response, endpoint.host);
    if (response.status === 401) authorizer.learn(response, "");
    response.discard();
  }

  #get(endpoint: Endpoint, o: { authorization: string; signal: AbortSignal }) {
    return this.#web.send({
      method: "GET",
      url: new URL(`${endpoint.base}/v2/`),
      headers: o.authorization === "" ? {} : { authorization: o.authorization },
      verify: endpoint.verify,
      trustHost: endpoint.host,
      signal: o.signal,
    });
  }
}

/** Where the host did not even take a connection, doing without TLS on the same port does not help. */
function isPointless(endpoint: Endpoint, last: unknown): boolean {
  const plain = endpoint.base.startsWith("http:") && !endpoint.mirror;
  const unreached = last instanceof ClusterError && last.fields["unreached"] === true;
  return plain && unreached && /:\d+$/.test(endpoint.host);
}

const unknownPlatform: Platform = { architecture: "", os: "", variant: "", emulated: false };
/** An index of indexes is allowed, more is somebody's mistake. */
const indexDepthMax = 4;

function contentsOf(digest: string, { config, layers }: ImageManifest): ImageContents {
  const blobs = new Map([config, ...layers].map((one) => [one.digest, one.sizeBytes]));
  return { digest, blobs: [...blobs].map(([name, sizeBytes]) => ({ digest: name, sizeBytes })) };
}

/** Platforms of an index by its entries, of a manifest by its configuration. */
async function platformsOf(
  repository: Repository,
  raw: RawManifest,
): Promise<{ readonly platform: Platform; readonly digest: string }[]> {
  const manifest = parseManifest(raw.body, raw.mediaType);
  if (manifest.kind === "manifest") {
    const config = await repository.smallBlob(manifest.config.digest);
    return [{ platform: normalizePlatform(configPlatform(config)), digest: raw.digest }];
  }
  return imagesOf(manifest)
    .filter(({ mediaType }) => !isIndexType(mediaType))
    .map(({ platform, digest }) => ({
      platform: normalizePlatform(platform ?? unknownPlatform),
      digest,
    }));
}
