/**
 * Changes of devices, addresses, routes, rules and neighbours as messages of rtnetlink(7). Pure.
 *
 * Numbers are those of linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h and fib_rules.h.
 */
import { parseAddress, parsePrefix } from "../../../src/common/spec/cidr.ts";
import type { Address, Forwarding, Link, Neighbour, Route, Rule } from "../model.ts";
import {
  attribute,
  byte,
  message,
  messageFlags,
  nested,
  networkShort,
  short,
  text,
  word,
} from "./message.ts";

/** One change in one namespace; what is put takes the place of what was there, but for devices and rules. */
export type Change =
  | {
      readonly what: "make-link";
      readonly link: Link;
      /** File of the namespace it is for, if that is another one, and that of its other end. */
      readonly into?: string | undefined;
      readonly peerInto?: string | undefined;
    }
  | { readonly what: "set-mtu"; readonly name: string; readonly mtu: number }
  | { readonly what: "set-mac"; readonly name: string; readonly mac: string }
  | { readonly what: "set-master"; readonly name: string; readonly master: string }
  | { readonly what: "set-port"; readonly name: string; readonly as: "tunnel" | "hairpin" }
  | { readonly what: "set-up"; readonly name: string }
  | { readonly what: "remove-link"; readonly name: string }
  | { readonly what: "address"; readonly put: boolean; readonly address: Address }
  | { readonly what: "route"; readonly put: boolean; readonly route: Route }
  | { readonly what: "rule"; readonly put: boolean; readonly rule: Rule }
  | { readonly what: "neighbour"; readonly put: boolean; readonly neighbour: Neighbour }
  | { readonly what: "forwarding"; readonly put: boolean; readonly forwarding: Forwarding };

/** What messages have numbers for. */
export interface Numbers {
  /** Of a device in the namespace of the change. @throws Error when there is none. */
  deviceOf(name: string): number;
  /** Descriptor of a file that keeps a namespace. @throws Error when it cannot be opened. */
  descriptorOf(file: string): number;
}

/** The message of a change. @throws Error what `numbers` throws, and for texts that are no addresses. */
export function messageOf(change: Change, numbers: Numbers): Buffer {
  const { acknowledge } = messageFlags;
  switch (change.what) {
    case "make-link":
      return message(types.newLink, acknowledge | made, ...newLink(change, numbers));
    case "set-mtu":
      return setLink(numbers.deviceOf(change.name), word(ofLink.mtu, change.mtu));
    case "set-mac":
      return setLink(numbers.deviceOf(change.name), macAttribute(change.mac));
    case "set-master": {
      const master = numbers.deviceOf(change.master);
      return setLink(numbers.deviceOf(change.name), word(ofLink.master, master));
    }
    case "set-port":
      return setLink(numbers.deviceOf(change.name), portSettings(change.as));
    case "set-up": {
      const header = linkHeader(numbers.deviceOf(change.name), isUp);
      return message(types.newLink, acknowledge, header);
    }
    case "remove-link":
      return message(types.deleteLink, acknowledge, linkHeader(numbers.deviceOf(change.name)));
    case "address": {
      const body = addressBody(change.address, numbers.deviceOf(change.address.device));
      return message(...kindOf(types.newAddress, change.put), ...body);
    }
    case "route": {
      const body = routeBody(change.route, numbers.deviceOf(change.route.device), change.put);
      return message(...kindOf(types.newRoute, change.put), ...body);
    }
    case "rule": {
      const flags = change.put ? made : 0;
      const type = change.put ? types.newRule : types.newRule + 1;
      return message(type, acknowledge | flags, ...ruleBody(change.rule));
    }
    case "neighbour": {
      const body = neighbourBody(change.neighbour, numbers.deviceOf(change.neighbour.device));
      return message(...kindOf(types.newNeighbour, change.put), ...body);
    }
    case "forwarding": {
      const body = forwardingBody(change.forwarding, numbers.deviceOf(change.forwarding.device));
      return message(...kindOf(types.newNeighbour, change.put), ...body);
    }
  }
}

/** Asks for the device with a name. */
export function askLink(name: string): Buffer {
  return message(types.getLink, 0, linkHeader(0), text(ofLink.name, name));
}

/** Puts a device into a group, which is removed as a whole: the kernel waits once, not once a device. */
export function intoGroup(device: number, group: number): Buffer {
  return setLink(device, word(ofLink.group, group));
}

/** Removes all devices of a group. */
export function removeGroup(group: number): Buffer {
  const { acknowledge } = messageFlags;
  return message(types.deleteLink, acknowledge, linkHeader(0), word(ofLink.group, group));
}

/** RTM_…; the one that takes away is the next number, and the one that asks the one after that. */
export const types = {
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  newAddress: 20,
  newRoute: 24,
  newNeighbour: 28,
  newRule: 32,
} as const;
/** AF_… */
export const families = { any: 0, v4: 2, bridge: 7, v6: 10 } as const;
/** IFLA_…, and those of the parts of IFLA_LINKINFO. */
export const ofLink = {
  address: 1,
  name: 3,
  mtu: 4,
  link: 5,
  master: 10,
  info: 18,
  group: 27,
  namespace: 28,
  kind: 1,
  data: 2,
  portKind: 4,
  portData: 5,
} as const;
/** IFLA_VXLAN_… */
export const ofVxlan = {
  id: 1,
  link: 3,
  local: 4,
  learning: 7,
  proxy: 11,
  port: 15,
  local6: 17,
} as const;
/** IFLA_BRPORT_… */
export const ofPort = { hairpin: 4, learning: 8, suppress: 32 } as const;
/** RTA_… */
export const ofRoute = { to: 1, device: 4, via: 5, metric: 6, source: 7, table: 15 } as const;
/** IFA_… */
export const ofAddress = { address: 1, local: 2 } as const;
/** FRA_… */
export const ofRule = { preference: 6, mark: 10, table: 15, mask: 16 } as const;
/** NDA_… */
export const ofNeighbour = { address: 1, mac: 2 } as const;
/** NUD_… */
export const neighbourStates = { reachable: 0x02, noQuestions: 0x40, permanent: 0x80 } as const;
/** RT_SCOPE_…, RTPROT_… and RTN_… */
export const routeKinds = {
  scopeLink: 253,
  scopeAny: 255,
  byKernel: 2,
  byHand: 3,
  unicast: 1,
} as const;

const { create, exclusive, replace, acknowledge: answered } = messageFlags;
const made = create | exclusive;
const isUp = 1;
const noDuplicateCheck = 0x02;
const vethPeer = 1;
const bridgeSnooping = 23;
const parentMode = 1;
const toTable = 1;
const own = 0x02;
const ofMaster = 0x04;
/** Modes of macvlan and ipvlan by name. */
const macvlanModes: Readonly<Record<string, number>> = {
  private: 1,
  vepa: 2,
  bridge: 4,
  passthru: 8,
};
const ipvlanModes: Readonly<Record<string, number>> = { l2: 0, l3: 1, l3s: 2 };

function kindOf(type: number, put: boolean): [type: number, flags: number] {
  return put ? [type, answered | create | replace] : [type + 1, answered];
}

function linkHeader(device: number, flags = 0): Buffer {
  const header = Buffer.alloc(16);
  header.writeInt32LE(device, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(flags, 12);
  return header;
}

function setLink(device: number, ...attributes: readonly Buffer[]): Buffer {
  return message(types.newLink, answered, linkHeader(device), ...attributes);
}

function newLink(change: Change & { what: "make-link" }, numbers: Numbers): Buffer[] {
  const { link, into, peerInto } = change;
  const { name, mtu, mac, parent } = link;
  const common = [
    text(ofLink.name, name),
    ...(mtu === 0 ? [] : [word(ofLink.mtu, mtu)]),
    ...(mac === "" ? [] : [macAttribute(mac)]),
    ...(into === undefined ? [] : [word(ofLink.namespace, numbers.descriptorOf(into))]),
    ...(parent === undefined ? [] : [word(ofLink.link, numbers.deviceOf(parent.device))]),
  ];
  const data = linkData(link, peerInto, numbers);
  const info = nested(ofLink.info, text(ofLink.kind, link.kind), nested(ofLink.data, ...data));
  return [linkHeader(0), ...common, info];
}

function linkData(link: Link, peerInto: string | undefined, numbers: Numbers): Buffer[] {
  const mode = link.parent?.mode ?? "";
  switch (link.kind) {
    case "bridge":
      return [byte(bridgeSnooping, 0)];
    case "veth": {
      const file =
        peerInto === undefined ? [] : [word(ofLink.namespace, numbers.descriptorOf(peerInto))];
      const name = text(ofLink.name, link.peer?.name ?? "");
      return [nested(vethPeer, linkHeader(0), name, word(ofLink.mtu, link.mtu), ...file)];
    }
    case "vxlan":
      return vxlanData(link, numbers);
    case "macvlan":
      return mode === "" ? [] : [word(parentMode, modeOf(macvlanModes, mode))];
    case "ipvlan":
      return mode === "" ? [] : [short(parentMode, modeOf(ipvlanModes, mode))];
  }
}

function modeOf(modes: Readonly<Record<string, number>>, mode: string): number {
  const number = modes[mode];
  if (number === undefined) throw new Error(`no mode ${mode}`);
  return number;
}

function vxlanData({ vxlan }: Link, numbers: Numbers): Buffer[] {
  if (vxlan === undefined) throw new Error("a VXLAN device without settings");
  const { id, local, port, through } = vxlan;
  const isSix = local.includes(":");
  return [
    word(ofVxlan.id, id),
    ...(local === "" ? [] : [attribute(isSix ? ofVxlan.local6 : ofVxlan.local, bytesOf(local))]),
    ...(through === "" ? [] : [word(ofVxlan.link, numbers.deviceOf(through))]),
    networkShort(ofVxlan.port, port),
    byte(ofVxlan.learning, 0),
    byte(ofVxlan.proxy, 1),
  ];
}

function portSettings(as: "tunnel" | "hairpin"): Buffer {
  const settings =
    as === "hairpin"
      ? [byte(ofPort.hairpin, 1)]
      : [byte(ofPort.learning, 0), byte(ofPort.suppress, 1)];
  return nested(ofLink.info, text(ofLink.portKind, "bridge"), nested(ofLink.portData, ...settings));
}

function macAttribute(mac: string): Buffer {
  return attribute(ofLink.address, macBytes(mac));
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

/** An address as it is on the wire. @throws Error when the text is none. */
function bytesOf(address: string): Buffer {
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new Error(`no address: ${address}`);
  const digits = parsed.family === 4 ? 8 : 32;
  return Buffer.from(parsed.value.toString(16).padStart(digits, "0"), "hex");
}

function familyOf(address: string): number {
  return address.includes(":") ? families.v6 : families.v4;
}

function addressBody({ address, length }: Address, device: number): Buffer[] {
  const header = Buffer.alloc(8);
  header[0] = familyOf(address);
  header[1] = length;
  header[2] = header[0] === families.v6 ? noDuplicateCheck : 0;
  header.writeUInt32LE(device, 4);
  const bytes = bytesOf(address);
  return [header, attribute(ofAddress.local, bytes), attribute(ofAddress.address, bytes)];
}

function routeBody(route: Route, device: number, put: boolean): Buffer[] {
  const { destination, via, source, table, metric } = route;
  const prefix = parsePrefix(destination);
  const address = prefix === undefined ? destination : (destination.split("/")[0] ?? "");
  const isDefault = destination === "default";
  const family = familyOf(`${destination}${via}`);
  const header = Buffer.alloc(12);
  header[0] = family;
  header[1] = isDefault ? 0 : (prefix?.length ?? (family === families.v4 ? 32 : 128));
  header[4] = table < 256 ? table : 0;
  if (put) {
    header[5] = routeKinds.byHand;
    header[6] = via === "" ? routeKinds.scopeLink : 0;
    header[7] = routeKinds.unicast;
  } else header[6] = routeKinds.scopeAny;
  return [
    header,
    ...(isDefault ? [] : [attribute(ofRoute.to, bytesOf(address))]),
    word(ofRoute.device, device),
    ...(via === "" ? [] : [attribute(ofRoute.via, bytesOf(via))]),
    ...(source === "" ? [] : [attribute(ofRoute.source, bytesOf(source))]),
    ...(metric === 0 ? [] : [word(ofRoute.metric, metric)]),
    word(ofRoute.table, table),
  ];
}

function ruleBody({ family, preference, mark, mask, table }: Rule): Buffer[] {
  const header = Buffer.alloc(12);
  header[0] = family === 4 ? families.v4 : families.v6;
  header[7] = toTable;
  return [
    header,
    word(ofRule.preference, preference),
    word(ofRule.mark, mark),
    word(ofRule.mask, mask),
    word(ofRule.table, table),
  ];
}

function neighbourHeader(o: {
  family: number;
  device: number;
  state: number;
  flags: number;
}): Buffer {
  const header = Buffer.alloc(12);
  header[0] = o.family;
  header.writeInt32LE(o.device, 4);
  header.writeUInt16LE(o.state, 8);
  header[10] = o.flags;
  return header;
}

function neighbourBody({ address, mac }: Neighbour, device: number): Buffer[] {
  const state = neighbourStates.permanent;
  return [
    neighbourHeader({ family: familyOf(address), device, state, flags: 0 }),
    attribute(ofNeighbour.address, bytesOf(address)),
    attribute(ofNeighbour.mac, macBytes(mac)),
  ];
}

function forwardingBody({ mac, destination }: Forwarding, device: number): Buffer[] {
  const { noQuestions, permanent, reachable } = neighbourStates;
  const isTunnel = destination !== "";
  return [
    neighbourHeader({
      family: families.bridge,
      device,
      state: noQuestions | (isTunnel ? permanent : reachable),
      flags: isTunnel ? own : ofMaster,
    }),
    attribute(ofNeighbour.mac, macBytes(mac)),
    ...(isTunnel ? [attribute(ofNeighbour.address, bytesOf(destination))] : []),
  ];
}
