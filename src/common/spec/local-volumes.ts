/**
 * Which volumes of a task are on one node only. Pure.
 */
import type { TaskSpec } from "../api/generated/api.ts";

/**
 * File systems that the driver local mounts and that are no node's own: each node sees the same in them, or, in memory,
 * nothing that would last. All others, `none` for a bind among them, are of the node.
 */
const sharedTypes =
  /^(?:nfs4?|cifs|smb[23]?|smbfs|9p|afs|beegfs|ceph|fuse\..+|glusterfs|lustre|gfs2|ocfs2|tmpfs|ramfs)$/;

/** Whether a volume of the driver local with these options holds something that only its node has. */
export function isOfNode(options: Readonly<Record<string, string>>): boolean {
  return !sharedTypes.test(options["type"] ?? "");
}

/** Names of the volumes of its node that a spec mounts, sorted; what placeholders stand for is not known before. */
export function localVolumesOf(spec: TaskSpec | undefined): string[] {
  const names = (spec?.container?.mounts ?? []).flatMap(({ type, source, volume }) => {
    const { name = "", options = {} } = volume?.driver ?? {};
    const isLocal = type === "volume" && (name === "" || name === "local") && isOfNode(options);
    return isLocal && source !== "" && !source.includes("{{") ? source : [];
  });
  return [...new Set(names)].sort();
}
