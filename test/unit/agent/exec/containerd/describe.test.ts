/**
 * What nodes say of themselves: host, resources, engine, plugins, warnings.
 */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import {
  describeNode,
  type EngineFacts,
  type HostFacts,
  readHostFacts,
} from "../../../../../agent/exec/containerd/describe.ts";
import {
  libraryWarnings,
  limitWarnings,
} from "../../../../../agent/exec/containerd/limit-warnings.ts";
import { GenericResource, NodeDescription } from "../../../../../src/common/api/generated/api.ts";
import { noRuntimeFacts } from "../../../../support/no-runtime.ts";

const host: HostFacts = {
  hostname: "h",
  nodeArch: "x64",
  kernelMachine: "x86_64",
  cpuFeatures: new Set<string>(),
  armVersion: 0,
  runs32Bit: false,
  binfmt: [],
  pretended: "",
  cpuCount: 4,
  memoryBytes: 2 ** 30,
};
const engine: EngineFacts = { version: "1.2", labels: {}, generic: [], warnings: [] };

describe("agent/exec/containerd/describe", () => {
  it("describes host, resources and engine, in units of the API", () => {
    const generic = [GenericResource.create({ kind: "gpu", named: "u1" })];
    const warnings = ["WARNING: x"];
    const labels = { disk: "ssd" };
    const description = describeNode(host, { ...engine, labels, generic, warnings });
    equal(description.hostname, "h");
    deepEqual(description.platform, description.platforms[0]);
    deepEqual(description.resources, { nanoCpus: 4e9, memoryBytes: 2 ** 30, pids: 0, generic });
    equal(description.engine?.engineVersion, "1.2");
    deepEqual({ ...description.engine?.labels }, labels);
    deepEqual(description.warnings, warnings);
  });

  it("lists what services may ask for by name", () => {
    const list = describeNode(host, engine).engine?.plugins.map(
      ({ type, name }) => `${type}/${name}`,
    );
    ok(list?.includes("Network/overlay") && list.includes("Volume/local"));
    ok(list?.includes("Log/json-file"));
  });

  it("gives equal bytes for an unchanged machine", () => {
    const bytes = () =>
      Buffer.from(NodeDescription.encode(describeNode(readHostFacts(), engine))).toString("hex");
    equal(bytes(), bytes());
  });

  it("reads this machine", () => {
    const facts = readHostFacts();
    notEqual(facts.hostname, "");
    ok(facts.cpuCount >= 1);
    ok(facts.memoryBytes > 0);
  });
});

describe("agent/exec/containerd/limit-warnings", () => {
  const { limits } = noRuntimeFacts;

  it("has none where all limits hold", () => {
    deepEqual(limitWarnings(limits), []);
  });

  it("says how memory limits are switched on, and that alone of memory", () => {
    const [first, ...others] = limitWarnings({ ...limits, memory: false, swap: false });
    ok(first?.startsWith("WARNING: No memory limit support"));
    ok(first?.includes("cgroup_enable=memory"));
    deepEqual(others, []);
  });

  it("has one for each limit that is not enforced", () => {
    const found = limitWarnings({ ...limits, swap: false, cpuQuota: false, pids: false });
    deepEqual(
      found.map((text) => text.slice("WARNING: No ".length).split(" support")[0]),
      ["swap limit", "cpu cfs quota", "pids limit"],
    );
  });

  it("says what a node without koffi lacks", () => {
    deepEqual(libraryWarnings(false), []);
    match(libraryWarnings(true).join(), /do not find services by name: koffi, .*"npm ci"/);
  });
});
