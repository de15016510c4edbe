/**
 * What nodes of all kinds say of themselves.
 */
import assert from "node:assert/strict";
import {
  armVersionOf,
  describeNode,
  type HostFacts,
  nativePlatforms,
  readHostFacts,
} from "../../../../../agent/exec/containerd/describe.ts";
import { NodeDescription } from "../../../../../src/common/api/generated/api.ts";

const level2 = ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"];
const level3 = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave", ...level2];
const level4 = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", ...level3];

function machine(facts: Partial<HostFacts>): HostFacts {
  const none = { hostname: "h", cpuFeatures: new Set<string>(), armVersion: 0 };
  return { ...none, nodeArch: "x64", cpuCount: 4, memoryBytes: 2 ** 30, ...facts };
}

describe("agent/exec/containerd/describe", () => {
  const platforms: readonly (readonly [string, Partial<HostFacts>, readonly string[]])[] = [
    ["the plainest x86-64", {}, ["x86_64 v1"]],
    ["x86-64 of level 2", { cpuFeatures: new Set(level2) }, ["x86_64 v2", "x86_64 v1"]],
    [
      "x86-64 of level 3",
      { cpuFeatures: new Set(level3) },
      ["x86_64 v3", "x86_64 v2", "x86_64 v1"],
    ],
    [
      "x86-64 of level 4",
      { cpuFeatures: new Set(level4) },
      ["x86_64 v4", "x86_64 v3", "x86_64 v2", "x86_64 v1"],
    ],
    [
      "x86-64 with AVX2 that lacks a part of level 2",
      { cpuFeatures: new Set(level3.filter((feature) => feature !== "popcnt")) },
      ["x86_64 v1"],
    ],
    ["64-bit ARM", { nodeArch: "arm64", armVersion: 8 }, ["aarch64 v8"]],
    ["ARMv7", { nodeArch: "arm", armVersion: 7 }, ["armv7l v7", "armv6l v6", "armv5l v5"]],
    [
      "ARMv8 with a 32-bit system",
      { nodeArch: "arm", armVersion: 8 },
      ["armv7l v7", "armv6l v6", "armv5l v5"],
    ],
    ["ARMv6", { nodeArch: "arm", armVersion: 6 }, ["armv6l v6", "armv5l v5"]],
    ["32-bit ARM of unknown version", { nodeArch: "arm" }, ["armv7l v7", "armv6l v6", "armv5l v5"]],
    ["another architecture", { nodeArch: "riscv64" }, ["riscv64 "]],
  ];
  for (const [fact, facts, expected] of platforms) {
    it(`names the platforms of ${fact}, the best first`, () => {
      const found = nativePlatforms(machine(facts));
      assert.deepEqual(
        found.map(({ architecture, variant }) => `${architecture} ${variant}`),
        expected,
      );
      assert.ok(found.every(({ os }) => os === "linux"));
    });
  }

  const cpuInfos: readonly (readonly [string, string, number])[] = [
    ["none of x86", "flags\t\t: fpu vme\n", 0],
    ["none of nothing", "", 0],
    [
      "7 of a Raspberry Pi 2",
      "model name\t: ARMv7 Processor rev 5 (v7l)\nCPU architecture: 7\n",
      7,
    ],
    [
      "6 of a first Raspberry Pi, which claims 7",
      "processor\t: 0\nmodel name\t: ARMv6-compatible processor rev 7 (v6l)\nCPU architecture: 7\n",
      6,
    ],
    ["8 of a 64-bit system", "processor\t: 0\nCPU architecture: 8\n", 8],
  ];
  for (const [fact, text, expected] of cpuInfos) {
    it(`reads ARM version ${fact}`, () => assert.equal(armVersionOf(text), expected));
  }

  it("describes host, resources and engine, in units of the API", () => {
    const description = describeNode(machine({}), { version: "1.2", labels: { disk: "ssd" } });
    assert.equal(description.hostname, "h");
    assert.deepEqual(description.platform, description.platforms[0]);
    assert.equal(description.resources?.nanoCpus, 4e9);
    assert.equal(description.resources?.memoryBytes, 2 ** 30);
    assert.equal(description.engine?.engineVersion, "1.2");
    assert.deepEqual({ ...description.engine?.labels }, { disk: "ssd" });
  });

  it("gives equal bytes for an unchanged machine", () => {
    const bytes = () => {
      const description = describeNode(readHostFacts(), { version: "1", labels: {} });
      return Buffer.from(NodeDescription.encode(description)).toString("hex");
    };
    assert.equal(bytes(), bytes());
  });

  it("reads this machine", () => {
    const facts = readHostFacts();
    assert.notEqual(facts.hostname, "");
    assert.ok(facts.cpuCount >= 1);
    assert.ok(facts.memoryBytes > 0);
  });
});
