/**
 * Compiled seccomp filters: whose they are given to, and what is not taken for one.
 */
import { deepEqual } from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SeccompFilters } from "../../../../../agent/exec/containerd/seccomp-filters.ts";

describe("agent/exec/containerd/seccomp-filters", () => {
  const rules = { defaultAction: "SCMP_ACT_ERRNO" };
  let folder: string;
  let filters: SeccompFilters;
  const writes = (id: string, bytes: number) => {
    mkdirSync(join(folder, id));
    writeFileSync(join(folder, id, "seccomp.bpf"), Buffer.alloc(bytes, id));
  };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-test-"));
    filters = new SeccompFilters((program) => (program === "none" ? undefined : folder));
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it("gives what was compiled for the same rules to the program that did", async () => {
    writes("a", 16);
    deepEqual(filters.annotations("crun", rules), {});
    await filters.learn("crun", "a", rules);
    const given = { "run.oci.seccomp_bpf_data": Buffer.alloc(16, "a").toString("base64") };
    deepEqual(filters.annotations("crun", { ...rules }), given);
    deepEqual(filters.annotations("runc", rules), {});
    deepEqual(filters.annotations("crun", undefined), {});
    deepEqual(filters.annotations("crun", { defaultAction: "SCMP_ACT_ALLOW" }), {});
  });

  it("keeps the first of several", async () => {
    writes("a", 16);
    writes("b", 24);
    await filters.learn("crun", "a", rules);
    await filters.learn("crun", "b", rules);
    const given = { "run.oci.seccomp_bpf_data": Buffer.alloc(16, "a").toString("base64") };
    deepEqual(filters.annotations("crun", rules), given);
  });

  it("takes nothing that is no filter, or is not there", async () => {
    writes("cut", 12);
    writes("empty", 0);
    writes("long", 8 * 4097);
    for (const id of ["cut", "empty", "long", "absent"]) await filters.learn("crun", id, rules);
    writes("runc", 16);
    await filters.learn("runc", "runc", rules);
    await filters.learn("none", "runc", rules);
    await filters.learn("crun", "runc", undefined);
    deepEqual(filters.annotations("crun", rules), {});
  });
});
