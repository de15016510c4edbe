/**
 * The OCI spec of a container with what goes into it: capabilities, seccomp filter, limits, signals.
 */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { setBlockWeights } from "../../../../../agent/exec/containerd/block-weights.ts";
import {
  allCapabilities,
  capabilitiesOf,
  capabilitiesOfMask,
} from "../../../../../agent/exec/containerd/capabilities.ts";
import {
  ociSpec,
  type SpecInput,
  specJson,
} from "../../../../../agent/exec/containerd/oci-spec.ts";
import { emptyContainerConfig } from "../../../../../agent/exec/containerd/record.ts";
import { resourcesOf } from "../../../../../agent/exec/containerd/resources.ts";
import { seccompOf } from "../../../../../agent/exec/containerd/seccomp.ts";
import { signalNumber } from "../../../../../agent/exec/containerd/signals.ts";
import { ResourceRequirements } from "../../../../../src/common/api/generated/api.ts";
import type { ContainerConfig } from "../../../../../src/common/container/types.ts";

const noLimits = {
  cpuShares: 0,
  cpuPeriodUs: 0,
  cpuQuotaUs: 0,
  cpusetCpus: "",
  cpusetMems: "",
  blkioWeight: 0,
  memoryReservationBytes: 0,
  oomKillDisable: false,
};
const own = {
  network: undefined,
  pid: undefined,
  ipc: undefined,
  uts: undefined,
  cgroup: undefined,
};
const input = (
  config: Partial<ContainerConfig> = {},
  more: Partial<SpecInput> = {},
): SpecInput => ({
  config: { ...emptyContainerConfig, ...config },
  args: ["sleep", "1"],
  env: ["A=b"],
  workingDir: "",
  hostname: "cell",
  user: { uid: 0, gid: 0, additionalGids: [0], home: "/root" },
  capabilities: ["CAP_CHOWN"],
  seccomp: { defaultAction: "SCMP_ACT_ERRNO" },
  shared: own,
  mounts: [],
  shmSource: undefined,
  devices: [],
  resources: {},
  cgroupsPath: "/skep/x/id",
  cgroupVersion: 1,
  initPath: undefined,
  annotations: {},
  ...more,
});
const every = new Set(allCapabilities);
const wish = { privileged: false, add: [], drop: [], available: every };
const types = (spec: ReturnType<typeof ociSpec>) => spec.linux.namespaces.map(({ type }) => type);

describe("agent/exec/containerd/oci-spec", () => {
  it("gives a container namespaces of its own, under version 2 of cgroups too", () => {
    deepEqual(types(ociSpec(input())), ["mount", "network", "uts", "pid", "ipc"]);
    deepEqual(types(ociSpec(input({}, { cgroupVersion: 2 }))).at(-1), "cgroup");
    const shared = { ...own, network: "host", pid: "/proc/5/ns/pid" };
    const { namespaces } = ociSpec(input({}, { shared })).linux;
    ok(!namespaces.some(({ type }) => type === "network"));
    deepEqual(
      namespaces.find(({ type }) => type === "pid"),
      { type: "pid", path: "/proc/5/ns/pid" },
    );
  });

  it("hands annotations and rules for devices on, its own annotations before the user's", () => {
    const spec = ociSpec(
      input(
        {
          annotations: { a: "b", own: "theirs" },
          deviceRules: [{ type: "c", major: 1, minor: undefined, access: "r" }],
        },
        { annotations: { own: "ours" } },
      ),
    );
    deepEqual(spec.annotations, { a: "b", own: "ours" });
    deepEqual(spec.linux.resources.devices?.at(-1), {
      allow: true,
      type: "c",
      major: 1,
      access: "r",
    });
  });

  it("refuses limits for what is no block device of the node", () => {
    const wanted = (path: string) =>
      resourcesOf(
        {
          resources: undefined,
          extraLimits: undefined,
          blkioDevices: [{ path, what: "read-bps", value: 5 }],
        },
        { controllers: new Set(["io"]), swapLimit: true, version: 2 },
      );
    throws(() => wanted("/dev/null"), /\/dev\/null is no block device/);
    throws(() => wanted("/dev/not/there"), /\/dev\/not\/there is not there/);
  });

  it("says in Docker's words which limits of input and output it cannot hold to", () => {
    const what = ["weight", "read-bps", "write-bps", "read-iops", "write-iops"] as const;
    const { resources, warnings } = resourcesOf(
      {
        resources: undefined,
        extraLimits: undefined,
        blkioDevices: what.map((one) => ({ path: "/dev/sda", what: one, value: 50 })),
      },
      { controllers: new Set(["memory"]), swapLimit: true, version: 1 },
    );
    deepEqual(resources, {});
    match(warnings[0] ?? "", /does not support Block I\/O weight_device or .* Weight-device disc/);
    match(warnings[1] ?? "", /does not support BPS Block I\/O read limit or the cgroup is not/);
    equal(warnings.length, what.length);
  });

  it("writes weights itself under version 1, to the file that this kernel has", () => {
    const files = (there: string) => {
      const written: string[] = [];
      const exists = (path: string) => path === `/blkio/a/${there}`;
      const write = (path: string, text: string) => written.push(`${path} ${text}`);
      return { written, files: { exists, write } };
    };
    const config = {
      extraLimits: { ...noLimits, blkioWeight: 300 },
      blkioDevices: [],
    };
    const one = { version: 1, mountOf: new Map([["blkio", "/blkio"]]) } as const;
    const bfq = files("blkio.bfq.weight");
    setBlockWeights(one, "/a", config, bfq.files);
    deepEqual(bfq.written, ["/blkio/a/blkio.bfq.weight 300"]);
    const none = files("blkio.none");
    throws(
      () => setBlockWeights(one, "/a", config, none.files),
      /CONFIG_BFQ_GROUP_IOSCHED\): leave/,
    );
    const two = { version: 2, mountOf: new Map([["io", "/blkio"]]) } as const;
    setBlockWeights(two, "/a", config, none.files);
    const wish = { ...config, resources: undefined };
    const kinds = { controllers: new Set(["blkio", "io"]), swapLimit: true };
    deepEqual(resourcesOf(wish, { ...kinds, version: 1 }).resources, {});
    deepEqual(resourcesOf(wish, { ...kinds, version: 2 }).resources, { blockIO: { weight: 300 } });
  });

  it("leaves a program that is not root without active capabilities", () => {
    const user = { uid: 5, gid: 5, additionalGids: [5], home: "/" };
    const { capabilities } = ociSpec(input({}, { user })).process;
    deepEqual(capabilities.effective, []);
    deepEqual(capabilities.bounding, ["CAP_CHOWN"]);
  });

  it("sets HOME where nobody did", () => {
    deepEqual(ociSpec(input()).process.env, ["A=b", "HOME=/root"]);
    deepEqual(ociSpec(input({}, { env: ["HOME=/x"] })).process.env, ["HOME=/x"]);
  });

  it("puts the init before the program", () => {
    const spec = ociSpec(input({}, { initPath: "/usr/bin/tini-static" }));
    deepEqual(spec.process.args, ["/sbin/docker-init", "--", "sleep", "1"]);
    equal(spec.mounts.at(-1)?.source, "/usr/bin/tini-static");
  });

  it("mounts parents before what lies in them, and the user's in place of its own", () => {
    const mount = (destination: string) => ({ destination, type: "bind", source: "/s" });
    const mounts = [mount("/a/b/c"), mount("/dev/shm"), mount("/a")];
    const spec = ociSpec(input({}, { mounts }));
    deepEqual(
      spec.mounts.slice(-3).map(({ destination }) => destination),
      ["/a", "/dev/shm", "/a/b/c"],
    );
    equal(spec.mounts.filter(({ destination }) => destination === "/dev/shm").length, 1);
  });

  it("takes the restrictions off a privileged one", () => {
    const { linux } = ociSpec(input({ privileged: true }));
    deepEqual([linux.maskedPaths, linux.readonlyPaths, linux.seccomp], [[], [], undefined]);
    deepEqual(linux.resources.devices, [{ allow: true, access: "rwm" }]);
  });

  it("writes a limit of -1 as the largest number, and leaves texts alone that look like it", () => {
    const ulimits = [{ name: "nofile", soft: 10, hard: -1 }];
    const text = specJson(ociSpec(input({ ulimits }, { env: ['"hard":18446744073709552000'] })));
    match(text, /"hard":18446744073709551615\}/);
    ok(text.includes('\\"hard\\":18446744073709552000'));
    throws(
      () => ociSpec(input({ ulimits: [{ name: "x", soft: 1, hard: 1 }] })),
      /invalid ulimit type: x/,
    );
  });

  it("refuses sysctls of the node", () => {
    const sysctl = (name: string, shared = own) =>
      ociSpec(input({ sysctls: { [name]: "1" } }, { shared }));
    equal(sysctl("net.core.somaxconn").linux.sysctl["net.core.somaxconn"], "1");
    throws(() => sysctl("vm.swappiness"), /sysctl "vm\.swappiness" is not allowed/);
    throws(
      () =>
        ociSpec(
          input({ sysctls: { "net.x": "1" } }, { shared: { ...own, network: "host" as never } }),
        ),
      /as host network mode is enabled/,
    );
  });
});

describe("agent/exec/containerd/capabilities", () => {
  it("has Docker's default set, in bits a80425fb", () => {
    deepEqual(new Set(capabilitiesOf(wish)), capabilitiesOfMask("00000000a80425fb"));
  });

  it("adds and drops by any spelling", () => {
    const list = capabilitiesOf({ ...wish, add: ["net_admin"], drop: ["CAP_CHOWN"] });
    ok(list.includes("CAP_NET_ADMIN") && !list.includes("CAP_CHOWN"));
    deepEqual(capabilitiesOf({ ...wish, add: ["KILL"], drop: ["ALL"] }), ["CAP_KILL"]);
    equal(capabilitiesOf({ ...wish, add: ["ALL"], drop: ["KILL"] }).length, every.size - 1);
    throws(
      () => capabilitiesOf({ ...wish, add: ["X"] }),
      /invalid CapAdd: unknown capability: "CAP_X"/,
    );
  });
});

describe("agent/exec/containerd/seccomp", () => {
  const filter = (capabilities: string[]) =>
    seccompOf({
      mode: "",
      profile: new Uint8Array(),
      capabilities,
      nodeArch: "x64",
      kernel: [6, 1],
    });
  const allows = (name: string, capabilities: string[] = []) =>
    filter(capabilities)?.syscalls?.some(
      (rule) =>
        rule.names.includes(name) && rule.action === "SCMP_ACT_ALLOW" && rule.args === undefined,
    );

  it("allows by capability", () => {
    equal(allows("read"), true);
    equal(allows("mount"), false);
    equal(allows("mount", ["CAP_SYS_ADMIN"]), true);
    equal(allows("clone"), false);
    equal(allows("io_uring_setup", ["CAP_SYS_ADMIN"]), false);
  });

  it("reads Docker's profile files with their conditions", () => {
    const profile = new TextEncoder().encode(
      JSON.stringify({
        defaultAction: "SCMP_ACT_ERRNO",
        archMap: [{ architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86"] }],
        syscalls: [
          { names: ["read"], action: "SCMP_ACT_ALLOW", args: null },
          { names: ["new"], action: "SCMP_ACT_ALLOW", includes: { minKernel: "7.0" } },
          { names: ["mount"], action: "SCMP_ACT_ALLOW", includes: { caps: ["CAP_SYS_ADMIN"] } },
          { name: "arm", action: "SCMP_ACT_ALLOW", excludes: { arches: ["amd64"] } },
        ],
      }),
    );
    const own = {
      mode: "custom",
      profile,
      capabilities: [],
      nodeArch: "x64",
      kernel: [6, 1] as const,
    };
    deepEqual(seccompOf(own), {
      defaultAction: "SCMP_ACT_ERRNO",
      architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
      syscalls: [{ names: ["read"], action: "SCMP_ACT_ALLOW" }],
    });
    throws(
      () => seccompOf({ ...own, profile: new Uint8Array([1]) }),
      /Decoding seccomp profile failed/,
    );
  });
});

describe("agent/exec/containerd/resources", () => {
  const all = {
    controllers: new Set(["memory", "cpu", "pids"]),
    swapLimit: true,
    version: 1 as const,
  };
  const limits = (fields: object) => ({
    resources: ResourceRequirements.create({
      limits: { nanoCpus: 0, memoryBytes: 0, pids: 0, generic: [], ...fields },
    }),
    extraLimits: undefined,
  });
  const mib = 1024 * 1024;

  it("allows as much swap as memory, and turns CPUs into a quota", () => {
    deepEqual(
      resourcesOf(limits({ memoryBytes: 64 * mib, nanoCpus: 5e8, pids: 9 }), all).resources,
      {
        memory: { limit: 64 * mib, swap: 128 * mib },
        cpu: { quota: 50_000, period: 100_000 },
        pids: { limit: 9 },
      },
    );
  });

  it("leaves out what the node cannot enforce, and says so", () => {
    const none = { controllers: new Set<string>(), swapLimit: false, version: 2 as const };
    const { resources, warnings } = resourcesOf(limits({ memoryBytes: 64 * mib, pids: 9 }), none);
    deepEqual(resources, {});
    equal(warnings.length, 2);
    match(warnings[0] ?? "", /does not support memory limit capabilities/);
  });

  it("refuses less memory than a process needs", () => {
    throws(
      () => resourcesOf(limits({ memoryBytes: mib }), all),
      /Minimum memory limit allowed is 6MB/,
    );
  });
});

describe("agent/exec/containerd/signals", () => {
  for (const [text, number] of [
    ["9", 9],
    ["KILL", 9],
    ["sigterm", 15],
    ["SIGRTMIN+3", 37],
    ["RTMAX-1", 63],
  ] as const) {
    it(`reads ${text}`, () => equal(signalNumber(text), number));
  }
  for (const text of ["", "0", "65", "SIGNOTHING", "RTMIN-1"]) {
    it(`refuses "${text}"`, () => throws(() => signalNumber(text), /Invalid signal/));
  }
});
