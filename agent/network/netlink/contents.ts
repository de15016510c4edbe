/**
 * What a namespace holds, from the kernel's answers over rtnetlink(7). Pure; leaves out the same as `observe.ts`.
 */
import { formatAddress } from "../../../src/common/spec/cidr.ts";
import type { Address, Forwarding, Link, Neighbour, Route, Rule, SpaceContents } from "../model.ts";
import {
  families,
  neighbourStates,
  ofAddress,
  ofLink,
  ofNeighbour,
  ofPort,
  ofRoute,
  ofRule,
  ofVxlan,
  routeKinds,
  types,
} from "./change.ts";
import { attributesIn, message, messageFlags, numberIn, type Received, textIn } from "./message.ts";

/** The questions. @param everything Rules, neighbours and forwarding tables too. */
export function questions(everything: boolean): readonly Buffer[] {
  const ask = (type: number, family: number) =>
    message(type + 2, messageFlags.dump, headerOf(family));
  const always = [
    ask(types.newLink, families.any),
    ask(types.newAddress, families.any),
    ask(types.newRoute, families.any),
  ];
  if (!everything) return always;
  return [
    ...always,
    ask(types.newRule, families.v4),
    ask(types.newRule, families.v6),
    ask(types.newNeighbour, families.any),
    ask(types.newNeighbour, families.bridge),
  ];
}

/** What the answers say; devices have to come before what is on them. */
export function contentsOf(answers: readonly Received[]): SpaceContents {
  const names = new Map<number, string>();
  for (const { type, body } of answers) {
    if (type !== types.newLink) continue;
    names.set(body.readInt32LE(4), textIn(attributesIn(body.subarray(linkBytes)).get(ofLink.name)));
  }
  const of = <T>(wanted: number, read: (body: Buffer, names: Names) => readonly T[]) =>
    answers.flatMap(({ type, body }) => (type === wanted ? read(body, names) : []));
  return {
    links: of(types.newLink, linkIn),
    addresses: of(types.newAddress, addressIn),
    routes: of(types.newRoute, routeIn),
    rules: of(types.newRule, ruleIn),
    neighbours: of(types.newNeighbour, neighbourIn),
    forwarding: of(types.newNeighbour, forwardingIn),
  };
}

type Names = ReadonlyMap<number, string>;

const linkBytes = 16;
const addressBytes = 8;
const routeBytes = 12;
const neighbourBytes = 12;
/** Of what IPv6 routes have when nothing is said. */
const usualMetric6 = 1024;

/** As large as the header of any of them. */
function headerOf(family: number): Buffer {
  const header = Buffer.alloc(linkBytes);
  header[0] = family;
  return header;
}

function linkIn(body: Buffer, names: Names): Link[] {
  const all = attributesIn(body.subarray(linkBytes));
  const info = attributesIn(all.get(ofLink.info));
  const kind = textIn(info.get(ofLink.kind));
  if (!isKnownKind(kind)) return [];
  const data = attributesIn(info.get(ofLink.data));
  const port = attributesIn(info.get(ofLink.portData));
  return [
    {
      name: textIn(all.get(ofLink.name)),
      kind,
      mtu: numberIn(all.get(ofLink.mtu)),
      mac: macIn(all.get(ofLink.address)),
      master: names.get(numberIn(all.get(ofLink.master))) ?? "",
      hairpin: numberIn(port.get(ofPort.hairpin)) === 1,
      peer: undefined,
      vxlan:
        kind === "vxlan"
          ? {
              id: numberIn(data.get(ofVxlan.id)),
              local: ipIn(data.get(ofVxlan.local) ?? data.get(ofVxlan.local6)),
              port: data.get(ofVxlan.port)?.readUInt16BE() ?? 0,
              through: names.get(numberIn(data.get(ofVxlan.link))) ?? "",
            }
          : undefined,
    },
  ];
}

function isKnownKind(kind: string): kind is Link["kind"] {
  return ["veth", "bridge", "vxlan", "macvlan", "ipvlan"].includes(kind);
}

function addressIn(body: Buffer, names: Names): Address[] {
  const device = names.get(body.readUInt32LE(4)) ?? "";
  if (device === "lo" || body[3] === routeKinds.scopeLink) return [];
  const all = attributesIn(body.subarray(addressBytes));
  const address = ipIn(all.get(ofAddress.local) ?? all.get(ofAddress.address));
  return [{ device, address, length: body[1] ?? 0 }];
}

function routeIn(body: Buffer, names: Names): Route[] {
  const [family, length = 0, , , shortTable = 0, protocol, , type] = body;
  if (protocol === routeKinds.byKernel || type !== routeKinds.unicast) return [];
  const all = attributesIn(body.subarray(routeBytes));
  const whole = family === families.v4 ? 32 : 128;
  const to = ipIn(all.get(ofRoute.to));
  const metric = numberIn(all.get(ofRoute.metric));
  return [
    {
      device: names.get(numberIn(all.get(ofRoute.device))) ?? "",
      destination: length === 0 ? "default" : length === whole ? to : `${to}/${length}`,
      via: ipIn(all.get(ofRoute.via)),
      source: ipIn(all.get(ofRoute.source)),
      table: numberIn(all.get(ofRoute.table)) || shortTable,
      metric: family === families.v6 && metric === usualMetric6 ? 0 : metric,
    },
  ];
}

function ruleIn(body: Buffer): Rule[] {
  const all = attributesIn(body.subarray(routeBytes));
  const mark = numberIn(all.get(ofRule.mark));
  if (mark === 0) return [];
  const mask = all.get(ofRule.mask);
  return [
    {
      family: body[0] === families.v4 ? 4 : 6,
      preference: numberIn(all.get(ofRule.preference)),
      mark,
      mask: mask === undefined ? 0xffffffff : numberIn(mask),
      table: numberIn(all.get(ofRule.table)) || (body[4] ?? 0),
    },
  ];
}

function neighbourIn(body: Buffer, names: Names): Neighbour[] {
  if (body[0] === families.bridge) return [];
  const all = attributesIn(body.subarray(neighbourBytes));
  const mac = macIn(all.get(ofNeighbour.mac));
  if ((body.readUInt16LE(8) & neighbourStates.permanent) === 0 || mac === "") return [];
  return [{ device: deviceIn(body, names), address: ipIn(all.get(ofNeighbour.address)), mac }];
}

function forwardingIn(body: Buffer, names: Names): Forwarding[] {
  if (body[0] !== families.bridge) return [];
  const all = attributesIn(body.subarray(neighbourBytes));
  const state = body.readUInt16LE(8);
  const isPermanent = (state & neighbourStates.permanent) !== 0;
  const device = deviceIn(body, names);
  const mac = macIn(all.get(ofNeighbour.mac));
  const destination = ipIn(all.get(ofNeighbour.address));
  if (isPermanent) return destination === "" ? [] : [{ device, mac, destination }];
  const isStatic = (state & neighbourStates.noQuestions) !== 0;
  return isStatic ? [{ device, mac, destination: "" }] : [];
}

function deviceIn(body: Buffer, names: Names): string {
  return names.get(body.readInt32LE(4)) ?? "";
}

function macIn(value: Buffer | undefined): string {
  return value === undefined ? "" : (value.toString("hex").match(/../g) ?? []).join(":");
}

function ipIn(value: Buffer | undefined): string {
  if (value === undefined || (value.length !== 4 && value.length !== 16)) return "";
  const family = value.length === 4 ? 4 : 6;
  return formatAddress({ family, value: BigInt(`0x${value.toString("hex")}`) });
}
