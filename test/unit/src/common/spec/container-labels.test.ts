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
      utsMode: "",
      cgroupnsMode: "",
      cgroupParent: "",
      cpuShares: 0,
      cpusetCpus: "",
      blkioWeight: 0,
      blkioDevices: [],
      oomKillDisable: false,
      domainName: "",
      annotations: {},
      deviceRules: [],
      storageBytes: 0,
      postStart: [],
      preStop: [],
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
      "skep.uts": "host",
      "skep.cgroup": "host",
      "skep.cgroup-parent": "/a/b",
      "skep.cpu-shares": "512",
      "skep.cpuset": "0-1,3",
      "skep.blkio-weight": "300",
      "skep.blkio-devices": "/dev/sda:read-bps=1024,/dev/sdb:weight=20",
      "skep.annotations": '{"a":"b"}',
      "skep.device-cgroup-rules": "c 1:3 mr,b *:* r",
      "skep.post-start":
        '[{"command":["x","y"],"user":"1","privileged":true,"working_dir":"/","environment":["A=b"]}]',
      "skep.pre-stop": '[{"command":["z"]}]',
      "skep.storage-size": "1.5g",
      "skep.oom-kill-disable": "true",
      "skep.domainname": "a.example",
      "skep.pull": "never",
    };
    deepEqual(containerLabelsOf(labels), {
      shmSizeBytes: 2 ** 30,
      ipcMode: "host",
      pidMode: "host",
      utsMode: "host",
      cgroupnsMode: "host",
      cgroupParent: "/a/b",
      cpuShares: 512,
      cpusetCpus: "0-1,3",
      blkioWeight: 300,
      blkioDevices: [
        { path: "/dev/sda", what: "read-bps", value: 1024 },
        { path: "/dev/sdb", what: "weight", value: 20 },
      ],
      oomKillDisable: true,
      domainName: "a.example",
      annotations: { a: "b" },
      deviceRules: [
        { type: "c", major: 1, minor: 3, access: "mr" },
        { type: "b", major: undefined, minor: undefined, access: "r" },
      ],
      storageBytes: 1.5 * 2 ** 30,
      postStart: [
        { command: ["x", "y"], user: "1", privileged: true, workingDir: "/", env: ["A=b"] },
      ],
      preStop: [{ command: ["z"], user: "", privileged: false, workingDir: "", env: [] }],
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
    ["skep.blkio-devices", "/dev/sda:speed=1"],
    ["skep.blkio-devices", "/dev/sda:weight=5"],
    ["skep.annotations", '{"a":1}'],
    ["skep.annotations", "[]"],
    ["skep.device-cgroup-rules", "c 1:3"],
    ["skep.storage-size", "4k"],
    ["skep.storage-size", "9t"],
    ["skep.storage-size", "-1g"],
    ["skep.storage-size", "all"],
    ["skep.post-start", '{"command":["x"]}'],
    ["skep.post-start", '[{"command":[]}]'],
    ["skep.pre-stop", '[{"command":["x"],"when":"now"}]'],
  ] as const)
    it(`takes ${label}=${value} for wrong`, () => {
      equal(containerLabelForms[label]?.[0](value), false);
    });
});
