/**
 * Which nodes count as behind a translation of addresses.
 */
import { equal } from "node:assert/strict";
import { outerAddressOf } from "../../../../manager/dispatcher/outer-address.ts";

describe("manager/dispatcher/outer-address", () => {
  const own = ["10.0.0.5", "192.168.7.5", "fd00::5"];

  it("is where a node is seen that has no such address", () => {
    equal(outerAddressOf("198.51.100.1", own), "198.51.100.1");
    equal(outerAddressOf("::ffff:198.51.100.1", own), "198.51.100.1");
  });

  it("is none for a node that is seen by any address of its own, or on the manager itself", () => {
    for (const seen of ["10.0.0.5", "::ffff:192.168.7.5", "fd00::5", "127.0.0.1", "::1"])
      equal(outerAddressOf(seen, own), "-", seen);
  });

  it("is not known of a node that tells none of its addresses", () => {
    equal(outerAddressOf("198.51.100.1", []), "");
    equal(outerAddressOf("", own), "");
  });
});
