/**
 * Where programs for all sockets are put: the root of the control groups. Pure.
 */

/**
 * Where control groups of version 2 are mounted, those from their root on before others. Beside groups of version 1 the
 * kernel has every process in their root.
 *
 * @param mounts /proc/self/mountinfo.
 * @throws Error where there are none.
 */
export function unifiedGroup(mounts: string): string {
  const found = mounts.split("\n").flatMap((line) => {
    const [of = "", rest = ""] = line.split(" - ");
    const [, , , root = "", path = ""] = of.split(" ");
    return rest.startsWith("cgroup2 ") ? [{ root, path }] : [];
  });
  const group = found.find(({ root }) => root === "/") ?? found[0];
  if (group === undefined) throw new Error("there are no control groups of version 2");
  return group.path;
}
