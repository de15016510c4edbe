/** Tests of src/common/spec/container-labels.ts: what labels of containers say, and which values can be. */
import { deepEqual, equal } from "node:assert/strict";
import {
  containerLabelForms,
  containerLabelsOf,
} from "../../../../../src/common/spec/container-labels.ts";

describe("src/common/spec/container-labels", () => {
  it("says nothing where there are none, and for values that cannot be", () => {
    const nothing = {
      shmSizeBytes: 0,
      ipcMode: "",
      pidMode: "",
      cgroupnsMode: "",
      cgroupParent: "",
      cpuShares: 0,
      cpusetCpus: "",
      blkioWeight: 0,
      oomKillDisable: false,
      domainName: "",
      pull: "always",
    };
    deepEqual(containerLabelsOf({}), nothing);
    deepEqual(containerLabelsOf({ "skep.pid": "container:x", "skep.cpuset": "x" }), nothing);
  });

  it("reads each", () => {
    const labels = {
      "skep.shm-size": "1g",
      "skep.ipc": "host",
      "skep.pid": "host",
      "skep.cgroup": "host",
      "skep.cgroup-parent": "/a/b",
      "skep.cpu-shares": "512",
      "skep.cpuset": "0-1,3",
      "skep.blkio-weight": "300",
      "skep.oom-kill-disable": "true",
      "skep.domainname": "a.example",
      "skep.pull": "never",
    };
    deepEqual(containerLabelsOf(labels), {
      shmSizeBytes: 2 ** 30,
      ipcMode: "host",
      pidMode: "host",
      cgroupnsMode: "host",
      cgroupParent: "/a/b",
      cpuShares: 512,
      cpusetCpus: "0-1,3",
      blkioWeight: 300,
      oomKillDisable: true,
      domainName: "a.example",
      pull: "never",
    });
    deepEqual(Object.keys(labels).sort(), Object.keys(containerLabelForms).sort());
  });

  for (const [label, value] of [
    ["skep.shm-size", "much"],
    ["skep.shm-size", "0"],
    ["skep.cpu-shares", "1"],
    ["skep.blkio-weight", "5"],
    ["skep.pull", "sometimes"],
    ["skep.cgroup-parent", "a b"],
  ] as const)
    it(`takes ${label}=${value} for wrong`, () => {
      equal(containerLabelForms[label]?.[0](value), false);
    });
});
