/**
 * What is mounted into a container: from the words of its configuration and of the image to a checked plan, and from the
 * plan to mounts of the OCI spec and to what `docker inspect` shows. Pure.
 */
import { posix } from "node:path";
import type { Mount } from "../../../src/common/api/generated/api.ts";
import type { ContainerConfig, MountPoint } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { OciMount } from "./oci-types.ts";

/** One mount of a container, as it is kept with it. */
export interface PlannedMount {
  readonly type: "bind" | "volume" | "tmpfs";
  /** Absolute and clean, inside the container. */
  readonly target: string;
  /** Path on the node for a bind, name for a volume; empty for a volume that is still to be made. */
  readonly source: string;
  readonly readOnly: boolean;
  readonly propagation: string;
  readonly nonRecursive: boolean;
  /** Path inside a volume. */
  readonly subpath: string;
  /** Of a tmpfs. */
  readonly options: readonly string[];
  /** A volume that is new takes over what the image has at the target. */
  readonly copyUp: boolean;
  /** Made for this container: goes with it. */
  readonly anonymous: boolean;
  readonly driver: { readonly name: string; readonly options: Readonly<Record<string, string>> };
  readonly labels: Readonly<Record<string, string>>;
}

/** What a plan is made from. */
export interface MountWish {
  readonly config: Pick<ContainerConfig, "mounts" | "anonymousVolumes">;
  /** Paths that the image wants to be volumes. */
  readonly imageVolumes: readonly string[];
  /** Mounts taken over from other containers. */
  readonly from: readonly PlannedMount[];
}

/**
 * The mounts of a container, one per target: its own before those of others before anonymous ones.
 *
 * @throws ClusterError invalid-argument in Docker's words.
 */
export function planMounts(wish: MountWish): PlannedMount[] {
  const plan = new Map<string, PlannedMount>();
  for (const mount of wish.config.mounts) {
    const planned = plannedMount(mount);
    if (plan.has(planned.target)) {
      throw new ClusterError("invalid-argument", `Duplicate mount point: ${planned.target}`);
    }
    plan.set(planned.target, planned);
  }
  for (const mount of wish.from) if (!plan.has(mount.target)) plan.set(mount.target, mount);
  for (const path of [...wish.config.anonymousVolumes, ...wish.imageVolumes]) {
    const target = targetOf("volume", path);
    if (!plan.has(target)) plan.set(target, anonymousVolume(target));
  }
  return [...plan.values()];
}

function anonymousVolume(target: string): PlannedMount {
  return { ...emptyMount, type: "volume", target, copyUp: true, anonymous: true };
}

const emptyMount: PlannedMount = {
  type: "volume",
  target: "",
  source: "",
  readOnly: false,
  propagation: "",
  nonRecursive: false,
  subpath: "",
  options: [],
  copyUp: false,
  anonymous: false,
  driver: { name: "", options: {} },
  labels: {},
};

function plannedMount(mount: Mount): PlannedMount {
  const target = targetOf(mount.type, mount.target);
  const base = { ...emptyMount, target, readOnly: mount.readOnly };
  switch (mount.type) {
    case "bind":
      return {
        ...base,
        type: "bind",
        source: bindSource(mount),
        propagation: propagationOf(mount),
        nonRecursive: mount.bind?.nonRecursive ?? false,
      };
    case "volume":
      return {
        ...base,
        type: "volume",
        source: mount.source,
        subpath: subpathOf(mount),
        copyUp: !(mount.volume?.noCopy ?? false),
        anonymous: mount.source === "",
        driver: {
          name: mount.volume?.driver?.name ?? "",
          options: mount.volume?.driver?.options ?? {},
        },
        labels: mount.volume?.labels ?? {},
      };
    case "tmpfs":
      if (mount.source !== "") throw invalidMount("tmpfs", "field Source must not be specified");
      return { ...base, type: "tmpfs", options: tmpfsOptions(mount) };
    default:
      throw invalidMount(mount.type, "this node mounts bind, volume and tmpfs only");
  }
}

function targetOf(type: string, path: string): string {
  if (path === "") throw invalidMount(type, "field Target must not be empty");
  if (!path.startsWith("/")) {
    throw invalidMount(type, `invalid mount path: '${path}' mount path must be absolute`);
  }
  const clean = posix.normalize(path).replace(/(.)\/$/, "$1");
  if (clean === "/") throw invalidMount(type, "invalid specification: destination can't be '/'");
  return clean;
}

function bindSource(mount: Mount): string {
  if (mount.source === "") throw invalidMount("bind", "field Source must not be empty");
  if (!mount.source.startsWith("/")) {
    throw invalidMount("bind", `invalid mount path: '${mount.source}' mount path must be absolute`);
  }
  return posix.normalize(mount.source).replace(/(.)\/$/, "$1");
}

const propagations = new Set(["", "private", "rprivate", "shared", "rshared", "slave", "rslave"]);

function propagationOf(mount: Mount): string {
  const propagation = mount.bind?.propagation ?? "";
  if (propagations.has(propagation)) return propagation === "" ? "rprivate" : propagation;
  throw invalidMount("bind", `invalid propagation mode: ${propagation}`);
}

function subpathOf(mount: Mount): string {
  const subpath = mount.volume?.subpath ?? "";
  if (subpath.startsWith("/") || subpath.split("/").includes("..")) {
    throw invalidMount("volume", `subpath must be a relative path within the volume: ${subpath}`);
  }
  return subpath;
}

function tmpfsOptions({ readOnly, tmpfs }: Mount): string[] {
  return [
    "noexec",
    "nosuid",
    "nodev",
    ...(readOnly ? ["ro"] : []),
    ...(tmpfs !== undefined && tmpfs.sizeBytes > 0 ? [`size=${tmpfs.sizeBytes}`] : []),
    ...(tmpfs !== undefined && tmpfs.mode > 0 ? [`mode=${tmpfs.mode.toString(8)}`] : []),
    ...(tmpfs?.options ?? []),
  ];
}

/** A refusal in the words of Docker's daemon. */
export function invalidMount(type: string, why: string): ClusterError {
  return new ClusterError("invalid-argument", `invalid mount config for type "${type}": ${why}`);
}

/** The mount for the OCI spec. @param path Folder or file on the node, for binds and volumes. */
export function ociMount(mount: PlannedMount, path: string): OciMount {
  if (mount.type === "tmpfs") {
    return {
      destination: mount.target,
      type: "tmpfs",
      source: "tmpfs",
      options: [...mount.options, "rprivate"],
    };
  }
  return {
    destination: mount.target,
    type: "bind",
    source: path,
    options: [
      mount.nonRecursive ? "bind" : "rbind",
      mount.readOnly ? "ro" : "rw",
      mount.propagation === "" ? "rprivate" : mount.propagation,
    ],
  };
}

/** The mount as `docker inspect` shows it. @param path As above; empty for a tmpfs. */
export function mountPoint(mount: PlannedMount, path: string): MountPoint {
  return {
    type: mount.type,
    name: mount.type === "volume" ? mount.source : "",
    source: path,
    destination: mount.target,
    driver: mount.type === "volume" ? mount.driver.name || "local" : "",
    mode: mount.type === "volume" ? "z" : "",
    writable: !mount.readOnly,
    propagation: mount.type === "bind" ? mount.propagation : "",
  };
}
