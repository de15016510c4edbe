/**
 * `include`: what a file names to be part of it. Pure.
 */
import { childOf, type MapNode, type Node, type Place, refusal } from "./node.ts";

/** One entry. */
export interface Include {
  readonly place: Place;
  /** Put one over the other, as with several -c; relative to the folder of the file that includes. */
  readonly paths: readonly string[];
  readonly projectFolder: string | undefined;
  readonly envFiles: readonly string[];
}

/** What the file includes. @throws ClusterError invalid-argument for what can be no include. */
export function includesOf(root: MapNode): readonly Include[] {
  const node = childOf(root, "include");
  if (node === undefined) return [];
  if (node.kind !== "list") throw refusal(node.place, "include must be a list");
  return node.items.map(includeOf);
}

function includeOf(node: Node): Include {
  const { place } = node;
  if (node.kind === "scalar")
    return { place, paths: [node.text], projectFolder: undefined, envFiles: [] };
  if (node.kind === "list") throw refusal(place, "include must be a list of paths or mappings");
  const unknown = [...node.entries].find(
    ([key]) => !["path", "project_directory", "env_file"].includes(key),
  );
  if (unknown !== undefined)
    throw refusal(unknown[1].place, `include: Additional property ${unknown[0]} is not allowed`);
  const paths = textsOf(childOf(node, "path"), "path");
  if (paths.length === 0) throw refusal(place, "include.path is required");
  const [projectFolder] = textsOf(childOf(node, "project_directory"), "project_directory");
  return { place, paths, projectFolder, envFiles: textsOf(childOf(node, "env_file"), "env_file") };
}

function textsOf(node: Node | undefined, key: string): readonly string[] {
  if (node === undefined) return [];
  const items = node.kind === "list" ? node.items : [node];
  return items.map((item) => {
    if (item.kind !== "scalar")
      throw refusal(item.place, `include.${key} must be a string or a list of strings`);
    return item.text;
  });
}
