/**
 * Published ports: `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]` with ranges, and the long form. Pure.
 */
import type { ComposePort } from "./model.ts";
import { type Node, refusal } from "./node.ts";
import { anyText, either, integer, object, type Shape, type Spot, text, word } from "./shape.ts";

const protocols = ["tcp", "udp", "sctp"];

/** Every port of the list by itself. */
export const ports: Shape = (node, spot) => {
  if (node.kind !== "list") throw refusal(node.place, `${spot.path} must be a list`);
  return node.items.flatMap((item, i) => {
    const path = `${spot.path}[${i}]`;
    spot.reading.places.set(path, item.place);
    return port(item, { ...spot, path }) as readonly ComposePort[];
  });
};

const port: Shape = either({
  scalar: (node, spot) => shortPorts(anyText(node, spot) as string, node, spot),
  map: (node, spot) => {
    const found = object(longForm, ["target"])(node, spot) as Partial<ComposePort>;
    const { protocol = "tcp", mode = "ingress" } = found;
    return [{ ...found, protocol, mode }];
  },
  what: "a string, a number or a mapping",
});

const longForm = {
  target: integer(1, 65_535),
  published: (node: Node, spot: Spot) => published(anyText(node, spot) as string, node, spot),
  host_ip: text,
  protocol: word(...protocols),
  mode: word("ingress", "host"),
  name: text,
  app_protocol: text,
};

function published(written: string, node: Node, spot: Spot): string | undefined {
  if (written === "" || written === "0") return undefined;
  const range = rangeOf(written);
  if (range === undefined)
    throw refusal(
      node.place,
      `${spot.path}: ${JSON.stringify(written)} is not a port or a range of ports`,
    );
  return range.first === range.last ? `${range.first}` : `${range.first}-${range.last}`;
}

interface Range {
  readonly first: number;
  readonly last: number;
}

function rangeOf(written: string): Range | undefined {
  const [, a, b] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(written) ?? [];
  const first = Number(a);
  const last = Number(b ?? a);
  return a === undefined || first < 1 || last > 65_535 || last < first
    ? undefined
    : { first, last };
}

function shortPorts(written: string, node: Node, spot: Spot): readonly ComposePort[] {
  const bad = (why: string) =>
    refusal(
      node.place,
      `${spot.path}: invalid port specification ${JSON.stringify(written)}: ${why}`,
    );
  const [, address, host, container = "", protocol = "tcp"] =
    /^(?:(?:(\[[^\]]+\]|[^:[\]]*):)?([\d-]*):)?([\d-]+)(?:\/(\w+))?$/.exec(written) ?? [];
  const target = rangeOf(container);
  if (target === undefined) throw bad("the form is [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]");
  const kind = protocol.toLowerCase();
  if (!protocols.includes(kind)) throw bad(`invalid proto: ${protocol}`);
  const outer = host === undefined || host === "" ? undefined : rangeOf(host);
  if (host !== undefined && host !== "" && outer === undefined)
    throw bad(`${host} is not a port or a range of ports`);
  const count = target.last - target.first;
  const isPool = outer !== undefined && count === 0 && outer.last > outer.first;
  if (outer !== undefined && !isPool && outer.last - outer.first !== count)
    throw bad("the ranges of host and container are of different length");
  const hostIp = (address ?? "").replace(/^\[(.*)\]$/, "$1");
  return Array.from({ length: count + 1 }, (_, i) => ({
    target: target.first + i,
    ...(outer === undefined
      ? {}
      : { published: isPool ? `${outer.first}-${outer.last}` : `${outer.first + i}` }),
    ...(hostIp === "" ? {} : { host_ip: hostIp }),
    protocol: kind,
    mode: "ingress",
  }));
}
