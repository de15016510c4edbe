/**
 * Images as the API shows them: lines of the list, in full, history. Pure.
 */
import type { Image, ImageHistory, ImageRemoval } from "../../common/container/images.ts";
import { olderThan } from "../versions.ts";
import { type Json, timeToJson } from "./common.ts";
import { healthToJson } from "./container-json.ts";

/** One line of `GET /images/json`. @param containers How many use it; -1 when not counted. */
export function imageToSummary(image: Image, version: string, containers = -1): Json {
  const nameless = image.tags.length === 0 && image.digests.length === 0;
  // Old clients look for these words, new ones for empty lists.
  const none = nameless && olderThan(version, "1.43");
  return {
    Containers: containers,
    Created: Math.floor(image.createdAtMs / 1000),
    Id: image.id,
    Labels: orNull(image.config.labels),
    ParentId: "",
    RepoDigests: none ? ["<none>@<none>"] : image.digests,
    RepoTags: none ? ["<none>:<none>"] : image.tags,
    SharedSize: -1,
    Size: image.sizeBytes,
    VirtualSize: olderThan(version, "1.44") ? image.sizeBytes : undefined,
  };
}

/** `GET /images/{name}/json`. */
export function imageToInspect(
  image: Image,
  o: { readonly version: string; readonly snapshotter: string },
): Json {
  return {
    Id: image.id,
    RepoTags: image.tags,
    RepoDigests: image.digests,
    Parent: "",
    Comment: image.comment,
    Created: timeToJson(image.createdAtMs),
    DockerVersion: "",
    Author: image.author,
    Config: imageConfigToJson(image),
    Architecture: image.platform.architecture,
    Variant: image.platform.variant === "" ? undefined : image.platform.variant,
    Os: image.platform.os,
    Size: image.sizeBytes,
    VirtualSize: olderThan(o.version, "1.44") ? image.sizeBytes : undefined,
    GraphDriver: { Data: null, Name: o.snapshotter },
    RootFS: { Type: "layers", Layers: image.diffIds },
    Metadata: { LastTagTime: timeToJson(image.taggedAtMs) },
  };
}

function imageConfigToJson({ config }: Image): Json {
  return {
    Hostname: "",
    Domainname: "",
    User: config.user,
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    ExposedPorts: config.exposedPorts.length === 0 ? undefined : setOf(config.exposedPorts),
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    Env: config.env,
    Cmd: listOrNull(config.command),
    Healthcheck: healthToJson(config.health),
    Image: "",
    Volumes: config.volumes.length === 0 ? null : setOf(config.volumes),
    WorkingDir: config.workingDir,
    Entrypoint: listOrNull(config.entrypoint),
    OnBuild: null,
    Labels: orNull(config.labels),
    StopSignal: config.stopSignal === "" ? undefined : config.stopSignal,
    Shell: config.shell.length === 0 ? undefined : config.shell,
  };
}

/** One line of `GET /images/{name}/history`. */
export function historyToJson(line: ImageHistory): Json {
  return {
    Comment: line.comment,
    Created: Math.floor(line.createdAtMs / 1000),
    CreatedBy: line.createdBy,
    Id: line.id === "" ? "<missing>" : line.id,
    Size: line.sizeBytes,
    Tags: listOrNull(line.tags),
  };
}

/** What a removal did, as a list of steps. */
export function removalToJson(removal: ImageRemoval): readonly Json[] {
  return [
    ...removal.untagged.map((name) => ({ Untagged: name })),
    ...removal.deleted.map((id) => ({ Deleted: id })),
  ];
}

function setOf(keys: readonly string[]): Json {
  return Object.fromEntries(keys.map((key) => [key, {}]));
}

function listOrNull<T>(list: readonly T[]): readonly T[] | null {
  return list.length === 0 ? null : list;
}

function orNull(map: Readonly<Record<string, string>>): Json | null {
  return Object.keys(map).length === 0 ? null : map;
}
