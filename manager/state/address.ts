/**
 * Addresses as keys: two spellings of one address give one key.
 *
 * IPv4 becomes a 32-bit signed integer, which costs a Map nothing; IPv6 its eight groups without leading zeros (the
 * notation of RFC 4291, uncompressed).
 */

/** The key of an address with or without prefix length (`10.0.1.5/24`); text that is no address is its own key. */
export function addressKey(text: string): string | number {
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  if (address.includes(":")) return ipv6Key(address.toLowerCase());
  return ipv4Key(address) ?? address;
}

function ipv4Key(address: string): number | undefined {
  let value = 0;
  let part = -1;
  let dots = 0;
  for (let at = 0; at < address.length; at++) {
    const code = address.charCodeAt(at);
    if (code === 46) {
      if (part < 0 || dots === 3) return undefined;
      value = (value << 8) | part;
      part = -1;
      dots++;
    } else if (code >= 48 && code <= 57) {
      part = Math.max(part, 0) * 10 + code - 48;
      if (part > 255) return undefined;
    } else return undefined;
  }
  return dots === 3 && part >= 0 ? (value << 8) | part : undefined;
}

function ipv6Key(address: string): string {
  const [head = "", tail, ...more] = address.split("::");
  if (more.length > 0) return address;
  const left = groupsOf(head);
  const right = groupsOf(tail ?? "");
  if (left === undefined || right === undefined) return address;
  const missing = 8 - left.length - right.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return address;
  return [...left, ...Array<string>(missing).fill("0"), ...right].join(":");
}

function groupsOf(text: string): string[] | undefined {
  if (text === "") return [];
  const groups: string[] = [];
  for (const part of text.split(":")) {
    const dotted = part.includes(".") ? ipv4Key(part) : undefined;
    if (dotted !== undefined) {
      groups.push(((dotted >>> 16) & 0xffff).toString(16), (dotted & 0xffff).toString(16));
    } else if (/^[0-9a-f]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16).toString(16));
    } else return undefined;
  }
  return groups;
}
