/**
 * Everything a node runs containers with, put together once at the start of the daemon: containerd and its supervisor, the
 * runtimes that work here, containers, images and volumes.
 */
import { mkdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Platform } from "../../../src/common/api/generated/api.ts";
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { SwarmAttachments } from "../../../src/common/container/attachments.ts";
import type { DataPath } from "../../../src/common/container/data-path.ts";
import type { Images } from "../../../src/common/container/images.ts";
import type {
  Runtime,
  RuntimeFacts,
  RuntimeProgram,
} from "../../../src/common/container/runtime.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { Volumes } from "../../../src/common/container/volumes.ts";
import { skepNamespace, snapshotterName } from "../../../src/common/containerd/client.ts";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { Random } from "../../../src/common/random/random.ts";
import type { Registry } from "../../../src/common/registry/registry.ts";
import { parsePrefix } from "../../../src/common/spec/cidr.ts";
import { NodeImages } from "../../images/node-images.ts";
import { programsAt } from "../../network/explain/look.ts";
import { bindProbe } from "../../network/local/host-ports.ts";
import { hasDevice, hostRoutes } from "../../network/local/host-routes.ts";
import type { AddressPool } from "../../network/local/ipam.ts";
import { LocalNetworks } from "../../network/local/local-networks.ts";
import { LocalStore } from "../../network/local/store.ts";
import { NodeNetwork } from "../../network/node-network.ts";
import { gateway, uplink } from "../../network/pools.ts";
import type { NetworkState } from "../../network/state.ts";
import { LocalVolumes } from "../../volumes/local-volumes.ts";
import { commitContainer } from "./commit.ts";
import { ContainerdContainers } from "./containers.ts";
import {
  bundlesFolder,
  type ContainerdPlaces,
  type ContainerdProgram,
  removeState,
  withEarlierState,
} from "./daemon-process.ts";
import { isWithoutLibraries } from "./ffi.ts";
import { LocalFiles } from "./files.ts";
import { libraryWarnings, limitWarnings } from "./limit-warnings.ts";
import { findProgram, memoryFolder, type NodeFacts, readNodeFacts } from "./node-facts.ts";
import { hideProgram, showProgram } from "./program-view.ts";
import { snapshotKey } from "./records.ts";
import { probePrograms, quickestProgram, runtimePrograms } from "./runtime-programs.ts";
import { shareFolder, unshareFolder } from "./shared-folder.ts";
import { SizedLayers } from "./sized-layers.ts";
import { LocalStreams } from "./streams.ts";
import { Supervisor } from "./supervisor.ts";

/** What a node's runtime is made with. */
export interface NodeRuntimeOptions {
  readonly dataRoot: string;
  /** Best in memory: what is in it is worthless after a boot. */
  readonly execRoot: string;
  /** Tells this node from others on the machine. */
  readonly instance: string;
  /** Id of the installation. */
  readonly engineId: string;
  /** Where the subnets of its own networks are taken from; Docker's when empty. */
  readonly defaultAddressPools: readonly AddressPool[];
  /** Whether frames of overlay networks go past their bridges, where the kernel can. */
  readonly bridgeShortcuts: boolean;
  /** Whether containers of a service share shims where it has many. */
  readonly sharedShims: boolean;
  /** Whether it has the network `bridge`. */
  readonly hasBridge: boolean;
  /** Below which control group the containers' own are. */
  readonly cgroupParent: string;
  readonly socketPath: string;
  /** runc, crun or empty for the quickest that works. */
  readonly runtime: string;
  readonly registry: Registry;
  /** What the managers say of the data path. */
  readonly cluster: Pick<NetworkState, "current" | "listen" | "known" | "settledBy">;
  /** How containers that are run by hand get into networks of the swarm. */
  readonly attachments: SwarmAttachments;
  /** What the node runs, the best first. */
  readonly platforms: () => readonly Platform[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The runtime of one node. */
export class NodeRuntime implements Runtime {
  readonly containers: ContainerdContainers;
  readonly images: Images;
  readonly volumes: Volumes;
  readonly networks: LocalNetworks;
  readonly #o: NodeRuntimeOptions;
  readonly #node: NodeFacts = readNodeFacts();
  readonly #places: ContainerdPlaces;
  readonly #supervisor: Supervisor;
  readonly #images: NodeImages;
  readonly #stateFolder: string;
  readonly #secretsFolder: string | undefined;
  /** Holds the files that keep network namespaces. */
  readonly #namespaces: string;
  /** Holds the layers of containers that have a size. */
  readonly #layers: string;
  readonly #network: NodeNetwork;
  #programs: readonly RuntimeProgram[] = [];
  #probed: Promise<void> | undefined;

  private constructor(options: NodeRuntimeOptions, volumes: Volumes) {
    this.#o = options;
    const { dataRoot, execRoot, instance, registry, platforms, clock, random, log } = options;
    const folder = join(dataRoot, "containers");
    mkdirSync(folder, { recursive: true, mode: 0o711 });
    this.#stateFolder = join(execRoot, `runtime-${instance}`);
    this.#secretsFolder = memoryFolder([execRoot, "/run/skep", "/dev/shm"], `skep-${instance}`);
    this.#places = placesOf(options);
    this.#supervisor = new Supervisor({
      places: this.#places,
      how: this.#containerd(),
      clock,
      log,
    });
    const { client } = this.#supervisor;
    const ready = () => this.#supervisor.ready();
    const images = new NodeImages({ client, ready, registry, platforms, clock, random, log });
    this.#images = images;
    this.images = images;
    this.volumes = volumes;
    const local = localNetworks(options, join(this.#stateFolder, "places"));
    this.networks = local;
    this.#namespaces = join(execRoot, "netns");
    this.#layers = join(dataRoot, "layers");
    const layers = new SizedLayers(this.#layers);
    this.#network = new NodeNetwork({
      folder: this.#namespaces,
      instance,
      keyFile: join(dataRoot, "network", "wireguard.pem"),
      local,
      cluster: options.cluster,
      attachments: options.attachments,
      shortcuts: options.bridgeShortcuts,
      clock,
      random,
      log: log.with({ component: "network" }),
    });
    this.containers = new ContainerdContainers({
      client,
      ready: () => this.#ready(),
      images: this.images,
      volumes: this.volumes,
      streams: (core) => new LocalStreams(core, client),
      files: (core) =>
        new LocalFiles(core, {
          client,
          images: this.images,
          layers,
          snapshotKey,
          rootfsOf: (id) => rootfsOf(this.#places.stateFolder, core.get(id), id),
          commit: (container, options) =>
            commitContainer({ client, images, layers, snapshotKey }, container, options),
        }),
      networks: this.#network,
      node: this.#node,
      programs: runtimePrograms(
        () => this.#programs,
        this.#stateFolder,
        join(dataRoot, "runtimes"),
      ),
      layers,
      folder,
      secretsFolder: this.#secretsFolder,
      cgroupParent: options.cgroupParent,
      sharedShims: options.sharedShims,
      clock,
      random,
      log,
    });
  }

  #containerd(): ContainerdProgram {
    const { hybridMount } = this.#node.cgroups;
    return { program: "containerd", hiddenMount: hybridMount, programsFolder: this.#view };
  }

  /** Where crun is seen on a read-only mount. */
  get #view(): string {
    return join(this.#o.execRoot, `programs-${this.#o.instance}`);
  }

  /** Reads what there is of volumes. */
  static async open(options: NodeRuntimeOptions): Promise<NodeRuntime> {
    const volumes = await LocalVolumes.open(join(options.dataRoot, "volumes"), options);
    const runtime = new NodeRuntime(options, volumes);
    await runtime.#network.open();
    return runtime;
  }

  /** With which other nodes reach this one in encrypted networks, now and soon; empty where it cannot encrypt. */
  wireguardPublicKeys(): {
    readonly wireguardPublicKey: Uint8Array;
    readonly nextWireguardPublicKey: Uint8Array;
  } {
    return {
      wireguardPublicKey: this.#network.publicKey(),
      nextWireguardPublicKey: this.#network.nextPublicKey(),
    };
  }

  /** Begins to change the node's key for encrypted networks. */
  rotateNetworkKey(): void {
    this.#network.rotateKey();
  }

  /** Resolves when the containers of earlier lives of the daemon are known. */
  get loaded(): Promise<void> {
    return this.containers.loaded;
  }

  /** Resolves when the containers are known, or it is known that there is no containerd. Not before `run` was called. */
  async settled(): Promise<void> {
    try {
      await this.#ready();
      await this.loaded;
    } catch {
      // Every call says why, and so does `facts`.
    }
  }

  get dataPath(): DataPath {
    const network = this.#network;
    return { look: (request, signal) => network.look(request, signal), programsAt };
  }

  /** Before a task is told to stop. @throws the signal's reason. */
  drain(container: Container, signal: AbortSignal): Promise<void> {
    return this.#network.drain(container, signal);
  }

  /** To be called once the cluster of this node is known: what others left behind goes, when the containers are known. */
  async clean(): Promise<void> {
    // While containerd is away they may run all the same.
    await this.loaded;
    this.#network.claimed();
  }

  /** Runs until the signal aborts; containers run on after that. */
  async run(signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const volumes = join(this.#o.dataRoot, "volumes");
    const apart = [volumes, this.#namespaces, this.#layers];
    const shared = this.#node.cgroups.hybridMount === undefined ? [] : apart;
    for (const folder of shared) await this.#share(folder);
    await this.#showPrograms();
    const networkOver = new AbortController();
    const connecting = this.#network.run(networkOver.signal);
    const supervising = this.#supervisor.run(over.signal);
    this.#probed = this.#probe();
    const sweeping = this.#images.run(signal);
    const following = this.#forgetNetworksOfRemoved(signal);
    try {
      await this.containers.run(signal);
      await sweeping;
      await following;
      await this.#probed;
    } finally {
      networkOver.abort();
      await connecting;
      // The last states of containers are written by now.
      over.abort();
      await supervising;
      await this.#hidePrograms();
      for (const folder of shared) await unshareFolder(folder);
      removeIfEmpty(this.#namespaces);
      this.#clean();
    }
  }

  /** What was connected to a container is kept until it is removed, by whomever. */
  async #forgetNetworksOfRemoved(signal: AbortSignal): Promise<void> {
    const events = this.containers.events(signal);
    this.loaded
      .then(() => this.networks.keepOnly(new Set(this.containers.list().map(({ id }) => id))))
      .catch((error) => {
        this.#o.log.warn("what was kept of removed containers' networks is left", {
          err: errorText(error),
        });
      });
    for await (const { action, container } of events) {
      if (action === "destroy") await this.networks.forget(container.id);
    }
  }

  /** Before containerd starts in a mount namespace of its own. */
  async #share(folder: string): Promise<void> {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o711 });
      await shareFolder(folder);
    } catch (error) {
      this.#o.log.warn("what is mounted later is not there in containers", {
        folder,
        err: errorText(error),
      });
    }
  }

  /** Before containerd starts, which may get a mount namespace of its own. */
  async #showPrograms(): Promise<void> {
    const program = findProgram([quickestProgram]);
    if (program === undefined) return;
    try {
      await showProgram(this.#view, program);
    } catch (error) {
      // It protects itself then, at each start.
      this.#o.log.debug("crun is not shown on a read-only mount", { err: errorText(error) });
    }
  }

  async #hidePrograms(): Promise<void> {
    await hideProgram(this.#view, quickestProgram).catch((error) => {
      this.#o.log.warn("a mount of the daemon's is left", {
        folder: this.#view,
        err: errorText(error),
      });
    });
  }

  /** Usable without the object, as an interface of functions is. */
  readonly facts = (): RuntimeFacts => {
    const { cgroups, initPath } = this.#node;
    const state = this.#supervisor.state();
    const has = (name: string) => cgroups.controllers.has(name);
    const limits = {
      memory: has("memory"),
      swap: cgroups.swapLimit,
      cpuQuota: has("cpu"),
      cpuShares: has("cpu"),
      cpuset: has("cpuset"),
      pids: has("pids"),
      oomKillDisable: has("memory") && cgroups.version === 1,
    };
    const isDown = state.kind === "down";
    return {
      snapshotter: snapshotterName,
      containerdVersion: state.kind === "up" ? state.version : "",
      containerdCommit: "",
      programs: this.#programs,
      init: { name: "docker-init", path: initPath ?? "", version: "" },
      cgroupDriver: "cgroupfs",
      cgroupVersion: cgroups.version === 1 ? "1" : "2",
      limits,
      securityOptions: ["name=seccomp,profile=builtin"],
      warnings: [
        ...(isDown ? [`WARNING: no containers run here: ${state.reason}`] : []),
        ...limitWarnings(limits),
        ...libraryWarnings(isWithoutLibraries()),
      ],
    };
  };

  async #ready(): Promise<void> {
    await this.#supervisor.ready();
    await this.#probed;
    if (this.#programs.length === 0) {
      throw new ClusterError(
        "unavailable",
        "neither crun nor runc works on this node: install one of them and restart the daemon",
      );
    }
  }

  async #probe(): Promise<void> {
    this.#programs = await probePrograms({
      folder: this.#stateFolder,
      hiddenMount: this.#node.cgroups.hybridMount,
      first: this.#o.runtime,
      log: this.#o.log,
    });
    const [program] = this.#programs;
    this.#o.log.info("runtime chosen", { runtime: program?.name, version: program?.version });
  }

  /** Removes what is of no use while no container runs. */
  #clean(): void {
    if (this.containers.list().some(({ state }) => state.pid > 0)) return;
    rmSync(this.#stateFolder, { recursive: true, force: true });
    removeState(this.#places);
    // Containers that do not run keep theirs, to be started again.
    if (this.#secretsFolder !== undefined) removeIfEmpty(this.#secretsFolder);
  }
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Something is in it, or it was never made.
  }
}

function placesOf({ dataRoot, execRoot, instance, socketPath }: NodeRuntimeOptions) {
  return withEarlierState({
    folder: join(dataRoot, "containerd"),
    stateFolder: join(execRoot, `containerd-${instance}`),
    socketPath,
  });
}

/** The node's own networks; what the data path has is in their way, wherever the host has no route to it yet. */
function localNetworks(options: NodeRuntimeOptions, placesFolder: string): LocalNetworks {
  const { dataRoot, engineId, hasBridge, defaultAddressPools, clock, random, log } = options;
  const own = [gateway.subnet, gateway.subnet6, `${uplink.host}/${uplink.length}`];
  const prefixes = own.flatMap((text) => parsePrefix(text) ?? []);
  return new LocalNetworks({
    store: new LocalStore(join(dataRoot, "network", "local.json"), placesFolder),
    engineId,
    hasBridge,
    pools: defaultAddressPools,
    takenPrefixes: () => [...prefixes, ...hostRoutes((device) => /^sk[0-9a-f]{4}-/.test(device))],
    probe: bindProbe,
    hasDevice,
    clock,
    random,
    log,
  });
}

/**
 * Where the root file system of a running container is mounted, as seen from its shim, whose mount namespace may be another
 * than ours.
 */
export function rootfsOf(state: string, container: Container | undefined, id: string): string {
  const pid = container?.state.pid ?? 0;
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The shim is the parent of the container's first process.
  const shim = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
  const bundle = join(state, bundlesFolder, skepNamespace, id);
  return `/proc/${shim}/root${bundle}/rootfs`;
}
