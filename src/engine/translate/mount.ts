/**
 * Mounts of a service's containers: JSON ↔ `Mount`. Pure; follows the Engine API's `Mount` definition.
 */
import {
  BindOptions,
  Driver,
  ImageOptions,
  Mount,
  MountTypeValues,
  TmpfsOptions,
  VolumeOptions,
} from "../../common/api/generated/api.ts";
import {
  driverToJson,
  flagOrNothing,
  type Json,
  listOrNothing,
  mapOrNothing,
  numberOrNothing,
  textOrNothing,
  wordFromJson,
} from "./common.ts";
import type { JsonObject } from "./reader.ts";

const propagations = ["rprivate", "private", "rshared", "shared", "rslave", "slave", ""] as const;

/** @throws ClusterError `invalid-argument` for an unknown type or propagation. */
export function mountFromJson(json: JsonObject): Mount {
  return Mount.create({
    type: wordFromJson(json, "Type", {
      words: MountTypeValues,
      fallback: "bind",
      message: "invalid MountType:",
    }),
    source: json.string("Source"),
    target: json.string("Target"),
    readOnly: json.bool("ReadOnly"),
    consistency: json.string("Consistency"),
    bind: bindFromJson(json.object("BindOptions")),
    volume: volumeFromJson(json.object("VolumeOptions")),
    tmpfs: tmpfsFromJson(json.object("TmpfsOptions")),
    image: imageFromJson(json.object("ImageOptions")),
  });
}

/** The mount as the API shows it. */
export function mountToJson(mount: Mount): Json {
  return {
    Type: mount.type,
    Source: textOrNothing(mount.source),
    Target: textOrNothing(mount.target),
    ReadOnly: flagOrNothing(mount.readOnly),
    Consistency: textOrNothing(mount.consistency),
    BindOptions: bindToJson(mount.bind),
    VolumeOptions: volumeToJson(mount.volume),
    TmpfsOptions: tmpfsToJson(mount.tmpfs),
    ImageOptions: mount.image && { Subpath: textOrNothing(mount.image.subpath) },
  };
}

function bindFromJson(json: JsonObject | undefined): BindOptions | undefined {
  if (json === undefined) return undefined;
  return BindOptions.create({
    propagation: wordFromJson(json, "Propagation", {
      words: propagations,
      fallback: "",
      message: "invalid MountPropagation:",
    }),
    nonRecursive: json.bool("NonRecursive"),
    createMountpoint: json.bool("CreateMountpoint"),
    readOnlyNonRecursive: json.bool("ReadOnlyNonRecursive"),
    readOnlyForceRecursive: json.bool("ReadOnlyForceRecursive"),
  });
}

function bindToJson(bind: BindOptions | undefined): Json | undefined {
  if (bind === undefined) return undefined;
  return {
    Propagation: textOrNothing(bind.propagation),
    NonRecursive: flagOrNothing(bind.nonRecursive),
    CreateMountpoint: flagOrNothing(bind.createMountpoint),
    ReadOnlyNonRecursive: flagOrNothing(bind.readOnlyNonRecursive),
    ReadOnlyForceRecursive: flagOrNothing(bind.readOnlyForceRecursive),
  };
}

function volumeFromJson(json: JsonObject | undefined): VolumeOptions | undefined {
  if (json === undefined) return undefined;
  const driver = json.object("DriverConfig");
  return VolumeOptions.create({
    noCopy: json.bool("NoCopy"),
    labels: json.stringMap("Labels"),
    subpath: json.string("Subpath"),
    driver:
      driver &&
      Driver.create({ name: driver.string("Name"), options: driver.stringMap("Options") }),
  });
}

function volumeToJson(volume: VolumeOptions | undefined): Json | undefined {
  if (volume === undefined) return undefined;
  return {
    NoCopy: flagOrNothing(volume.noCopy),
    Labels: mapOrNothing(volume.labels),
    Subpath: textOrNothing(volume.subpath),
    DriverConfig: driverToJson(volume.driver),
  };
}

/** Options arrive as `[["noexec"], ["size", "1m"]]` and are kept as `noexec`, `size=1m`. */
function tmpfsFromJson(json: JsonObject | undefined): TmpfsOptions | undefined {
  if (json === undefined) return undefined;
  return TmpfsOptions.create({
    sizeBytes: json.integer("SizeBytes"),
    mode: json.uint32("Mode"),
    options: json.stringLists("Options").map((parts) => parts.join("=")),
  });
}

function tmpfsToJson(tmpfs: TmpfsOptions | undefined): Json | undefined {
  if (tmpfs === undefined) return undefined;
  return {
    SizeBytes: numberOrNothing(tmpfs.sizeBytes),
    Mode: numberOrNothing(tmpfs.mode),
    Options: listOrNothing(tmpfs.options.map(splitOption)),
  };
}

function splitOption(option: string): readonly string[] {
  const at = option.indexOf("=");
  return at < 0 ? [option] : [option.slice(0, at), option.slice(at + 1)];
}

function imageFromJson(json: JsonObject | undefined): ImageOptions | undefined {
  return json && ImageOptions.create({ subpath: json.string("Subpath") });
}
