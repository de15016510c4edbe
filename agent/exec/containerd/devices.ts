/**
 * Device nodes of the node that containers may use: those a user names, and all of them for privileged ones.
 */
import { lstatSync, readdirSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";
import type { DeviceMapping } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { OciDevice } from "./oci-types.ts";

/** A device with what may be done with it. */
export type AllowedDevice = OciDevice & { readonly access: string };

/**
 * The devices that were asked for; a folder stands for all devices in it.
 *
 * @throws ClusterError invalid-argument naming the device that is not there.
 */
export function mappedDevices(mappings: readonly DeviceMapping[]): AllowedDevice[] {
  return mappings.flatMap(({ pathOnHost, pathInContainer, permissions }) => {
    const access = permissions === "" ? "rwm" : permissions;
    if (!/^[rwm]{1,3}$/.test(access)) {
      throw new ClusterError("invalid-argument", `invalid device permissions: ${permissions}`);
    }
    const target = pathInContainer === "" ? pathOnHost : pathInContainer;
    const stats = statsOf(pathOnHost);
    if (stats === undefined) {
      throw new ClusterError(
        "invalid-argument",
        `error gathering device information while adding custom device "${pathOnHost}": no such file or directory`,
      );
    }
    if (stats.isDirectory()) {
      return devicesBelow(pathOnHost, target).map((device) => ({ ...device, access }));
    }
    const device = deviceOf(target, stats);
    if (device === undefined) {
      throw new ClusterError(
        "invalid-argument",
        `error gathering device information while adding custom device "${pathOnHost}": not a device node`,
      );
    }
    return [{ ...device, access }];
  });
}

/** Every device of the node. */
export function allDevices(): AllowedDevice[] {
  return devicesBelow("/dev", "/dev").map((device) => ({ ...device, access: "rwm" }));
}

/** Numbers of a block device of the node. @throws ClusterError invalid-argument naming what is none. */
export function blockDevice(path: string): { readonly major: number; readonly minor: number } {
  const stats = statsOf(path);
  if (stats?.isBlockDevice() === true) return deviceNumber(stats.rdev);
  throw new ClusterError(
    "invalid-argument",
    `limit of input and output: ${path} is ${stats === undefined ? "not there" : "no block device"}`,
  );
}

/** Other containers' terminals and the like, which a container has of its own. */
const ownPlaces: ReadonlySet<string> = new Set(["pts", "shm", "fd", "mqueue", ".lxc", ".udev"]);

function devicesBelow(folder: string, target: string): OciDevice[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      return ownPlaces.has(entry.name) ? [] : devicesBelow(path, join(target, entry.name));
    }
    if (entry.name === "console" || entry.isSymbolicLink()) return [];
    const stats = statsOf(path, lstatSync);
    const device = stats && deviceOf(join(target, entry.name), stats);
    return device === undefined ? [] : [device];
  });
}

function deviceOf(path: string, stats: Stats): OciDevice | undefined {
  const type = stats.isCharacterDevice() ? "c" : stats.isBlockDevice() ? "b" : undefined;
  if (type === undefined) return undefined;
  return {
    path,
    type,
    ...deviceNumber(stats.rdev),
    fileMode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
  };
}

/** Major and minor number as the kernel packs them: 12 and 20 bits, the low eight of the minor at the bottom. */
function deviceNumber(rdev: number): { major: number; minor: number } {
  const value = BigInt(rdev);
  return {
    major: Number(((value >> 8n) & 0xfffn) | ((value >> 32n) & ~0xfffn)),
    minor: Number((value & 0xffn) | ((value >> 12n) & 0xffffff00n)),
  };
}

function statsOf(path: string, read: (path: string) => Stats = statSync): Stats | undefined {
  try {
    return read(path);
  } catch {
    // Absent, or gone since it was listed.
    return undefined;
  }
}
