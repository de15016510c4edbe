/**
 * Which image runs on which node, as tables.
 */
import { deepEqual, equal, throws } from "node:assert/strict";
import { Platform } from "../../../../../src/common/api/generated/api.ts";
import {
  canRun,
  choosePlatform,
  nodeRunsImage,
  normalizePlatform,
  parsePlatform,
  platformText,
} from "../../../../../src/common/platform/match.ts";

/** `os/arch[/variant]` as it is, with `!` in front for an emulated one. */
function platform(text: string): Platform {
  const [os = "", architecture = "", variant = ""] = text.replace("!", "").split("/");
  return Platform.create({ os, architecture, variant, emulated: text.startsWith("!") });
}

function choice(offered: string, wanted: string, emulated = false): string {
  const images = offered.split(" ");
  const position = choosePlatform(images.map(platform), wanted.split(" ").map(platform), {
    emulated,
  });
  return images[position] ?? "none";
}

describe("common/platform/match", () => {
  it("brings all spellings of a platform to one", () => {
    for (const [written, normal] of [
      ["linux/x86_64", "linux/amd64/v1"],
      ["linux/x86_64/v3", "linux/amd64/v3"],
      ["Linux/AMD64", "linux/amd64/v1"],
      ["linux/aarch64", "linux/arm64/v8"],
      ["linux/arm64/8", "linux/arm64/v8"],
      ["linux/arm", "linux/arm/v7"],
      ["linux/arm/6", "linux/arm/v6"],
      ["linux/armv6l", "linux/arm/v6"],
      ["linux/armv7l/v5", "linux/arm/v5"],
      ["linux/armhf", "linux/arm/v7"],
      ["linux/armel", "linux/arm/v6"],
      ["linux/i386", "linux/386"],
      ["linux/riscv64", "linux/riscv64"],
      ["linux/ppc64le/power9", "linux/ppc64le/power9"],
    ] as const) {
      equal(platformText(normalizePlatform(platform(written))), normal, written);
    }
  });

  it("runs what is built for the same level or a lower one, on the same architecture only", () => {
    for (const [node, image, expected] of [
      ["linux/arm/v7", "linux/arm/v7", true],
      ["linux/arm/v7", "linux/arm", true],
      ["linux/arm/v7", "linux/arm/v6", true],
      ["linux/arm/v7", "linux/arm/v5", true],
      ["linux/arm/v7", "linux/arm/v8", false],
      ["linux/arm/v6", "linux/arm/v7", false],
      ["linux/arm/v6", "linux/arm", false],
      ["linux/arm/v6", "linux/arm/v5", true],
      ["linux/arm64", "linux/arm64/v8", true],
      ["linux/arm64/v8", "linux/arm64", true],
      ["linux/arm64/v8", "linux/arm64/v9", false],
      ["linux/arm64/v9", "linux/arm64/v8", true],
      ["linux/arm64/v8.2", "linux/arm64/v8.10", false],
      ["linux/arm64/v8", "linux/arm/v7", false],
      ["linux/arm/v7", "linux/arm64", false],
      ["linux/amd64/v3", "linux/amd64/v1", true],
      ["linux/amd64/v3", "linux/amd64", true],
      ["linux/amd64/v2", "linux/amd64/v3", false],
      ["linux/amd64", "linux/amd64/v2", false],
      ["linux/amd64", "linux/386", false],
      ["linux/amd64", "linux/arm/v7", false],
      ["linux/amd64", "windows/amd64", false],
      ["linux/amd64", "unknown/unknown", false],
      ["linux/riscv64", "linux/riscv64", true],
      ["linux/riscv64/rva20u64", "linux/riscv64", true],
      ["linux/riscv64", "linux/riscv64/rva20u64", false],
      ["linux/ppc64le/power9", "linux/ppc64le/power9", true],
      ["linux/amd64", "/", true],
      ["linux/amd64", "linux/", true],
    ] as const) {
      const answer = canRun({ node: platform(node), image: platform(image) });
      equal(answer, expected, `${image} on ${node}`);
    }
  });

  it("takes the highest level that the node runs", () => {
    const arms = "linux/arm/v5 linux/arm/v7 linux/arm/v6 linux/arm64/v8 linux/amd64";
    equal(choice(arms, "linux/arm/v7"), "linux/arm/v7");
    equal(choice(arms, "linux/arm/v6"), "linux/arm/v6");
    equal(choice(arms, "linux/arm/v5"), "linux/arm/v5");
    equal(choice(arms, "linux/arm64"), "linux/arm64/v8");
    equal(choice("linux/amd64 linux/amd64/v3 linux/amd64/v2", "linux/amd64/v2"), "linux/amd64/v2");
    equal(choice("linux/amd64 linux/amd64/v1", "linux/amd64/v4"), "linux/amd64");
    equal(choice("linux/arm/v7 linux/amd64", "linux/arm/v6"), "none");
    equal(choice("linux/arm/v7", "linux/amd64/v4"), "none");
  });

  it("prefers what the node names first, and native to emulated", () => {
    const both = "linux/arm/v7 linux/arm64";
    equal(choice(both, "linux/arm64 linux/arm/v7"), "linux/arm64");
    equal(choice("linux/arm/v7", "linux/arm64 linux/arm/v7"), "linux/arm/v7");
    const node = "!linux/arm64 linux/amd64/v2 !linux/arm/v7";
    equal(choice("linux/arm64 linux/amd64", node, true), "linux/amd64");
    equal(choice("linux/arm64 linux/arm/v7", node, true), "linux/arm64");
    equal(choice("linux/arm64 linux/arm/v7", node, false), "none");
  });

  it("lets every node try an image of which nothing is known", () => {
    equal(nodeRunsImage([platform("linux/amd64")], [], { emulated: false }), true);
    equal(
      nodeRunsImage([platform("linux/amd64")], [platform("linux/arm")], { emulated: false }),
      false,
    );
  });

  it("reads what users write, and refuses the rest by name", () => {
    equal(platformText(parsePlatform("linux/arm/v6")), "linux/arm/v6");
    equal(platformText(parsePlatform("arm64")), "linux/arm64/v8");
    equal(platformText(parsePlatform("linux/x86_64")), "linux/amd64/v1");
    deepEqual(parsePlatform("linux/amd64"), platform("linux/amd64/v1"));
    for (const text of ["", "linux", "linux/", "linux/arm/v7/x", "linux/ar m", "/arm"]) {
      throws(() => parsePlatform(text), { code: "invalid-argument", message: /invalid platform/ });
    }
  });
});
