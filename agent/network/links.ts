/**
 * Lines for `ip -batch -`: devices, addresses, routes and rules. Pure text.
 *
 * A device is made in the namespace that holds it, but a VXLAN device from the node's own network, so that its UDP socket
 * stays there, and devices on one of the node's from there, too.
 */
import { type Address, type Link, mainTable, type Route, type Rule } from "./model.ts";

/** Finds the file that keeps a namespace; undefined for the node's own network. */
export type FileOf = (space: string) => string | undefined;

/** Whether a device is made in the node's own network, wherever it is to be. */
export function isMadeOutside({ kind }: Link): boolean {
  return kind === "vxlan" || kind === "macvlan" || kind === "ipvlan";
}

/** Line that makes a device, without what it is a port of; see `isMadeOutside`. */
export function makeLink(link: Link, target: { readonly space: string }, fileOf: FileOf): string {
  const { name, mtu } = link;
  const mac = link.mac === "" ? "" : ` address ${link.mac}`;
  switch (link.kind) {
    case "bridge":
      return `link add ${name} mtu ${mtu}${mac} type bridge mcast_snooping 0`;
    case "vxlan":
      return `link add ${name} netns ${fileOf(target.space)} mtu ${mtu}${mac} ${vxlan(link)}`;
    case "macvlan":
    case "ipvlan": {
      const { device, mode } = link.parent ?? { device: "", mode: "" };
      const how = mode === "" ? "" : ` mode ${mode}`;
      return `link add link ${device} name ${name} netns ${fileOf(target.space)}${mac} type ${link.kind}${how}`;
    }
    case "veth": {
      const file = link.peer === undefined ? undefined : fileOf(link.peer.space);
      const netns = file === undefined ? "" : ` netns ${file}`;
      return `link add ${name} mtu ${mtu}${mac} type veth peer name ${link.peer?.name} mtu ${mtu}${netns}`;
    }
  }
}

function vxlan({ vxlan: settings }: Link): string {
  if (settings === undefined) throw new Error("a VXLAN device without settings");
  const { id, local, port, through } = settings;
  const from = local === "" ? "" : ` local ${local}`;
  const dev = through === "" ? "" : ` dev ${through}`;
  return `type vxlan id ${id}${from}${dev} dstport ${port} nolearning proxy`;
}

/** Lines that bring a device into its state once it is there, in its namespace. */
export function setLink(link: Link): string[] {
  const { name, mtu, mac, master, kind } = link;
  const lines = mtu === 0 ? [] : [`link set ${name} mtu ${mtu}`];
  // The other end of a veth gets its hardware address here, too.
  if (mac !== "") lines.push(`link set ${name} address ${mac}`);
  if (master !== "") lines.push(`link set ${name} master ${master}`);
  if (master !== "" && kind === "vxlan") {
    lines.push(`link set ${name} type bridge_slave learning off neigh_suppress on`);
  }
  if (link.hairpin) lines.push(`link set ${name} type bridge_slave hairpin on`);
  return [...lines, `link set ${name} up`];
}

/** Line that removes a device. */
export function removeLink(name: string): string {
  return `link del ${name}`;
}

/** Line that gives a device an address. */
export function addAddress({ device, address, length }: Address): string {
  // Addresses are unique by allocation; looking for doubles would only make them late.
  return `addr replace ${address}/${length} dev ${device}${address.includes(":") ? " nodad" : ""}`;
}

/** Line that takes it away. */
export function removeAddress({ device, address, length }: Address): string {
  return `addr del ${address}/${length} dev ${device}`;
}

/** Line that makes a route, in place of one with the same destination. */
export function addRoute(route: Route): string {
  return `route replace ${routeWords(route)}`;
}

/** Line that removes a route. */
export function removeRoute(route: Route): string {
  return `route del ${routeWords(route)}`;
}

function routeWords({ destination, via, device, source, table, metric }: Route): string {
  return [
    destination,
    ...(via === "" ? [] : [`via ${via}`]),
    `dev ${device}`,
    ...(source === "" ? [] : [`src ${source}`]),
    ...(table === mainTable ? [] : [`table ${table}`]),
    ...(metric === 0 ? [] : [`metric ${metric}`]),
  ].join(" ");
}

/** Line that makes a rule; for `ip -4` or `ip -6`. */
export function addRule(rule: Rule): string {
  return `rule add ${ruleWords(rule)}`;
}

/** Line that removes a rule. */
export function removeRule(rule: Rule): string {
  return `rule del ${ruleWords(rule)}`;
}

function ruleWords({ preference, mark, mask, table }: Rule): string {
  return `pref ${preference} fwmark 0x${mark.toString(16)}/0x${mask.toString(16)} lookup ${table}`;
}
