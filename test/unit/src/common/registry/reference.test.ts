/**
 * Image references taken apart and put together.
 */
import { equal, throws } from "node:assert/strict";
import {
  familiarName,
  familiarText,
  fullText,
  parseReference,
  withDefaultTag,
} from "../../../../../src/common/registry/reference.ts";

const digest = `sha256:${"a".repeat(64)}`;

describe("common/registry/reference", () => {
  it("fills in what short names leave out, and shows them short", () => {
    for (const [written, full, familiar] of [
      ["busybox", "docker.io/library/busybox:latest", "busybox:latest"],
      ["busybox:1", "docker.io/library/busybox:1", "busybox:1"],
      ["docker.io/busybox:1", "docker.io/library/busybox:1", "busybox:1"],
      ["index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
      ["a/b:c", "docker.io/a/b:c", "a/b:c"],
      ["10.0.0.1:5000/app", "10.0.0.1:5000/app:latest", "10.0.0.1:5000/app:latest"],
      ["[fd00::1]:5000/a/b:1", "[fd00::1]:5000/a/b:1", "[fd00::1]:5000/a/b:1"],
      ["localhost/app:2", "localhost/app:2", "localhost/app:2"],
      ["example.org/x/y/z:v1", "example.org/x/y/z:v1", "example.org/x/y/z:v1"],
      [`busybox@${digest}`, `docker.io/library/busybox@${digest}`, `busybox@${digest}`],
      [`h:1/a:t@${digest}`, `h:1/a:t@${digest}`, `h:1/a:t@${digest}`],
    ] as const) {
      const reference = withDefaultTag(parseReference(written));
      equal(fullText(reference), full, written);
      equal(familiarText(reference), familiar, written);
      equal(fullText(withDefaultTag(parseReference(familiar))), full, `${familiar} comes back`);
    }
  });

  it("does not shorten a name to one that would be read as another", () => {
    const reference = { domain: "docker.io", repository: "library/a/b", tag: "", digest: "" };
    equal(familiarName(reference), "library/a/b");
  });

  it("refuses what is no reference, in Docker's words", () => {
    for (const [text, message] of [
      ["", /^invalid reference format/],
      ["a b", /^invalid reference format/],
      ["app:", /^invalid reference format/],
      ["x".repeat(300), /^invalid reference format/],
      ["BusyBox:1", /repository name \(BusyBox\) must be lowercase/],
      [`app@sha512:${"a".repeat(64)}`, /unsupported digest algorithm/],
      [`app@md5:${"a".repeat(32)}`, /unsupported digest algorithm/],
    ] as const) {
      throws(() => parseReference(text), { code: "invalid-argument", message }, text);
    }
  });
});
