/**
 * Mounts of a service: volumes, binds, and file systems in memory. Pure.
 */
import type { ComposeMount, ComposeService } from "../model.ts";
import { bytesFrom } from "../units.ts";
import { type Body, objectName, present, type ServiceContext, stackLabels } from "./context.ts";

/**
 * `Mounts`, those of `volumes` before those of `tmpfs`, and those of other services last.
 *
 * @throws ClusterError for options that cannot be.
 */
export function mountBodies(service: ComposeService, context: ServiceContext): readonly Body[] {
  const own = [
    ...(service.volumes ?? []).map((mount, i) =>
      mountBody(mount, `${context.path}.volumes[${i}]`, context),
    ),
    ...(service.tmpfs ?? []).map((text, i) =>
      tmpfsBody(text, `${context.path}.tmpfs[${i}]`, context),
    ),
  ];
  const taken = new Set(own.map((mount) => mount["Target"]));
  const others = sharedMounts(service, context).filter(({ Target: target }) => {
    const isNew = !taken.has(target);
    taken.add(target);
    return isNew;
  });
  return [...own, ...others];
}

/** Volumes and folders of the services it names; a task goes where its volumes are. */
function sharedMounts(service: ComposeService, context: ServiceContext): readonly Body[] {
  return (service.volumes_from ?? []).flatMap((text, i) => {
    const [name = "", mode] = text.split(":");
    const path = `${context.path}.volumes_from[${i}]`;
    const other = context.model.services[name];
    if (other === undefined)
      throw context.fail(path, `${path}: undefined service ${JSON.stringify(name)}`);
    const [nameless] = (other.volumes ?? []).filter(
      ({ type, source }) => type === "volume" && source === undefined,
    );
    if (nameless !== undefined)
      throw context.fail(
        path,
        `${path}: the volume of ${name} at ${nameless.target} has no name, and each task has its own; declare one under volumes`,
      );
    const shared = (other.volumes ?? []).filter(({ type }) => type !== "tmpfs");
    const mounts = [
      ...shared.map((mount) => mountBody(mount, path, context)),
      ...sharedMounts(other, { ...context, path: `services.${name}` }),
    ];
    return mode === "ro" ? mounts.map((mount) => ({ ...mount, ReadOnly: true })) : mounts;
  });
}

function mountBody(mount: ComposeMount, path: string, context: ServiceContext): Body {
  const { bind, tmpfs } = mount;
  if (bind?.selinux !== undefined)
    context.warn(
      path,
      `${path} option ${bind.selinux} is ignored: nodes do not relabel files for SELinux`,
    );
  return present({
    Type: mount.type,
    Source: mount.type === "volume" ? volumeName(mount, context) : mount.source,
    Target: mount.target,
    ReadOnly: mount.read_only,
    Consistency: mount.consistency,
    BindOptions: bind && bindOptions(bind),
    VolumeOptions: volumeOptions(mount, context),
    TmpfsOptions:
      tmpfs &&
      present({
        SizeBytes: tmpfs.size,
        Mode: tmpfs.mode,
        Options: tmpfs.options?.map((option) => option.split("=")),
      }),
    ImageOptions: mount.image && { Subpath: mount.image.subpath },
  });
}

function bindOptions(bind: NonNullable<ComposeMount["bind"]>): Body {
  const { recursive } = bind;
  return present({
    Propagation: bind.propagation,
    CreateMountpoint: bind.create_host_path === true ? true : undefined,
    NonRecursive: recursive === "disabled" ? true : undefined,
    ReadOnlyNonRecursive: recursive === "writable" ? true : undefined,
    ReadOnlyForceRecursive: recursive === "readonly" ? true : undefined,
  });
}

function volumeName({ source }: ComposeMount, context: ServiceContext): string | undefined {
  if (source === undefined) return undefined;
  const volume = context.model.volumes[source];
  return volume?.external === true
    ? (volume.name ?? source)
    : objectName(context.stack, source, volume?.name);
}

function volumeOptions(
  { type, source, volume: own }: ComposeMount,
  context: ServiceContext,
): Body | undefined {
  if (type !== "volume") return undefined;
  const said = { NoCopy: own?.nocopy, Subpath: own?.subpath };
  if (source === undefined) {
    const options = present({ ...said, Labels: own?.labels });
    return Object.keys(options).length === 0 ? undefined : options;
  }
  const volume = context.model.volumes[source];
  if (volume?.external === true) return present({ ...said, Labels: own?.labels });
  const hasDriver = volume?.driver !== undefined || volume?.driver_opts !== undefined;
  return present({
    ...said,
    Labels: stackLabels(context.stack, { ...volume?.labels, ...own?.labels }),
    DriverConfig: hasDriver
      ? present({ Name: volume?.driver, Options: volume?.driver_opts })
      : undefined,
  });
}

/** `/run:size=64m,mode=1770,noexec`. */
function tmpfsBody(text: string, path: string, context: ServiceContext): Body {
  const [target = "", written = ""] = text.split(/:(.*)/s);
  if (!target.startsWith("/"))
    throw context.fail(path, `${path}: ${JSON.stringify(target)} must be an absolute path`);
  const options: string[][] = [];
  const known: { SizeBytes?: number; Mode?: number } = {};
  for (const option of written.split(",").filter((one) => one !== "")) {
    const [name = "", value] = option.split("=");
    if (name === "size") {
      const size = bytesFrom(value ?? "");
      if (size === undefined)
        throw context.fail(path, `${path}: ${JSON.stringify(option)} must be a size such as 50M`);
      known.SizeBytes = size;
    } else if (name === "mode") {
      if (!/^[0-7]{1,5}$/.test(value ?? ""))
        throw context.fail(path, `${path}: ${JSON.stringify(option)} must be an octal mode`);
      known.Mode = Number.parseInt(value ?? "", 8);
    } else options.push(value === undefined ? [name] : [name, value]);
  }
  const all = present({ ...known, Options: options.length === 0 ? undefined : options });
  return present({
    Type: "tmpfs",
    Target: target,
    TmpfsOptions: Object.keys(all).length === 0 ? undefined : all,
  });
}
