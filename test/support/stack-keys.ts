/**
 * A stack whose file says nearly every key that only files of the current Compose Specification have, and what of each is seen
 * in its containers.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Files by name; `compose.yaml` is the one that is deployed. */
const files: Readonly<Record<string, string>> = {
  "compose.yaml": `name: keys
include: [more.yaml]
x-place: &place {placement: {constraints: [node.hostname==w1]}}
x-idle: &idle {image: $IMAGE, command: [sh, -c, "trap 'exit 0' TERM; sleep 3600 & wait"], stop_grace_period: 1s}
services:
  all:
    <<: *idle
    command: [sh, -c, "trap 'exit 0' TERM; httpd -p 80 -h /etc; sleep 3600 & wait"]
    depends_on: {included: {condition: service_started}}
    env_file: [{path: raw.env, format: raw}, {path: absent.env, required: false}]
    label_file: [labels]
    group_add: ["1234"]
    storage_opt: {size: 16m}
    platform: $PLATFORM
    pull_policy: missing
    scale: 1
    cpus: 0.5
    mem_limit: 64m
    pids_limit: 77
    dns_opt: ["timeout:3"]
    device_cgroup_rules: ["c 1:11 rw"]
    annotations: {org.example.team: bees}
    post_start:
      - {command: [sh, -c, 'echo $$WHO in $$PWD is $$(id -u) > /tmp/started'], user: "1000", working_dir: /tmp, environment: {WHO: hook}}
    pre_stop: [{command: [sh, -c, "hostname > /shared/stopped"]}]
    blkio_config: {device_read_bps: [{path: $DISK, rate: 1m}], device_write_iops: [{path: $DISK, rate: 77}]}
    oom_kill_disable: $V1
    hostname: all
    ports: [{target: 80, published: "8099", host_ip: $ADDRESS, name: web, app_protocol: http}]
    networks: {front: {priority: 10, mac_address: "02:42:AA:bb:cc:01"}, back: {mac_address: "02:42:aa:bb:cc:02"}}
    volumes: [shared:/shared]
    configs: [{source: page, target: /etc/page}, {source: told, target: /etc/told}]
    secrets: [token]
    gpus: [{driver: bees, count: 2}]
    deploy: *place
  near:
    <<: *idle
    cgroup: host
    uts: host
    volumes_from: ["all:ro"]
    networks: [back]
    deploy:
      <<: *place
      resources: {limits: {cpus: 0.25}, reservations: {devices: [{capabilities: [gpu], driver: bees, count: 1}, {capabilities: [gpu], driver: lanes, device_ids: [lane2, /dev/loop-control]}]}}
  far:
    <<: *idle
    networks: [front]
    deploy: {placement: {constraints: [node.hostname==w2]}}
  elsewhere: {<<: *idle, platform: linux/s390x, deploy: {replicas: 1}}
  unpulled: {<<: *idle, image: "$IMAGE-absent", pull_policy: never, deploy: {restart_policy: {condition: none}}}
  unwanted: {<<: *idle, profiles: [extra]}
configs: {page: {content: "page of $WHOSE"}, told: {environment: TOLD}}
secrets: {token: {environment: TOKEN}}
volumes: {shared: {}}
networks:
  front:
    enable_ipv6: true
    ipam:
      config:
        - {subnet: 10.98.9.0/24, ip_range: 10.98.9.128/25, gateway: 10.98.9.129}
        - {subnet: "fd98:9::/64"}
`,
  "more.yaml": `services:
  included: {image: $IMAGE, command: [sleep, "3600"], init: true, networks: [back], gpus: [{driver: lanes, device_ids: [lane3]}]}
networks: {back: {}}
`,
  "raw.env": 'RAW=$NOT "filled"\n',
  labels: "org.example.from=a file\n",
};

/** Writes them; resolves with the path of the one to deploy. */
export function writeStackOfKeys(folder: string): string {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return join(folder, "compose.yaml");
}

/** Opens a device that a container may not open unless a rule says so. */
const openKernelLog = "mknod /tmp/k c 1 11; (: > /tmp/k) 2>&1 && echo opened || true";

/** Commands for containers of its services, and what they print; the key each shows. */
export const keysInside: readonly (readonly [
  key: string,
  service: string,
  command: string,
  prints: RegExp,
])[] = [
  ["env_file objects", "all", 'echo "$RAW"', /^\$NOT "filled"$/],
  ["group_add", "all", "id -G", /\b1234\b/],
  ["cpus", "all", cgroupFile("cpu/cpu.cfs_quota_us", "cpu.max"), /^50000\b/],
  ["numeric cpus of deploy", "near", cgroupFile("cpu/cpu.cfs_quota_us", "cpu.max"), /^25000\b/],
  ["pids_limit", "all", cgroupFile("pids/pids.max", "pids.max"), /^77$/],
  [
    "blkio_config",
    "all",
    `${cgroupFile("blkio/blkio.throttle.read_bps_device", "io.max")}; ${cgroupFile("blkio/blkio.throttle.write_iops_device", "io.max")}`,
    /1048576.*\b77\b/s,
  ],
  [
    "oom_kill_disable",
    "all",
    cgroupFile("memory/memory.oom_control", "memory.max"),
    /oom_kill_disable 1|^67108864/,
  ],
  [
    "storage_opt",
    "all",
    "dd if=/dev/zero of=/big bs=1M count=32 2>&1; ls -l /big; rm /big",
    /No space left on device.* 1[0-5]\d{6} /s,
  ],
  ["dns_opt", "all", "cat /etc/resolv.conf", /^options .*timeout:3/m],
  ["device_cgroup_rules", "all", openKernelLog, /^opened$/],
  ["no rule that is not said", "near", openKernelLog, /not permitted/],
  ["post_start", "all", "cat /tmp/started", /^hook in \/tmp is 1000$/],
  ["configs.content", "all", "cat /etc/page", /^page of ours$/],
  ["configs.environment", "all", "cat /etc/told", /^a tale$/],
  ["secrets.environment", "all", "cat /run/secrets/token", /^sesame$/],
  ["priority of networks, and mac_address", "all", "ip -o link show ov0", /02:42:aa:bb:cc:01/],
  ["mac_address of the second network", "all", "ip -o link show ov1", /02:42:aa:bb:cc:02/],
  ["an own mac_address for other nodes", "far", "wget -qO- http://all/page", /^page of ours$/],
  ["ip_range and gateway", "all", "ip -4 -o addr show ov0", / 10\.98\.9\.(1[3-9]\d|2\d\d)\/24 /],
  ["enable_ipv6", "all", "ip -6 -o addr show ov0", / fd98:9::/],
  ["gpus", "all", "echo $DOCKER_RESOURCE_BEES", /^bee\d,bee\d$/],
  ["reservations.devices", "near", "echo $DOCKER_RESOURCE_BEES", /^bee\d$/],
  ["device_ids", "near", "echo $DOCKER_RESOURCE_LANES", /^lane2,\/dev\/loop-control$/],
  ["device_ids of devices", "near", ": < /dev/loop-control && echo opened", /^opened$/],
  [
    "device_ids on the one node that has them",
    "included",
    "echo $DOCKER_RESOURCE_LANES",
    /^lane3$/,
  ],
  ["volumes_from, read-only", "near", "touch /shared/x 2>&1 || true", /Read-only file system/],
];

/** What the file takes from the environment, as it is on this machine. */
export function keysSurroundings(): Readonly<Record<string, string>> {
  return {
    WHOSE: "ours",
    TOKEN: "sesame",
    TOLD: "a tale",
    PLATFORM: `linux/${process.arch === "x64" ? "amd64" : process.arch}`,
    DISK: wholeDisk(),
    // Version 2 of cgroups has no such switch.
    V1: `${existsSync("/sys/fs/cgroup/memory")}`,
  };
}

/** Prints a file of the container's cgroup, of whichever version. */
function cgroupFile(first: string, second: string): string {
  return `cat /sys/fs/cgroup/${first} 2>/dev/null || cat /sys/fs/cgroup/${second}`;
}

/** A block device of this machine, whole; the same one each time. */
export function wholeDisk(): string {
  const partitions = readFileSync("/proc/partitions", "utf8");
  const names = [...partitions.matchAll(/^ +\d+ +\d+ +\d+ (\w+)$/gm)].map(([, name = ""]) => name);
  const whole = names.find((name) =>
    /^(vd[a-z]|sd[a-z]|nvme\d+n\d+|xvd[a-z]|mmcblk\d)$/.test(name),
  );
  return `/dev/${whole ?? "loop0"}`;
}
