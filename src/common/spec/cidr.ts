/**
 * IP addresses and prefixes as text: parse, compare, contain. Pure; IPv4 and IPv6 (RFC 4291 text forms).
 */
import { isIPv4, isIPv6 } from "node:net";

/** An address as a number of 32 or 128 bits. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly value: bigint;
}

/** A prefix such as 10.0.0.0/8; `value` is the address as written, host bits included. */
export interface IpPrefix extends IpAddress {
  readonly length: number;
}

/** undefined when the text is no IP address. */
export function parseAddress(text: string): IpAddress | undefined {
  if (isIPv4(text)) return { family: 4, value: ipv4Value(text) };
  if (isIPv6(text) && !text.includes("%")) return { family: 6, value: ipv6Value(text) };
  return undefined;
}

/** undefined when the text is not `address/length`. */
export function parsePrefix(text: string): IpPrefix | undefined {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  const address = parseAddress(match?.[1] ?? "");
  const length = Number(match?.[2]);
  if (address === undefined || length > bits(address.family)) return undefined;
  return { ...address, length };
}

/** Whether the address lies in the prefix. */
export function contains(prefix: IpPrefix, address: IpAddress): boolean {
  if (prefix.family !== address.family) return false;
  // The length is the prefix's own, also when the address is a longer prefix.
  return network(prefix) === network({ ...prefix, value: address.value });
}

/** Whether two prefixes share an address. */
export function overlaps(a: IpPrefix, b: IpPrefix): boolean {
  return a.length <= b.length ? contains(a, b) : contains(b, a);
}

function network(prefix: IpPrefix): bigint {
  return prefix.value >> BigInt(bits(prefix.family) - prefix.length);
}

function bits(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}

function ipv4Value(text: string): bigint {
  return text.split(".").reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

function ipv6Value(text: string): bigint {
  const tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const dotted = tail === null ? 0n : ipv4Value(tail[2] ?? "0.0.0.0");
  const words = tail === null ? text : `${tail[1]}${hex(dotted >> 16n)}:${hex(dotted & 0xffffn)}`;
  const [head = "", rest] = words.split("::");
  const left = groups(head);
  const right = rest === undefined ? [] : groups(rest);
  const middle = Array.from({ length: 8 - left.length - right.length }, () => 0n);
  return [...left, ...middle, ...right].reduce((value, group) => (value << 16n) | group, 0n);
}

function groups(text: string): bigint[] {
  return text === "" ? [] : text.split(":").map((group) => BigInt(`0x${group}`));
}

function hex(value: bigint): string {
  return value.toString(16);
}

/** The prefix without host bits. */
export function networkOf(prefix: IpPrefix): IpPrefix {
  return { ...prefix, value: first(prefix) };
}

/** How many addresses a prefix has. */
export function sizeOf(prefix: IpPrefix): bigint {
  return 1n << BigInt(bits(prefix.family) - prefix.length);
}

/** The address at a place of the prefix, counted from its first. Not checked against its size. */
export function addressAt(prefix: IpPrefix, index: bigint): IpAddress {
  return { family: prefix.family, value: first(prefix) + index };
}

/** An address as text; IPv6 in the short form of RFC 5952. */
export function formatAddress({ family, value }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
  const words = Array.from({ length: 8 }, (_, i) => hex((value >> BigInt(112 - 16 * i)) & 0xffffn));
  const runs = [...words.join(":").matchAll(/(?<![0-9a-f])0(?::0(?![0-9a-f]))+/g)];
  const longest = runs.reduce<RegExpExecArray | undefined>(
    (best, run) => (best === undefined || run[0].length > best[0].length ? run : best),
    undefined,
  );
  const text = words.join(":");
  if (longest === undefined) return text;
  const head = text.slice(0, longest.index).replace(/:$/, "");
  const tail = text.slice(longest.index + longest[0].length).replace(/^:/, "");
  return `${head}::${tail}`;
}

/** A prefix as text, host bits as they are. */
export function formatPrefix(prefix: IpPrefix): string {
  return `${formatAddress(prefix)}/${prefix.length}`;
}

function first(prefix: IpPrefix): bigint {
  return network(prefix) << BigInt(bits(prefix.family) - prefix.length);
}
