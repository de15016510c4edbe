/**
 * The volumes of a node as an interface: implemented by `agent/volumes`, used by the containers of the node and the
 * Engine API.
 *
 * @throws ClusterError `not-found` (`get x: no such volume`), `failed-precondition` (`volume is in use`),
 *   `invalid-argument` naming driver or option.
 */

/** One volume of the node. */
export interface Volume {
  readonly name: string;
  readonly driver: string;
  readonly createdAtMs: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  /** Folder of the node with its content. */
  readonly mountpoint: string;
  /** Made for one container and removed with it. */
  readonly anonymous: boolean;
}

/** What a volume is made from. */
export interface VolumeRequest {
  /** A name is made up when empty. */
  readonly name: string;
  readonly driver: string;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** Something that happened to a volume: create, mount, unmount, destroy. */
export interface VolumeEvent {
  readonly timeNs: bigint;
  readonly action: string;
  readonly volume: Volume;
  readonly attributes: Readonly<Record<string, string>>;
}

/** All volumes of a node. */
export interface Volumes {
  list(): readonly Volume[];
  find(name: string): Volume;
  /** Makes nothing. @throws ClusterError as `create` would for the same. */
  check(request: VolumeRequest): void;
  /** The one that is there when name, driver and options are the same. */
  create(request: VolumeRequest): Promise<Volume>;
  remove(name: string, o: { force: boolean }): Promise<void>;
  /** Removes unused ones: anonymous only unless `all`. */
  prune(o: {
    all: boolean;
    accept: (volume: Volume) => boolean;
  }): Promise<{ removed: readonly string[]; freedBytes: number }>;
  /** Readies a volume for a container: mounts what its options say. Counted: each is given back by `release`. */
  acquire(name: string, containerId: string): Promise<string>;
  release(name: string, containerId: string): Promise<void>;
  /** Ids of the containers that hold it. */
  usersOf(name: string): readonly string[];
  sizeBytes(name: string): Promise<number>;
  events(signal: AbortSignal): AsyncIterable<VolumeEvent>;
}
