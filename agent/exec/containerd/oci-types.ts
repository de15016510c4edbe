/**
 * The parts of an OCI runtime spec that are used here (opencontainers/runtime-spec 1.0.2), as its JSON has them.
 */
import type { OciProcess } from "./seams.ts";
import type { OciSeccomp } from "./seccomp.ts";

/** A mount inside a container. */
export interface OciMount {
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
}

/** A namespace: new, or that at `path`. */
export interface OciNamespace {
  readonly type: "pid" | "network" | "mount" | "ipc" | "uts" | "user" | "cgroup";
  readonly path?: string;
}

/** A device node that is made in the container. */
export interface OciDevice {
  readonly path: string;
  readonly type: "b" | "c" | "p";
  readonly major: number;
  readonly minor: number;
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** What may be done with devices; a field left out stands for all. */
export interface OciDeviceRule {
  readonly allow: boolean;
  readonly type?: "a" | "b" | "c";
  readonly major?: number;
  readonly minor?: number;
  readonly access: string;
}

/** A block device by its numbers. */
export interface OciBlockDevice {
  readonly major: number;
  readonly minor: number;
}

/** So much a second at most. */
export type OciThrottle = OciBlockDevice & { readonly rate: number };

/** Limits; also the body of a live update. */
export interface OciResources {
  readonly devices?: readonly OciDeviceRule[];
  readonly memory?: {
    readonly limit?: number;
    readonly reservation?: number;
    readonly swap?: number;
    readonly swappiness?: number;
    readonly disableOOMKiller?: boolean;
  };
  readonly cpu?: {
    readonly shares?: number;
    readonly quota?: number;
    readonly period?: number;
    readonly cpus?: string;
    readonly mems?: string;
  };
  readonly pids?: { readonly limit: number };
  readonly blockIO?: {
    readonly weight?: number;
    readonly weightDevice?: readonly (OciBlockDevice & { readonly weight: number })[];
    readonly throttleReadBpsDevice?: readonly OciThrottle[];
    readonly throttleWriteBpsDevice?: readonly OciThrottle[];
    readonly throttleReadIOPSDevice?: readonly OciThrottle[];
    readonly throttleWriteIOPSDevice?: readonly OciThrottle[];
  };
}

/** `process` with everything that is set here. */
export interface OciFullProcess extends OciProcess {
  readonly terminal: boolean;
  readonly consoleSize?: { readonly width: number; readonly height: number };
  readonly capabilities: {
    readonly bounding: readonly string[];
    readonly effective: readonly string[];
    readonly permitted: readonly string[];
    readonly inheritable: readonly string[];
  };
  readonly rlimits: readonly { type: string; soft: number; hard: number }[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj: number;
}

/** The whole spec. */
export interface OciSpec {
  readonly ociVersion: string;
  readonly process: OciFullProcess;
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly hostname?: string;
  readonly mounts: readonly OciMount[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux: {
    readonly namespaces: readonly OciNamespace[];
    readonly cgroupsPath: string;
    readonly resources: OciResources;
    readonly devices: readonly OciDevice[];
    readonly sysctl: Readonly<Record<string, string>>;
    readonly maskedPaths: readonly string[];
    readonly readonlyPaths: readonly string[];
    readonly rootfsPropagation?: string;
    readonly seccomp?: OciSeccomp;
  };
}
