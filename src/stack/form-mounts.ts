/**
 * Mounts of a service: `[SOURCE:]TARGET[:OPTIONS]` and the long form. Pure.
 */

import { texts } from "./forms.ts";
import type { ComposeMount } from "./model.ts";
import { type Node, refusal } from "./node.ts";
import {
  bytes,
  either,
  integer,
  list,
  object,
  type Shape,
  type Spot,
  text,
  textList,
  truth,
  word,
} from "./shape.ts";

const propagations = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];
const consistencies = ["cached", "delegated", "consistent"];

const longForm = {
  type: word("bind", "volume", "tmpfs", "npipe", "cluster", "image"),
  source: text,
  target: text,
  read_only: truth,
  consistency: text,
  bind: object({
    propagation: word(...propagations),
    create_host_path: truth,
    recursive: word("enabled", "disabled", "writable", "readonly"),
    selinux: word("z", "Z"),
  }),
  volume: object({ nocopy: truth, subpath: text, labels: texts }),
  tmpfs: object({ size: bytes, mode: integer(0, 0o7777), options: textList(text) }),
  image: object({ subpath: text }),
};

const mount: Shape = either({
  scalar: (node, spot) => shortMount(text(node, spot) as string, node, spot),
  map: (node, spot) =>
    longMount(object(longForm, ["target"])(node, spot) as ComposeMount, node, spot),
  what: "a string or a mapping",
});

/** `volumes` of a service. */
export const mounts: Shape = list(mount);

function longMount(found: ComposeMount, node: Node, spot: Spot): ComposeMount {
  const { type = "volume", source } = found;
  if (!found.target.startsWith("/"))
    throw refusal(
      node.place,
      `${spot.path}: the target ${JSON.stringify(found.target)} must be an absolute path`,
    );
  if (type === "bind") {
    if (source === undefined)
      throw refusal(node.place, `${spot.path}: invalid bind source, source cannot be empty`);
    return { ...found, type, source: spot.reading.resolve(node.place.source.folder, source) };
  }
  for (const key of ["bind", "volume", "tmpfs", "image"] as const)
    if (key !== type && found[key] !== undefined)
      throw refusal(node.place, `${spot.path}: ${key} options are incompatible with type ${type}`);
  if (type === "tmpfs" && source !== undefined)
    throw refusal(node.place, `${spot.path}: invalid tmpfs source, source must be empty`);
  if (type === "image" && source === undefined)
    throw refusal(node.place, `${spot.path}: invalid image source, source cannot be empty`);
  return { ...found, type };
}

function shortMount(written: string, node: Node, spot: Spot): ComposeMount {
  const bad = (why: string) =>
    refusal(node.place, `${spot.path}: invalid spec ${JSON.stringify(written)}: ${why}`);
  const parts = written.split(":");
  if (parts.length > 3 || parts.some((part) => part === ""))
    throw bad("the form is [SOURCE:]TARGET[:OPTIONS], no part of it empty");
  const [first = "", second, third] = parts;
  if (second === undefined) {
    if (!first.startsWith("/")) throw bad("the target must be an absolute path");
    return { type: "volume", target: first };
  }
  if (!second.startsWith("/"))
    throw bad(`the target ${JSON.stringify(second)} must be an absolute path`);
  const isBind = /^[./~]/.test(first);
  const place: ComposeMount = isBind
    ? {
        type: "bind",
        source: spot.reading.resolve(node.place.source.folder, first),
        target: second,
      }
    : { type: "volume", source: first, target: second };
  return (third ?? "")
    .split(",")
    .reduce((found, option) => withOption(found, option, { bad, isBind }), place);
}

function withOption(
  found: ComposeMount,
  option: string,
  o: { readonly bad: (why: string) => Error; readonly isBind: boolean },
): ComposeMount {
  if (option === "" || option === "rw") return found;
  if (option === "ro") return { ...found, read_only: true };
  if (consistencies.includes(option)) return { ...found, consistency: option };
  if (option === "nocopy" && !o.isBind)
    return { ...found, volume: { ...found.volume, nocopy: true } };
  if (o.isBind && propagations.includes(option))
    return { ...found, bind: { ...found.bind, propagation: option } };
  if (option === "z" || option === "Z")
    return o.isBind ? { ...found, bind: { ...found.bind, selinux: option } } : found;
  throw o.bad(`the option ${JSON.stringify(option)} is not known`);
}
