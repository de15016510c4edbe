/**
 * Gathers what a container's OCI spec depends on, at its creation and again at each start: user, volumes, files, devices,
 * namespaces of other containers.
 */
import {
  chmodSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Container, ContainerConfig } from "../../../src/common/container/types.ts";
import type { Volumes } from "../../../src/common/container/volumes.ts";
import type { Mount } from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { capabilitiesOf } from "./capabilities.ts";
import { hostsText, hostsTextOfNode, resolvText } from "./container-files.ts";
import { allDevices, mappedDevices } from "./devices.ts";
import { layersOf, readInLayers } from "./layers.ts";
import { invalidMount, ociMount, type PlannedMount } from "./mounts.ts";
import type { NodeFacts } from "./node-facts.ts";
import { nodeHostname } from "./node-facts.ts";
import { ociSpec, type SpecInput, specJson } from "./oci-spec.ts";
import type { OciMount } from "./oci-types.ts";
import type { ContainerFacts } from "./record.ts";
import { resourcesOf } from "./resources.ts";
import type { RuntimePrograms } from "./runtime-programs.ts";
import type { ContainerNetworks, JoinedNetworks, ProcessUser } from "./seams.ts";
import { type OciSeccomp, seccompOf } from "./seccomp.ts";
import { SeccompFilters } from "./seccomp-filters.ts";
import { secretEnvFiles } from "./secret-env.ts";
import { groupAnnotation } from "./shim-groups.ts";
import { userFileBytesMax, userOf } from "./user-lookup.ts";

/** What a builder is made with. */
export interface SpecBuilderOptions {
  readonly node: NodeFacts;
  readonly volumes: Volumes;
  readonly networks: Pick<ContainerNetworks, "fileOf">;
  readonly programs: Pick<RuntimePrograms, "stateOf">;
  /** Absolute in the cgroup tree, without slash at the end. */
  readonly cgroupParent: string;
  /** Folder of one container's own files. */
  readonly folderOf: (id: string) => string;
  /** Folder in memory for all secrets; undefined where there is none. */
  readonly secretsFolder: string | undefined;
  /** @throws ClusterError not-found. */
  readonly find: (reference: string) => Container;
}

type Facts = ContainerFacts;

/** In the folder in memory of a container that shares its /dev/shm. */
const sharedMemoryFolder = "shm";

/** Makes specs. */
export class SpecBuilder {
  readonly #o: SpecBuilderOptions;
  readonly #filters: SeccompFilters;

  constructor(options: SpecBuilderOptions) {
    this.#o = options;
    this.#filters = new SeccompFilters(options.programs.stateOf);
  }

  /** Where the secrets of one container are; undefined where no folder is in memory. */
  secretsOf(id: string): string | undefined {
    return this.#o.secretsFolder && join(this.#o.secretsFolder, id);
  }

  /** Path of a container's cgroup in the tree. */
  cgroupOf({ id, config }: Pick<Facts, "id" | "config">): string {
    const parent = config.cgroupParent || this.#o.cgroupParent;
    return `${parent.startsWith("/") ? parent : `/${parent}`}/${id}`;
  }

  /** Looks the user up in the layers of a root file system. */
  userIn(rootfs: readonly Mount[], user: string, groups: readonly string[]): ProcessUser {
    const layers = layersOf(rootfs);
    const text = (path: string) =>
      readInLayers(layers, path, userFileBytesMax)?.toString("utf8") ?? "";
    return userOf({ user, groups, passwd: text("/etc/passwd"), group: text("/etc/group") });
  }

  /**
   * The spec as JSON.
   *
   * @param start What it starts with; undefined before a start, when what it refers to need not be there.
   * @throws ClusterError invalid-argument or failed-precondition in Docker's words.
   */
  async build(
    facts: Facts,
    user: ProcessUser,
    start: JoinedNetworks | "strict" | undefined,
  ): Promise<string> {
    const { node } = this.#o;
    const { config } = facts;
    const joined = start === "strict" ? undefined : start;
    const shared = this.#shared(facts, start, joined);
    const files = this.#files(facts, start, joined);
    const mounts = [...(await this.#mounts(facts)), ...this.#secrets(facts), ...files];
    const capabilities = this.#capabilities(config);
    const seccomp = this.#seccomp(config, capabilities);
    const input: SpecInput = {
      config,
      args: facts.args,
      env: facts.env,
      workingDir: facts.workingDir,
      hostname: hostnameOf(facts.id, config),
      user,
      capabilities,
      seccomp,
      shared,
      mounts: withoutHidden(mounts),
      shmSource: this.#shmSource(facts.id, config),
      devices: config.privileged ? allDevices() : mappedDevices(config.devices),
      resources: resourcesOf(config, node.cgroups).resources,
      cgroupsPath: this.cgroupOf(facts),
      cgroupVersion: node.cgroups.version,
      initPath: config.init === true && shared.pid === undefined ? this.#init() : undefined,
      annotations: {
        ...this.#filters.annotations(facts.runtime, seccomp),
        ...(facts.shimGroup !== undefined && { [groupAnnotation]: facts.shimGroup }),
      },
    };
    return specJson(ociSpec(input));
  }

  /** After a start: what it cost to prepare is kept for the next ones. Never rejects. */
  async learn({ id, runtime, config }: Facts): Promise<void> {
    await this.#filters.learn(runtime, id, this.#seccomp(config, this.#capabilities(config)));
  }

  #capabilities(config: ContainerConfig): string[] {
    return capabilitiesOf({
      privileged: config.privileged,
      add: config.capabilityAdd,
      drop: config.capabilityDrop,
      available: this.#o.node.capabilities,
    });
  }

  #seccomp(config: ContainerConfig, capabilities: readonly string[]): OciSeccomp | undefined {
    const { node } = this.#o;
    return seccompOf({
      mode: config.privileges?.seccomp?.mode ?? "",
      profile: config.privileges?.seccomp?.profile ?? new Uint8Array(),
      capabilities,
      nodeArch: node.arch,
      kernel: node.kernel,
    });
  }

  /** What the node cannot do of what the container asks for. */
  warnings(config: ContainerConfig): string[] {
    return resourcesOf(config, this.#o.node.cgroups).warnings;
  }

  /** Where the secret variables of a container are; undefined for one without. */
  memoryForVariables({ id, config }: Pick<Facts, "id" | "config">): string | undefined {
    return (config.secretEnv ?? []).length > 0 ? this.#memoryOf(id) : undefined;
  }

  /** Writes the contents of secrets and configs into memory. @throws ClusterError unavailable without such a place. */
  writeSecrets(id: string, config: ContainerConfig): void {
    const variables = config.secretEnv ?? [];
    if (config.files.length === 0 && variables.length === 0) return;
    const folder = this.#memoryOf(id);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (variables.length > 0) {
      const values = Object.fromEntries(variables.map(({ name, value }) => [name, value]));
      const path = join(folder, secretEnvFiles.variables);
      writeFileSync(path, JSON.stringify(values), { mode: 0o600, flag: "wx" });
    }
    for (const [position, file] of config.files.entries()) {
      const path = join(folder, String(position));
      writeFileSync(path, file.data, { mode: 0o600, flag: "wx" });
      lchownSync(path, file.uid, file.gid);
      // By itself, and last: the daemon's umask takes bits away, and so does another owner.
      chmodSync(path, file.mode & 0o7777);
    }
  }

  /**
   * Removes what a container was given to read, which its processes need no more. What its program keeps beside it is left, as
   * that is deleted by it.
   */
  removeReadSecrets(id: string): void {
    const folder = this.secretsOf(id);
    if (folder === undefined || !existsSync(folder)) return;
    for (const name of readdirSync(folder)) {
      if (name === secretEnvFiles.state || name === sharedMemoryFolder) continue;
      rmSync(join(folder, name), { recursive: true, force: true });
    }
  }

  /** Removes all that is in memory of a container. */
  removeSecrets(id: string): void {
    const folder = this.secretsOf(id);
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }

  #init(): string {
    const { initPath } = this.#o.node;
    if (initPath !== undefined) return initPath;
    throw new ClusterError(
      "failed-precondition",
      "no init is installed on this node: install tini, or start the container without --init",
    );
  }

  #shared(
    facts: Facts,
    start: JoinedNetworks | "strict" | undefined,
    joined: JoinedNetworks | undefined,
  ): SpecInput["shared"] {
    const strict = start !== undefined;
    const { config } = facts;
    // Most often the spec a container is made with is the one it starts with, and is not written twice.
    const own = strict ? joined?.path : this.#o.networks.fileOf(facts);
    const place = (kind: string, mode: string, file: string): string | undefined => {
      if (mode === "host") return "host";
      const reference = /^container:(.+)$/.exec(mode)?.[1];
      if (reference === undefined) return undefined;
      const other = this.#o.find(reference);
      if (other.state.pid === 0 && strict) {
        throw new ClusterError(
          "failed-precondition",
          `cannot join ${kind} of a non running container: ${other.id}`,
        );
      }
      return `/proc/${other.state.pid}/ns/${file}`;
    };
    return {
      network: networkOf(config) === "own" ? own : place("network", networkOf(config), "net"),
      pid: place("PID namespace", config.pidMode, "pid"),
      ipc: place("IPC namespace", config.ipcMode, "ipc"),
      uts: config.utsMode === "host" ? "host" : undefined,
      cgroup: config.cgroupnsMode === "host" || config.privileged ? "host" : undefined,
    };
  }

  /** Source of /dev/shm where it is not the container's alone. One to be shared is a folder in memory of this node. */
  #shmSource(id: string, config: ContainerConfig): string | undefined {
    if (config.ipcMode === "host") return "/dev/shm";
    const reference = /^container:(.+)$/.exec(config.ipcMode)?.[1];
    const owner = reference === undefined ? undefined : this.#o.find(reference);
    if (owner !== undefined && owner.config.ipcMode !== "shareable") {
      throw new ClusterError(
        "invalid-argument",
        `cannot join IPC of container ${owner.id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`,
      );
    }
    if (owner === undefined && config.ipcMode !== "shareable") return undefined;
    const folder = join(this.#memoryOf(owner?.id ?? id), sharedMemoryFolder);
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o1777);
    return folder;
  }

  /** @throws ClusterError unavailable without such a place. */
  #memoryOf(id: string): string {
    const folder = this.secretsOf(id);
    if (folder !== undefined) return folder;
    throw new ClusterError(
      "unavailable",
      "secrets, configs and shared memory are kept in memory only: mount a tmpfs on /run or /dev/shm",
    );
  }

  async #mounts(facts: Facts): Promise<OciMount[]> {
    const mounts: OciMount[] = [];
    for (const mount of facts.planned) {
      mounts.push(ociMount(mount, await this.sourceOf(facts.id, mount)));
    }
    return mounts;
  }

  /** Where the content of a mount is on this node; empty for a tmpfs. @throws ClusterError when it is not there. */
  async sourceOf(id: string, mount: PlannedMount): Promise<string> {
    if (mount.type === "tmpfs") return "";
    if (mount.type === "bind") {
      if (existsSync(mount.source)) return mount.source;
      throw invalidMount("bind", `bind source path does not exist: ${mount.source}`);
    }
    const { volumes } = this.#o;
    const folder = volumes.usersOf(mount.source).includes(id)
      ? volumes.find(mount.source).mountpoint
      : await volumes.acquire(mount.source, id);
    return mount.subpath === "" ? folder : subfolder(folder, mount);
  }

  /** Whether its secrets and configs are there: they are in memory, and gone after a crash of the node. */
  hasSecrets({ id, config }: Facts): boolean {
    const folder = this.secretsOf(id) ?? "";
    const hasVariables =
      (config.secretEnv ?? []).length === 0 || existsSync(join(folder, secretEnvFiles.variables));
    return (
      hasVariables &&
      config.files.every((_, position) => existsSync(join(folder, String(position))))
    );
  }

  #secrets({ id, config }: Facts): OciMount[] {
    const folder = this.secretsOf(id);
    return config.files.map((file, position) => {
      const source = join(folder ?? "", String(position));
      if (!existsSync(source)) {
        throw new ClusterError(
          "failed-precondition",
          "the secrets and configs of this container were in memory and are gone: it has to be made anew",
        );
      }
      return {
        destination: file.target,
        type: "bind",
        source,
        options: ["bind", "ro", "nosuid", "nodev", "noexec", "rprivate"],
      };
    });
  }

  /**
   * Writes /etc/hosts and its like, unless they are there: who changed them in the container keeps them. But the addresses
   * of a container may be others at each start.
   */
  #files(
    { id, config }: Facts,
    start: JoinedNetworks | "strict" | undefined,
    joined: JoinedNetworks | undefined,
  ): OciMount[] {
    const network = networkOf(config);
    const reference = /^container:(.+)$/.exec(network)?.[1];
    const owner = reference === undefined ? undefined : this.#o.find(reference).id;
    const folder = this.#o.folderOf(owner ?? id);
    const options = ["rbind", config.readOnly ? "ro" : "rw", "rprivate"];
    const texts: readonly (readonly [string, () => string])[] = [
      ["hostname", () => `${hostnameOf(id, config)}\n`],
      [
        "hosts",
        () =>
          network === "host"
            ? hostsTextOfNode(readText("/etc/hosts"), config)
            : hostsText(config, joined ?? {}),
      ],
      [
        "resolv.conf",
        () => resolvText(nodeResolv(), config, { ownNetwork: network !== "host", ...joined }),
      ],
    ];
    return texts.map(([name, text]) => {
      const source = join(folder, name);
      const isNew = !existsSync(source) || (name === "hosts" && joined !== undefined);
      // Before its first start it is not known what is to be in them.
      if (isNew && (network !== "own" || start !== undefined || name === "hostname")) {
        mkdirSync(folder, { recursive: true, mode: 0o711 });
        writeFileSync(source, text(), { mode: 0o644 });
      }
      return { destination: `/etc/${name}`, type: "bind", source, options };
    });
  }
}

/** What a container has of networks: none, host, container:REF, or own ones. */
export function networkOf(config: Pick<ContainerConfig, "networks">): string {
  const name = config.networks[0] ?? "default";
  return name === "none" || name === "host" || name.startsWith("container:") ? name : "own";
}

/** The name inside: what was said, else the node's in its network, else the start of the id. */
export function hostnameOf(id: string, config: ContainerConfig): string {
  if (config.hostname !== "") return config.hostname;
  const ofNode = config.utsMode === "host" || networkOf(config) === "host";
  return ofNode ? nodeHostname() : id.slice(0, 12);
}

/** One mount per place; the user's come first and win over the node's files. */
function withoutHidden(mounts: readonly OciMount[]): OciMount[] {
  const seen = new Set<string>();
  return mounts.filter(({ destination }) => {
    if (seen.has(destination)) return false;
    seen.add(destination);
    return true;
  });
}

/** The path inside a volume, which must not lead out of it. */
function subfolder(folder: string, mount: PlannedMount): string {
  try {
    const path = realpathSync(join(folder, mount.subpath));
    const root = realpathSync(folder);
    if (path === root || path.startsWith(`${root}/`)) return statSync(path) && path;
  } catch {
    // Absent: said below.
  }
  throw invalidMount("volume", `cannot access path ${mount.subpath} of volume ${mount.source}`);
}

/** What programs on this machine ask, or behind the local cache of systemd-resolved what that asks. */
function nodeResolv(): string {
  const text = readText("/etc/resolv.conf");
  const upstream = "/run/systemd/resolve/resolv.conf";
  return /^nameserver\s+127\.0\.0\.53$/m.test(text) ? readText(upstream) || text : text;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Absent on this machine.
    return "";
  }
}
