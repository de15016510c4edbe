/**
 * Addresses and prefixes: text forms and arithmetic.
 */
import { deepEqual, equal } from "node:assert/strict";
import {
  addressAt,
  formatAddress,
  formatPrefix,
  networkOf,
  parseAddress,
  parsePrefix,
  sizeOf,
} from "../../../../../src/common/spec/cidr.ts";

function prefix(text: string) {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new Error(`no prefix: ${text}`);
  return parsed;
}

describe("src/common/spec/cidr: forms", () => {
  it("writes addresses in their short form", () => {
    const texts = ["10.0.0.1", "255.255.255.255", "::", "::1", "fd00::", "fd00::1:0:0:1", "1::"];
    const long = ["2001:db8::1", "1:2:3:4:5:6:7:8", "1:0:3:4:5:6:7:8", "10::10:0:0:10", "1:2::7:8"];
    for (const text of [...texts, ...long]) {
      const address = parseAddress(text);
      equal(address && formatAddress(address), text);
    }
  });

  it("shortens the first of the longest runs of zeros", () => {
    const short = (text: string) => {
      const address = parseAddress(text);
      return address && formatAddress(address);
    };
    equal(short("1:0:0:2:0:0:3:4"), "1::2:0:0:3:4");
    equal(short("1:0:0:2:0:0:0:4"), "1:0:0:2::4");
    equal(short("0:0:0:0:0:ffff:0102:0304"), "::ffff:102:304");
  });

  it("cuts host bits off", () => {
    equal(formatPrefix(networkOf(prefix("10.1.2.3/8"))), "10.0.0.0/8");
    equal(formatPrefix(networkOf(prefix("fd00::1:2/112"))), "fd00::1:0/112");
    equal(formatPrefix(networkOf(prefix("10.1.2.3/32"))), "10.1.2.3/32");
  });

  it("counts addresses from the first of the prefix", () => {
    equal(formatAddress(addressAt(prefix("10.0.3.9/24"), 7n)), "10.0.3.7");
    deepEqual([sizeOf(prefix("10.0.0.0/24")), sizeOf(prefix("fd00::/64"))], [256n, 1n << 64n]);
  });
});
