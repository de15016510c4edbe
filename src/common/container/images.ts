/**
 * The images of a node as an interface: implemented by `agent/images`, used by the task controller and the Engine API.
 *
 * @throws ClusterError `not-found` (`No such image: x`), `failed-precondition` for what is in use, `unauthenticated` or
 *   `permission-denied` by a registry, `unavailable` when one does not answer.
 */
import type { HealthConfig, Platform } from "../api/generated/api.ts";

/** Credentials for one registry, as in the API's X-Registry-Auth. */
export interface RegistryAuth {
  readonly username: string;
  readonly password: string;
  /** Refresh token of the registry's token service, instead of the password. */
  readonly identityToken: string;
  readonly registryToken: string;
  readonly serverAddress: string;
}

/** What an image says of its containers: `config` of the OCI image configuration. */
export interface ImageConfig {
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly exposedPorts: readonly string[];
  readonly volumes: readonly string[];
  readonly stopSignal: string;
  readonly health: HealthConfig | undefined;
  readonly shell: readonly string[];
}

/** One line of an image's history, newest first. */
export interface ImageHistory {
  readonly id: string;
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly comment: string;
  readonly sizeBytes: number;
  readonly tags: readonly string[];
}

/** One image of the node for one platform. */
export interface Image {
  /** Digest of its configuration, `sha256:…`: Docker's image id. */
  readonly id: string;
  /** `name:tag`, short form as Docker shows it (`busybox:1`, `10.0.0.1:5000/app:2`). */
  readonly tags: readonly string[];
  /** `name@sha256:…` of the manifest or index it was pulled by. */
  readonly digests: readonly string[];
  readonly manifestDigest: string;
  readonly platform: Platform;
  readonly createdAtMs: number;
  /** When it last was given a name here. */
  readonly taggedAtMs: number;
  readonly author: string;
  readonly comment: string;
  /** Unpacked size, bytes. */
  readonly sizeBytes: number;
  readonly config: ImageConfig;
  readonly diffIds: readonly string[];
}

/** A step of a pull or push, as Docker's JSON stream tells it. */
export interface TransferProgress {
  /** Short digest of a layer; empty for the image as a whole. */
  readonly id: string;
  readonly status: string;
  readonly currentBytes: number;
  /** 0 when unknown or when there is nothing to measure. */
  readonly totalBytes: number;
}

/** What `remove` and `prune` did. */
export interface ImageRemoval {
  readonly untagged: readonly string[];
  readonly deleted: readonly string[];
  readonly freedBytes: number;
}

/** How to pull. */
export interface PullRequest {
  readonly reference: string;
  /** The node's own when undefined. */
  readonly platform: Platform | undefined;
  /** Without a platform: those that the node only emulates will do too, after its own. */
  readonly emulated?: boolean;
  readonly auth: RegistryAuth | undefined;
  readonly onProgress: (progress: TransferProgress) => void;
  readonly signal: AbortSignal;
}

/** Something that happened to an image: pull, push, tag, untag, delete, load, import, save. */
export interface ImageEvent {
  readonly timeNs: bigint;
  readonly action: string;
  readonly id: string;
  readonly name: string;
}

/** All images of a node. */
export interface Images {
  list(): Promise<readonly Image[]>;
  /** By id, id prefix, name (`:latest` when it has no tag) or digest; the node's platform first. */
  find(reference: string, platform?: Platform): Promise<Image>;
  /** Makes the image be here, unpacked; pulls of the same image at the same time are one. */
  pull(request: PullRequest): Promise<Image>;
  push(request: PullRequest): Promise<{ digest: string; sizeBytes: number }>;
  tag(reference: string, target: string): Promise<void>;
  /** @param inUse Whether a container needs the image with this id. */
  remove(
    reference: string,
    o: { force: boolean; prune: boolean; inUse: (imageId: string) => boolean },
  ): Promise<ImageRemoval>;
  prune(o: {
    all: boolean;
    untilMs: number;
    inUse: (imageId: string) => boolean;
  }): Promise<ImageRemoval>;
  history(reference: string): Promise<readonly ImageHistory[]>;
  /** A tar of the images in `docker save`'s form (with an OCI layout in it). */
  save(references: readonly string[]): Promise<AsyncIterable<Uint8Array>>;
  /** Resolves with what was loaded, as `docker load` says it. */
  load(tar: AsyncIterable<Uint8Array>): Promise<readonly string[]>;
  /** Makes an image of one layer. Resolves with its id. */
  importTar(
    tar: AsyncIterable<Uint8Array>,
    o: {
      repository: string;
      tag: string;
      message: string;
      changes: readonly string[];
      platform: Platform | undefined;
    },
  ): Promise<string>;
  /** Of these blobs, those that are here already and would not be pulled. */
  held(digests: readonly string[]): Promise<readonly string[]>;
  /** Bytes of all layers, each counted once. */
  layersBytes(): Promise<number>;
  events(signal: AbortSignal): AsyncIterable<ImageEvent>;
}
