/**
 * Volumes: JSON ↔ `VolumeRequest` and `Volume`. Pure.
 */
import type { Volume, VolumeRequest } from "../../common/container/volumes.ts";
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { type Json, timeToJson } from "./common.ts";
import type { JsonObject } from "./reader.ts";

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** @throws ClusterError `invalid-argument` with Docker's text for a name, `unimplemented` for volumes of the cluster. */
export function volumeRequestFromJson(json: JsonObject): VolumeRequest {
  if (json.has("ClusterVolumeSpec"))
    throw new ClusterError(
      "unimplemented",
      "ClusterVolumeSpec: volumes of the cluster (CSI) are not supported; use driver local",
    );
  const name = json.string("Name");
  if (name !== "" && !namePattern.test(name)) {
    const hint =
      'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path';
    throw json.invalid(
      name.length === 1
        ? "volume name is too short, names should be at least two alphanumeric characters"
        : `create ${name}: ${JSON.stringify(name)} includes invalid characters for a local volume name, ${hint}`,
    );
  }
  return {
    name,
    driver: json.string("Driver") || "local",
    options: json.stringMap("DriverOpts"),
    labels: json.stringMap("Labels"),
  };
}

/** A volume as the API shows it. @param use Bytes and number of containers, for disk use only. */
export function volumeToJson(
  volume: Volume,
  use?: { readonly bytes: number; readonly containers: number },
): Json {
  return {
    CreatedAt: timeToJson(volume.createdAtMs).replace(/\.\d+Z$/, "Z"),
    Driver: volume.driver,
    Labels: orNull(volume.labels),
    Mountpoint: volume.mountpoint,
    Name: volume.name,
    Options: orNull(volume.options),
    Scope: "local",
    UsageData: use && { RefCount: use.containers, Size: use.bytes },
  };
}

function orNull(map: Readonly<Record<string, string>>): Json | null {
  return Object.keys(map).length === 0 ? null : map;
}
