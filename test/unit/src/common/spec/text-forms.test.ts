/**
 * Forms of text in specs: image references, addresses and prefixes.
 */
import assert from "node:assert/strict";
import {
  contains,
  overlaps,
  parseAddress,
  parsePrefix,
} from "../../../../../src/common/spec/cidr.ts";
import { isImageReference } from "../../../../../src/common/spec/image-reference.ts";

const digest = `sha256:${"0123456789abcdef".repeat(4)}`;

describe("src/common/spec/image-reference", () => {
  it("takes what registries take", () => {
    for (const image of [
      "nginx",
      "nginx:1.25",
      "library/nginx",
      "docker.io/library/nginx:latest",
      "localhost/app",
      "localhost:5000/app:dev",
      "registry.example.org:5000/team/app_x/y-z.w:V1.0_a-b",
      `nginx@${digest}`,
      `nginx:1@${digest}`,
      "[::1]:5000/app",
      "UPPER.example/app",
      "a__b/c--d",
    ])
      assert.ok(isImageReference(image), image);
  });

  it("refuses the rest", () => {
    for (const image of [
      "",
      ":",
      "nginx:",
      "Nginx",
      "nginx:-x",
      "a//b",
      "/a",
      "a/",
      "a b",
      "nginx@sha256:12",
      "@",
      "x@y@z",
      "-a",
      "a..b",
      "http://example.org/app",
      "a".repeat(256),
      "0123456789abcdef".repeat(4),
      `nginx:${"t".repeat(129)}`,
      "../etc",
    ])
      assert.ok(!isImageReference(image), image);
  });
});

describe("src/common/spec/cidr", () => {
  it("reads addresses of both families", () => {
    assert.deepEqual(parseAddress("10.0.0.1"), { family: 4, value: 0x0a000001n });
    assert.deepEqual(parseAddress("::1"), { family: 6, value: 1n });
    assert.equal(parseAddress("2001:db8::8:0")?.value, 0x20010db8000000000000000000080000n);
    assert.equal(parseAddress("::ffff:1.2.3.4")?.value, 0xffff01020304n);
    assert.equal(parseAddress("1:2:3:4:5:6:7:8")?.value, 0x00010002000300040005000600070008n);
    for (const wrong of ["", "10.0.0", "10.0.0.256", "fe80::1%eth0", "x"])
      assert.equal(parseAddress(wrong), undefined, wrong);
  });

  it("reads prefixes and refuses lengths that are none", () => {
    assert.equal(parsePrefix("10.0.0.0/8")?.length, 8);
    assert.equal(parsePrefix("fd00::/8")?.family, 6);
    for (const wrong of ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/", "fd00::/129", "/8"])
      assert.equal(parsePrefix(wrong), undefined, wrong);
  });

  it("tells what lies within", () => {
    const cases = [
      ["10.0.0.0/24", "10.0.0.255/32", true],
      ["10.0.0.0/24", "10.0.1.0/32", false],
      ["10.0.0.0/24", "10.0.0.128/25", true],
      ["0.0.0.0/0", "1.2.3.4/32", true],
      ["10.0.0.0/24", "fd00::/64", false],
      ["fd00::/8", "fdff::1/128", true],
    ] as const;
    for (const [outer, inner, expected] of cases) {
      const [a, b] = [parsePrefix(outer), parsePrefix(inner)];
      assert.ok(a !== undefined && b !== undefined);
      assert.equal(contains(a, b), expected, `${outer} ${inner}`);
      assert.equal(overlaps(a, b), expected);
      assert.equal(overlaps(b, a), expected);
    }
  });
});
