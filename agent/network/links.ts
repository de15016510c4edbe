/**
 * Changes of devices, addresses, routes and rules, each with the line for `ip -batch -` that does the same. Pure.
 *
 * A device is made in the namespace that holds it, but a VXLAN device from the node's own network, so that its UDP socket
 * stays there, and devices on one of the node's from there, too.
 */
import { type Address, type Link, mainTable, type Route, type Rule } from "./model.ts";
import type { Change } from "./netlink/change.ts";

/** One change in two forms. */
export interface Command {
  readonly change: Change;
  /** For programs, where the kernel cannot be spoken to; and for people. */
  readonly text: string;
}

/** Finds the file that keeps a namespace; undefined for the node's own network. */
export type FileOf = (space: string) => string | undefined;

/** Whether a device is made in the node's own network, wherever it is to be. */
export function isMadeOutside({ kind }: Link): boolean {
  return kind === "vxlan" || kind === "macvlan" || kind === "ipvlan";
}

/** Makes a device, without what it is a port of; see `isMadeOutside`. */
export function makeLink(link: Link, target: { readonly space: string }, fileOf: FileOf): Command {
  const into = isMadeOutside(link) ? fileOf(target.space) : undefined;
  const peerInto = link.peer === undefined ? undefined : fileOf(link.peer.space);
  return {
    change: { what: "make-link", link, into, peerInto },
    text: makeLine(link, into, peerInto),
  };
}

function makeLine(link: Link, into: string | undefined, peerInto: string | undefined): string {
  const { name, mtu } = link;
  const mac = link.mac === "" ? "" : ` address ${link.mac}`;
  switch (link.kind) {
    case "bridge":
      return `link add ${name} mtu ${mtu}${mac} type bridge mcast_snooping 0`;
    case "vxlan":
      return `link add ${name} netns ${into} mtu ${mtu}${mac} ${vxlan(link)}`;
    case "macvlan":
    case "ipvlan": {
      const { device, mode } = link.parent ?? { device: "", mode: "" };
      const how = mode === "" ? "" : ` mode ${mode}`;
      return `link add link ${device} name ${name} netns ${into}${mac} type ${link.kind}${how}`;
    }
    case "veth": {
      const netns = peerInto === undefined ? "" : ` netns ${peerInto}`;
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

/** What brings a device into its state once it is there, in its namespace. */
export function setLink(link: Link): Command[] {
  const { name, mtu, mac, master, kind } = link;
  const commands: Command[] = [];
  const put = (change: Change, text: string) => commands.push({ change, text });
  if (mtu !== 0) put({ what: "set-mtu", name, mtu }, `link set ${name} mtu ${mtu}`);
  // The other end of a veth gets its hardware address here, too.
  if (mac !== "") put({ what: "set-mac", name, mac }, `link set ${name} address ${mac}`);
  if (master !== "") {
    put({ what: "set-master", name, master }, `link set ${name} master ${master}`);
  }
  const port = `link set ${name} type bridge_slave`;
  if (master !== "" && kind === "vxlan") {
    put({ what: "set-port", name, as: "tunnel" }, `${port} learning off neigh_suppress on`);
  }
  if (link.hairpin) put({ what: "set-port", name, as: "hairpin" }, `${port} hairpin on`);
  return [...commands, setUp(name)];
}

/** Brings a device up. */
export function setUp(name: string): Command {
  return { change: { what: "set-up", name }, text: `link set ${name} up` };
}

/** Removes a device. */
export function removeLink(name: string): Command {
  return { change: { what: "remove-link", name }, text: `link del ${name}` };
}

/** Gives a device an address. */
export function addAddress(address: Address): Command {
  const { device, address: ip, length } = address;
  // Addresses are unique by allocation; looking for doubles would only make them late.
  const text = `addr replace ${ip}/${length} dev ${device}${ip.includes(":") ? " nodad" : ""}`;
  return { change: { what: "address", put: true, address }, text };
}

/** Takes it away. */
export function removeAddress(address: Address): Command {
  const text = `addr del ${address.address}/${address.length} dev ${address.device}`;
  return { change: { what: "address", put: false, address }, text };
}

/** Makes a route, in place of one with the same destination. */
export function addRoute(route: Route): Command {
  return {
    change: { what: "route", put: true, route },
    text: `route replace ${routeWords(route)}`,
  };
}

/** Removes a route. */
export function removeRoute(route: Route): Command {
  return { change: { what: "route", put: false, route }, text: `route del ${routeWords(route)}` };
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

/** Makes a rule; the line is for `ip -4` or `ip -6`. */
export function addRule(rule: Rule): Command {
  return { change: { what: "rule", put: true, rule }, text: `rule add ${ruleWords(rule)}` };
}

/** Removes a rule. */
export function removeRule(rule: Rule): Command {
  return { change: { what: "rule", put: false, rule }, text: `rule del ${ruleWords(rule)}` };
}

function ruleWords({ preference, mark, mask, table }: Rule): string {
  return `pref ${preference} fwmark 0x${mark.toString(16)}/0x${mask.toString(16)} lookup ${table}`;
}
