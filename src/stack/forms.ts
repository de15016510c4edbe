/**
 * The short spellings of a service's keys: commands, environments, networks, dependencies, secrets, devices. Pure.
 *
 * Ports are in `form-ports.ts`, mounts in `form-mounts.ts`.
 */
import { deviceRulesFrom } from "../common/spec/container-labels.ts";
import { isMacAddress } from "../common/spec/mac-address.ts";
import { storageOptionFault } from "../common/spec/storage-size.ts";
import { type Entry, isNothing, type Node, refusal, type ScalarNode } from "./node.ts";
import {
  anyText,
  either,
  ignored,
  integer,
  list,
  listOrOne,
  mapOf,
  object,
  pairs,
  type Shape,
  type Spot,
  type Table,
  text,
  textList,
  textOrNothing,
  truth,
  word,
} from "./shape.ts";
import { wordsOf } from "./words.ts";

/** A list of words, or a line that is split as a shell would; null is the image's. */
export const command: Shape = (node, spot) => {
  if (node.kind === "list") return list(anyText)(node, spot);
  if (isNothing(node)) return null;
  const words = wordsOf(anyText(node, spot) as string);
  if (words === undefined) throw refusal(node.place, `${spot.path}: a quote is not closed`);
  return words;
};

/** The check's command: a line is for a shell. */
export const healthTest: Shape = (node, spot) => {
  if (node.kind === "scalar" && !isNothing(node)) return ["CMD-SHELL", node.text];
  const words = list(anyText)(node, spot) as readonly string[];
  const [first = ""] = words;
  if (words.length > 0 && !["NONE", "CMD", "CMD-SHELL"].includes(first))
    throw refusal(
      node.place,
      `${spot.path} must begin with NONE, CMD or CMD-SHELL, not ${JSON.stringify(first)}`,
    );
  return words;
};

/** Names without values take the caller's later. */
export const environment: Shape = pairs(textOrNothing);

/** Labels, options and the like. */
export const texts: Shape = pairs();

/** `env_file`. */
export const envFiles: Shape = listOrOne(
  either({
    scalar: (node, spot) => ({ path: pathText(node, spot), required: true }),
    map: (node, spot) => ({
      required: true,
      ...(object({ path: pathText, required: truth, format: word("raw") }, ["path"])(
        node,
        spot,
      ) as object),
    }),
    what: "a string or a mapping",
  }),
);

/** A path, from the folder of the file it stands in. */
export function pathText(node: Node, spot: Spot): string {
  const path = anyText(node, spot) as string;
  return spot.reading.resolve(node.place.source.folder, path);
}

/** `HOST:ADDRESS` or `HOST=ADDRESS`, or a map with one address or several; comes out as `HOST:ADDRESS`. */
export const extraHosts: Shape = (node, spot) => {
  if (node.kind === "list")
    return (list(text)(node, spot) as readonly string[]).map((line, i) =>
      hostLine(line, node.items[i] ?? node, spot),
    );
  const hosts = mapOf(listOrOne(text))(node, spot) as Record<string, readonly string[]>;
  return Object.entries(hosts).flatMap(([host, addresses]) =>
    addresses.map((address) => `${host}:${address}`),
  );
};

function hostLine(line: string, node: Node, spot: Spot): string {
  const [, host, address = ""] = /^([^=:]+)[=:](.+)$/s.exec(line) ?? [];
  if (host === undefined)
    throw refusal(
      node.place,
      `${spot.path}: bad format for extra host ${JSON.stringify(line)}: it must be HOST:ADDRESS`,
    );
  return `${host.trim()}:${address.trim().replace(/^\[(.*)\]$/, "$1")}`;
}

/** A number for both, or a soft and a hard one; -1 is no limit. */
export const ulimit: Shape = either({
  scalar: (node, spot) => {
    const limit = integer(-1)(node, spot);
    return { soft: limit, hard: limit };
  },
  map: (node, spot) => {
    const limits = object({ soft: integer(-1), hard: integer(-1) }, ["soft", "hard"])(
      node,
      spot,
    ) as { soft: number; hard: number };
    if (limits.hard !== -1 && (limits.soft === -1 || limits.soft > limits.hard))
      throw refusal(
        node.place,
        `${spot.path}: soft limit ${limits.soft} must be at most the hard limit ${limits.hard}`,
      );
    return limits;
  },
  what: "an integer or a mapping with soft and hard",
});

/** The hardware address of one device. */
export function macAddress(node: Node, spot: Spot): string {
  const found = text(node, spot) as string;
  if (isMacAddress(found)) return found.toLowerCase();
  throw refusal(
    node.place,
    `${spot.path}: invalid MAC address ${JSON.stringify(found)}: the form is 02:42:ac:11:00:02, the first byte even`,
  );
}

/** Keys of a network as a service uses it. */
export const attachmentKeys: Table = {
  aliases: textList(),
  ipv4_address: text,
  ipv6_address: text,
  driver_opts: mapOf(anyText),
  priority: integer(),
  gw_priority: ignored("the first network of a container has its default route"),
  interface_name: ignored("interfaces are named ov0, ov1, … in the order of the networks"),
  link_local_ips: ignored("containers have addresses of the network's subnets alone"),
  mac_address: macAddress,
};
const attachment = object(attachmentKeys);

/** `networks` of a service: names, or names with more. */
export const attachments: Shape = (node, spot) =>
  mapOf(attachment)(node.kind === "list" ? named(node, spot) : node, spot);

function named(node: Node & { readonly kind: "list" }, spot: Spot): Node {
  const entries = new Map<string, Entry>();
  for (const [i, item] of node.items.entries()) {
    const name = text(item, { ...spot, path: `${spot.path}[${i}]` }) as string;
    if (entries.has(name))
      throw refusal(item.place, `${spot.path} contains the duplicate item ${JSON.stringify(name)}`);
    entries.set(name, {
      place: item.place,
      value: { ...(item as ScalarNode), text: "", isPlain: true, isFilled: false },
    });
  }
  return { kind: "map", entries, place: node.place, tag: undefined };
}

const conditions = ["service_started", "service_healthy", "service_completed_successfully"];

const dependency: Shape = (node, spot) => ({
  condition: "service_started",
  required: true,
  ...(object({ condition: word(...conditions), required: truth, restart: truth })(
    node,
    spot,
  ) as object),
});

/** `depends_on`: names, or names with a condition. */
export const dependencies: Shape = (node, spot) =>
  mapOf(dependency)(node.kind === "list" ? named(node, spot) : node, spot);

/** A secret or config as a service uses it. */
export const grant: Shape = either({
  scalar: (node, spot) => ({ source: text(node, spot) }),
  map: object(
    { source: text, target: text, uid: anyText, gid: anyText, mode: integer(0, 0o7777) },
    ["source"],
  ),
  what: "a string or a mapping",
});

/** `/dev/a[:/dev/b[:rwm]]`, or a map. */
export const device: Shape = either({
  scalar: (node, spot) => {
    const [source = "", second, third] = (text(node, spot) as string).split(":");
    const isRights = second !== undefined && third === undefined && /^[rwm]+$/.test(second);
    return checkedDevice(node, spot, {
      source,
      target: second === undefined || isRights ? source : second,
      permissions: (isRights ? second : third) ?? "rwm",
    });
  },
  map: (node, spot) => {
    const found = object({ source: text, target: text, permissions: text }, ["source"])(
      node,
      spot,
    ) as {
      source: string;
      target?: string;
      permissions?: string;
    };
    return checkedDevice(node, spot, { permissions: "rwm", target: found.source, ...found });
  },
  what: "a string or a mapping",
});

function checkedDevice<T extends { source: string; target: string; permissions: string }>(
  node: Node,
  spot: Spot,
  found: T,
): T {
  const { source, target, permissions } = found;
  if (
    ![source, target].every((path) => /^\/dev\/[^,:]/.test(path)) ||
    !/^[rwm]{1,3}$/.test(permissions)
  )
    throw refusal(
      node.place,
      `${spot.path}: the form is /dev/NAME[:/dev/NAME][:rwm]; devices by other names are not known to nodes`,
    );
  return found;
}

/** `size: 1g`. */
export function storageOptions(node: Node, spot: Spot): Readonly<Record<string, string>> {
  const options = texts(node, spot) as Readonly<Record<string, string>>;
  const fault = storageOptionFault(options);
  if (fault === undefined) return options;
  throw refusal(node.place, `${spot.path}: ${fault}`);
}

/** `c 1:3 mr`. */
export function deviceRule(node: Node, spot: Spot): string {
  const rule = text(node, spot) as string;
  if (!rule.includes(",") && deviceRulesFrom(rule) !== undefined) return rule;
  throw refusal(
    node.place,
    `${spot.path}: invalid device cgroup rule ${JSON.stringify(rule)}: the form is c|b|a MAJOR:MINOR r|w|m, such as "c 1:3 mr"`,
  );
}

/** A command that is run in the container after its start, or before its stop. */
export const hook: Shape = object(
  {
    command: (node, spot) => {
      const words = command(node, spot) as readonly string[] | null;
      if (words !== null && words.length > 0) return words;
      throw refusal(node.place, `${spot.path} must name a program`);
    },
    user: anyText,
    privileged: truth,
    working_dir: text,
    environment,
  },
  ["command"],
);

/** One request for devices such as GPUs. */
export const deviceRequest: Shape = object({
  capabilities: textList(text),
  driver: text,
  count: (node, spot) =>
    node.kind === "scalar" && node.text === "all" ? "all" : integer(1)(node, spot),
  device_ids: textList(),
  options: texts,
});

/** `gpus`: `all`, or requests. */
export const gpus: Shape = either({
  scalar: (node, spot) => [{ count: word("all")(node, spot) }],
  list: list(deviceRequest),
  what: 'the word "all" or a list',
});
