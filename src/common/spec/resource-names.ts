/**
 * Names of single resources of a node, such as one GPU: nodes declare them (`--node-generic-resource GPU=uuid1`), services ask for
 * a number of a kind, or for these very ones. Pure.
 */

/** What names may be, in words. */
export const resourceNameWords =
  "a name that a node can declare with --node-generic-resource KIND=NAME: letters, digits and _ . : / -, and not a number alone";

/** Whether a node can declare this name; a number would say how many there are. */
export function isResourceName(text: string): boolean {
  return /^[\w.:/-]+$/.test(text) && !/^\d+$/.test(text);
}

/** Whether a resource is a device of its node, which whoever is given it has in the container. */
export function isDeviceName(name: string): boolean {
  return name.startsWith("/dev/") && !name.split("/").includes("..");
}
