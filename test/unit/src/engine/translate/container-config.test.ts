/**
 * Tests of the way from a create request to a container's configuration, and of what is refused on it.
 */
import { deepEqual, equal, match, throws } from "node:assert/strict";
import { containerConfigFromJson } from "../../../../../src/engine/translate/container-config.ts";
import { deviceLimitsToJson } from "../../../../../src/engine/translate/device-limits.ts";
import { JsonObject } from "../../../../../src/engine/translate/reader.ts";

const limits = { cpus: 4, runtimes: ["runc", "crun"] };

function configOf(body: object, name = "") {
  return containerConfigFromJson(new JsonObject(body, ""), { name, platform: undefined, limits });
}

function hostOf(HostConfig: object) {
  return configOf({ Image: "busybox", HostConfig }).config;
}

describe("src/engine/translate/container-config", () => {
  it("takes over what describes the process", () => {
    const { config } = configOf(
      {
        Image: "busybox",
        Cmd: "sleep 1",
        Entrypoint: ["/bin/sh", "-c"],
        Env: ["A=1", "B"],
        User: "1:2",
        Tty: true,
        OpenStdin: true,
        StopTimeout: 3,
        Healthcheck: { Test: ["CMD", "true"], Interval: 1e9 },
        Labels: { a: "b" },
      },
      "/web-1",
    );
    equal(config.name, "web-1");
    deepEqual(config.command, ["sleep 1"]);
    deepEqual(config.entrypoint, ["/bin/sh", "-c"]);
    deepEqual(config.env, ["A=1", "B"]);
    equal(config.user, "1:2");
    equal(config.stopTimeoutS, 3);
    equal(config.health?.intervalNs, 1e9);
    deepEqual(config.networks, ["default"]);
  });

  it("tells no command from one that drops the image's", () => {
    const bare = configOf({ Image: "x" }).config;
    deepEqual([bare.entrypoint, bare.command], [undefined, undefined]);
    deepEqual(configOf({ Image: "x", Entrypoint: [""] }).config.entrypoint, []);
    deepEqual(configOf({ Image: "x", Cmd: [], Entrypoint: [] }).config.command, undefined);
  });

  it("reads ports as they are bound and exposed", () => {
    const { config } = configOf({
      Image: "x",
      ExposedPorts: { "80/tcp": {}, "53/udp": {} },
      HostConfig: {
        PortBindings: {
          "80/tcp": [{ HostPort: "8080" }, { HostIp: "::1", HostPort: "81-85" }],
          "53/udp": null,
        },
      },
    });
    const tcp = { protocol: "tcp", containerPort: 80 };
    deepEqual(config.ports, [
      { ...tcp, hostAddress: "", hostPort: 8080 },
      { ...tcp, hostAddress: "::1", hostPort: 81, hostPortLast: 85 },
      { protocol: "udp", containerPort: 53, hostAddress: "", hostPort: 0 },
    ]);
    deepEqual(config.exposedPorts, ["80/tcp", "53/udp"]);
  });

  it("reads how a container takes part in its networks", () => {
    const { config } = configOf({
      Image: "x",
      MacAddress: "02:42:0A:00:00:09",
      HostConfig: { NetworkMode: "front" },
      NetworkingConfig: {
        EndpointsConfig: {
          front: { Aliases: ["web"], IPAMConfig: { IPv4Address: "10.0.0.9" } },
          bridge: {},
        },
      },
    });
    deepEqual(config.networks, ["front", "bridge"]);
    deepEqual(
      config.joins.map(({ network, aliases, addresses, macAddress }) => [
        network,
        aliases,
        addresses,
        macAddress,
      ]),
      [
        ["front", ["web"], ["10.0.0.9"], "02:42:0a:00:00:09"],
        ["bridge", [], [], ""],
      ],
    );
  });

  it("refuses what it cannot do in a network", () => {
    const refused: [object, RegExp][] = [
      [{ Links: ["a:b"] }, /Links is not supported: use a network of your own/],
      [{ IPAMConfig: { IPv4Address: "fd00::1" } }, /invalid IPv4 address: fd00::1/],
      [{ IPAMConfig: { LinkLocalIPs: ["169.254.0.1"] } }, /LinkLocalIPs is not supported/],
      [{ MacAddress: "02-42" }, /invalid MAC address: MacAddress "02-42" is none of one device/],
      [{ MacAddress: "02:42:0a:00:00:01" }, /must match the endpoint-specific MAC address/],
    ];
    for (const [front, message] of refused) {
      const body = { Image: "x", MacAddress: "02:42:0a:00:00:09" };
      const HostConfig = { NetworkMode: "front" };
      const NetworkingConfig = { EndpointsConfig: { front } };
      throws(() => configOf({ ...body, HostConfig, NetworkingConfig }), { message });
    }
  });

  it("reads binds, tmpfs and mounts", () => {
    const { mounts, anonymousVolumes } = hostOf({
      Binds: ["/etc:/x:ro,rslave", "data:/data:nocopy", "/anon"],
      Tmpfs: { "/t": "size=64m,mode=1770,noexec" },
      Mounts: [{ Type: "volume", Source: "v", Target: "/v" }],
    });
    deepEqual(
      mounts.map(({ type, source, target, readOnly }) => [type, source, target, readOnly]),
      [
        ["bind", "/etc", "/x", true],
        ["volume", "data", "/data", false],
        ["tmpfs", "", "/t", false],
        ["volume", "v", "/v", false],
      ],
    );
    equal(mounts[0]?.bind?.propagation, "rslave");
    equal(mounts[0]?.bind?.createMountpoint, true);
    equal(mounts[1]?.volume?.noCopy, true);
    deepEqual(mounts[2]?.tmpfs, { sizeBytes: 64 * 2 ** 20, mode: 0o1770, options: ["noexec"] });
    deepEqual(anonymousVolumes, ["/anon"]);
  });

  it("reads limits with swap as what is beyond memory", () => {
    const { resources, extraLimits } = hostOf({
      Memory: 64 * 2 ** 20,
      MemorySwap: 96 * 2 ** 20,
      NanoCpus: 5e8,
      PidsLimit: 20,
      CpuShares: 512,
      CpusetCpus: "0-2",
      MemorySwappiness: -1,
    });
    deepEqual(resources?.limits, {
      memoryBytes: 64 * 2 ** 20,
      nanoCpus: 5e8,
      pids: 20,
      generic: [],
    });
    equal(resources?.swapBytes, 32 * 2 ** 20);
    equal(resources?.memorySwappiness, undefined);
    equal(extraLimits?.cpuShares, 512);
    equal(hostOf({ StorageOpt: { size: "64M" } }).storageBytes, 64 * 2 ** 20);
    equal(hostOf({ Memory: 0, MemorySwap: 0, PidsLimit: null }).resources, undefined);
  });

  it("reads rules for devices, and limits of one block device each", () => {
    const { deviceRules, blkioDevices } = hostOf({
      DeviceCgroupRules: ["c 1:3 mr", "b 7:* rwm"],
      BlkioWeightDevice: [{ Path: "/dev/sda", Weight: 300 }],
      BlkioDeviceReadBps: [{ Path: "/dev/sda", Rate: 1048576 }],
      BlkioDeviceWriteIOps: [
        { Path: "/dev/sdb", Rate: 7 },
        { Path: "/dev/sdc", Rate: 0 },
      ],
    });
    deepEqual(deviceRules, [
      { type: "c", major: 1, minor: 3, access: "mr" },
      { type: "b", major: 7, minor: undefined, access: "rwm" },
    ]);
    deepEqual(blkioDevices, [
      { path: "/dev/sda", what: "weight", value: 300 },
      { path: "/dev/sda", what: "read-bps", value: 1048576 },
      { path: "/dev/sdb", what: "write-iops", value: 7 },
    ]);
    const config = { ...configOf({ Image: "x" }).config, deviceRules, blkioDevices };
    deepEqual(deviceLimitsToJson(config), {
      DeviceCgroupRules: ["c 1:3 mr", "b 7:* rwm"],
      BlkioWeightDevice: [{ Path: "/dev/sda", Weight: 300 }],
      BlkioDeviceReadBps: [{ Path: "/dev/sda", Rate: 1048576 }],
      BlkioDeviceWriteBps: null,
      BlkioDeviceReadIOps: null,
      BlkioDeviceWriteIOps: [{ Path: "/dev/sdb", Rate: 7 }],
    });
  });

  it("reads security options in both spellings", () => {
    const { privileges } = hostOf({
      SecurityOpt: [
        "no-new-privileges:true",
        "seccomp=unconfined",
        "label:type:x",
        "apparmor=unconfined",
      ],
    });
    equal(privileges?.noNewPrivileges, true);
    equal(privileges?.seccomp?.mode, "unconfined");
    equal(privileges?.selinux?.type, "x");
    equal(privileges?.apparmorMode, "disabled");
    const custom = hostOf({ SecurityOpt: ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}'] });
    equal(custom.privileges?.seccomp?.mode, "custom");
  });

  it("says in Docker's words what is wrong", () => {
    const cases: readonly (readonly [object, RegExp])[] = [
      [{}, /no image specified/],
      [{ WorkingDir: "a" }, /'a' is invalid, it needs to be an absolute path/],
      [{ Env: ["=x"] }, /invalid environment variable: =x/],
      [{ Healthcheck: { Retries: -1 } }, /Retries in Healthcheck cannot be negative/],
      [{ Healthcheck: { Interval: 5 } }, /Interval in Healthcheck cannot be less than 1ms/],
    ];
    for (const [body, text] of cases) {
      const image = text.source.includes("image") ? {} : { Image: "x" };
      throws(() => configOf({ ...image, Labels: {}, ...body }), text);
    }
    throws(() => configOf({}), /config cannot be empty/);
    throws(() => configOf({ Image: "x" }, "a b"), /Invalid container name \(a b\), only/);
  });

  it("says in Docker's words what is wrong with the host's part", () => {
    const cases: readonly (readonly [object, RegExp])[] = [
      [{ Memory: 1000 }, /Minimum memory limit allowed is 6MB/],
      [{ MemorySwap: 1e8 }, /You should always set the Memory limit when using Memoryswap limit/],
      [{ NanoCpus: 5e9 }, /Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available/],
      [{ NanoCpus: 1e9, CpuQuota: 1e4 }, /Nano CPUs and CPU Quota cannot both be set/],
      [{ CpusetCpus: "0-9" }, /Requested CPUs are not available - requested 0-9, available: 0-3/],
      [{ CpusetCpus: "x" }, /Invalid value x for cpuset cpus/],
      [{ RestartPolicy: { Name: "sometimes" } }, /unknown policy 'sometimes'/],
      [{ RestartPolicy: { Name: "always", MaximumRetryCount: 2 } }, /maximum retry count can/],
      [
        { AutoRemove: true, RestartPolicy: { Name: "always" } },
        /can't create 'AutoRemove' container with restart policy/,
      ],
      [{ Binds: ["a:b:c:d"] }, /invalid volume specification: 'a:b:c:d'/],
      [{ Binds: ["/a:/b:fast"] }, /invalid mode: fast/],
      [{ Binds: ["/a:b"] }, /mount path must be absolute/],
      [{ Binds: ["../x:/b"] }, /includes invalid characters for a local volume name/],
      [{ Binds: ["a:/x", "b:/x"] }, /Duplicate mount point: \/x/],
      [{ IpcMode: "odd" }, /invalid IPC mode: odd/],
      [{ SecurityOpt: ["odd=1"] }, /invalid --security-opt 2: "odd=1"/],
      [{ Ulimits: [{ Name: "nofile", Soft: 9, Hard: 1 }] }, /ulimit soft limit must be less/],
      [{ ExtraHosts: ["a"] }, /bad format for add-host: "a"/],
      [{ Runtime: "kata" }, /unknown or invalid runtime name: kata/],
      [
        { DeviceRequests: [{ Driver: "", Capabilities: [["gpu"]] }] },
        /could not select device driver "" with capabilities: \[\[gpu\]\]/,
      ],
      [{ StorageOpt: { size: "1k" } }, /HostConfig.StorageOpt: size "1k" is not a size from 4m/],
      [{ StorageOpt: { "dm.x": "1" } }, /StorageOpt: unknown option "dm.x": only size is known/],
      [{ DeviceCgroupRules: ["x 1:3 r"] }, /invalid device cgroup rule format: 'x 1:3 r'; give/],
      [{ DeviceCgroupRules: ["c 1:3 r,c 1:4 r"] }, /invalid device cgroup rule format/],
      [
        { BlkioWeightDevice: [{ Path: "/dev/sda", Weight: 5 }] },
        /BlkioWeightDevice\[0\]\.Weight 5 of \/dev\/sda: range of blkio weight is from 10 to 1000/,
      ],
      [{ BlkioDeviceReadBps: [{ Path: "sda", Rate: 1 }] }, /ReadBps\[0\]\.Path "sda" must be/],
      [{ BlkioDeviceReadBps: [{ Path: "/dev/sda", Rate: -1 }] }, /Rate must be a whole number/],
      [{ Links: ["a:b"] }, /HostConfig.Links is not supported: use a network/],
      [
        { NetworkMode: "container:x", Dns: ["1.1.1.1"] },
        /conflicting options: dns and the network mode/,
      ],
      [{ PortBindings: { "0/tcp": [] } }, /invalid port specification: "0\/tcp"/],
      [{ PortBindings: { "80/quic": [] } }, /Invalid proto: quic/],
      [{ PortBindings: { "80/tcp": [{ HostPort: "9-8" }] } }, /invalid port specification: "9-8"/],
      [{ PortBindings: { "80/tcp": [{ HostIp: "lo" }] } }, /invalid IP address: lo/],
    ];
    for (const [host, text] of cases) throws(() => hostOf(host), text, JSON.stringify(host));
  });

  it("warns of what has no effect", () => {
    const { warnings } = configOf({
      Image: "x",
      HostConfig: { NetworkMode: "host", PortBindings: { "80/tcp": [] } },
    });
    match(warnings.join(), /Published ports are discarded when using host network mode/);
  });
});
