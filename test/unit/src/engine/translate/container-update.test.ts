/**
 * Tests of updates: what is not said stays, and what cannot be is refused.
 */
import { deepEqual, equal, throws } from "node:assert/strict";
import { containerConfigFromJson } from "../../../../../src/engine/translate/container-config.ts";
import { containerUpdateFromJson } from "../../../../../src/engine/translate/container-update.ts";
import { JsonObject } from "../../../../../src/engine/translate/reader.ts";

const mib = 2 ** 20;

function update(before: object, change: object) {
  const body = new JsonObject({ Image: "x", HostConfig: before }, "");
  const limits = { cpus: 4, runtimes: [] };
  const { config } = containerConfigFromJson(body, { name: "", platform: undefined, limits });
  return containerUpdateFromJson(new JsonObject(change, ""), config, 4);
}

describe("src/engine/translate/container-update", () => {
  it("leaves what is zero or not said", () => {
    const change = update({ Memory: 64 * mib, NanoCpus: 1e9, CpuShares: 7 }, { Memory: 96 * mib });
    equal(change.resources?.limits?.memoryBytes, 96 * mib);
    equal(change.resources?.limits?.nanoCpus, 1e9);
    equal(change.extraLimits, undefined);
    equal(change.restartPolicy, undefined);
    const shares = update({ Memory: 64 * mib, CpusetCpus: "0" }, { CpuShares: 9, Memory: 0 });
    equal(shares.resources, undefined);
    deepEqual([shares.extraLimits?.cpuShares, shares.extraLimits?.cpusetCpus], [9, "0"]);
  });

  it("takes memory and swap as one total, also when only that is changed", () => {
    const both = update({ Memory: 64 * mib }, { Memory: 96 * mib, MemorySwap: 200 * mib });
    equal(both.resources?.swapBytes, 104 * mib);
    const total = update({ Memory: 64 * mib, MemorySwap: 64 * mib }, { MemorySwap: 100 * mib });
    equal(total.resources?.limits?.memoryBytes, 64 * mib);
    equal(total.resources?.swapBytes, 36 * mib);
    const memory = update({ Memory: 64 * mib, MemorySwap: 96 * mib }, { Memory: 80 * mib });
    equal(memory.resources?.swapBytes, 16 * mib);
  });

  it("says in Docker's words what cannot be", () => {
    const cases: readonly (readonly [object, object, RegExp])[] = [
      [{ Memory: 64 * mib, MemorySwap: 64 * mib }, { Memory: 96 * mib }, /already set memoryswap/],
      [{ Memory: 64 * mib }, { MemorySwap: 32 * mib }, /should be larger than memory limit/],
      [{ NanoCpus: 1e9 }, { CpuQuota: 1e5 }, /CPU Quota cannot be updated as NanoCPUs has already/],
      [
        { CpuQuota: 1e5 },
        { NanoCpus: 1e9 },
        /Nano CPUs cannot be updated as CPU Quota has already/,
      ],
      [{ AutoRemove: true }, { RestartPolicy: { Name: "always" } }, /AutoRemove is enabled/],
    ];
    for (const [before, change, text] of cases) throws(() => update(before, change), text);
  });

  it("takes a limit of processes away with -1", () => {
    const change = update({ PidsLimit: 9 }, { PidsLimit: -1 });
    equal(change.resources?.limits?.pids, 0);
  });
});
