/**
 * The images of tests and demo: made from Debian's static busybox for amd64, arm64 and 32-bit arm, pushed to a registry
 * with our own client.
 *
 *   node scripts/test-images.mjs                           makes them, as an OCI layout in build/test-images
 *   node scripts/test-images.mjs push HOST:PORT[/FOLDER] [--user NAME --password TEXT] [--certs FOLDER] [--with registry|echo|shop]
 *
 * Each name and the digest it has got are printed. What the names hold is in `images` below; `all` is one index of the three
 * platforms. The busybox of other architectures is fetched through apt once, with a state of its own so that this machine
 * is not told of them, and kept in build/. The same packages give the same digests.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";

const top = join(dirname(fileURLToPath(import.meta.url)), "..");
/** Where the layout is. */
export const layoutFolder = join(top, "build/test-images/layout");
const binaries = join(top, "build/test-images/busybox");

/** Debian's word for each platform. */
const platforms = [
  { debian: "amd64", platform: { os: "linux", architecture: "amd64" } },
  { debian: "arm64", platform: { os: "linux", architecture: "arm64", variant: "v8" } },
  { debian: "armhf", platform: { os: "linux", architecture: "arm", variant: "v7" } },
];

/**
 * Repository and tag, for which of Debian's architectures, as an index or as the one manifest, and the configuration. Those
 * with `with` are pushed only when that word is given.
 */
const images = [
  { name: "busybox:1", of: ["amd64", "arm64", "armhf"], config: {} },
  { name: "busybox:amd64", of: ["amd64"], single: true, config: {} },
  { name: "busybox:arm64", of: ["arm64"], single: true, config: {} },
  { name: "busybox:armv7", of: ["armhf"], single: true, config: {} },
  { name: "arm-only:1", of: ["armhf"], config: {} },
  {
    // Every default an image can have.
    name: "defaults:1",
    of: ["amd64", "arm64", "armhf"],
    config: {
      User: "bee",
      WorkingDir: "/hive",
      Env: ["PATH=/bin", "HONEY=sweet"],
      Entrypoint: ["/bin/sh", "-c"],
      Cmd: ["id; pwd; env; sleep 3600"],
      Volumes: { "/data": {} },
      ExposedPorts: { "8080/tcp": {} },
      Labels: { hive: "inner" },
      StopSignal: "SIGINT",
      Healthcheck: { Test: ["CMD", "true"], Interval: 1_000_000_000 },
    },
  },
  {
    // Says on port 8080 which machine it runs on.
    name: "web:1",
    of: ["amd64", "arm64", "armhf"],
    config: {
      Cmd: ["sh", "-c", "hostname >/tmp/index.html; uname -m; exec httpd -f -p 8080 -h /tmp"],
      ExposedPorts: { "8080/tcp": {} },
    },
  },
  // Releases of the shop in examples/, the last of which does not start.
  { name: "shop:1", of: ["amd64", "arm64", "armhf"], with: "shop", config: release(1) },
  { name: "shop:2", of: ["amd64", "arm64", "armhf"], with: "shop", config: release(2) },
  {
    name: "shop:3",
    of: ["amd64", "arm64", "armhf"],
    with: "shop",
    config: {
      ...release(3),
      Entrypoint: ["sh", "-c", "echo release 3 cannot start >&2; exit 1"],
    },
  },
];

function release(number) {
  return { Env: ["PATH=/bin", `RELEASE=${number}`] };
}

const types = {
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar+gzip",
};
/** All images are from this moment. */
const created = "2024-01-01T00:00:00Z";

/** For this machine's architecture only, and large. */
const extras = [
  {
    name: "registry:1",
    with: "registry",
    extra: { layer: registryLayer, from: "docker-registry" },
    config: {
      Cmd: ["/usr/bin/docker-registry", "serve", "/config.json"],
      Volumes: { "/data": {} },
    },
  },
  {
    // Says over HTTP and UDP on port 80 who calls it.
    name: "echo:1",
    with: "echo",
    extra: { layer: echoLayer, from: "perl-base" },
    config: {
      Cmd: ["/usr/bin/perl", "/echo.pl"],
      ExposedPorts: { "80/tcp": {}, "80/udp": {} },
      // Without it a task counts as ready when its process is there, before that listens.
      Healthcheck: {
        Test: ["CMD-SHELL", "nc -w 1 127.0.0.1 80 </dev/null"],
        StartPeriod: 30_000_000_000,
        StartInterval: 100_000_000,
      },
    },
  },
];

/** Makes the layout unless it is there. */
export async function makeImages() {
  if (existsSync(join(layoutFolder, "index.json")) && readStamp() === stamp()) return;
  const own = execFileSync("dpkg", ["--print-architecture"], { encoding: "utf8" }).trim();
  const foreign = platforms.map(({ debian }) => debian).filter((debian) => debian !== own);
  mkdirSync(binaries, { recursive: true });
  if (platforms.some(({ debian }) => debian === own)) {
    copyFileSync(installedBusybox(), join(binaries, own));
  }
  fetchBusybox(foreign.filter((debian) => !existsSync(join(binaries, debian))));
  const work = mkdtempSync(join(dirname(layoutFolder), "making-"));
  mkdirSync(join(work, "blobs/sha256"), { recursive: true });
  const entries = [];
  for (const image of images) entries.push(await makeImage(work, image));
  for (const image of extras) {
    entries.push(await makeImage(work, { ...image, of: [own], single: true }));
  }
  writeFileSync(join(work, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(join(work, "stamp"), stamp());
  const index = { schemaVersion: 2, mediaType: types.index, manifests: entries };
  writeFileSync(join(work, "index.json"), JSON.stringify(index, undefined, 1));
  rmSync(layoutFolder, { recursive: true, force: true });
  renameSync(work, layoutFolder);
}

/** Pushes all images below `HOST:PORT[/FOLDER]`; resolves with the digest of each name. */
export async function pushImages(target, options = {}) {
  await makeImages();
  const { Registry } = await import("../build/src/common/registry/registry.js");
  const { parseReference } = await import("../build/src/common/registry/reference.js");
  const { systemClock } = await import("../build/src/common/clock/clock.js");
  const registry = new Registry({
    settings: { insecure: options.certs === undefined ? [target.split("/")[0]] : [], mirrors: [] },
    trust: { systemFiles: [], certsFolders: options.certs === undefined ? [] : [options.certs] },
    environment: {},
    clock: systemClock,
  });
  const auth = options.user && {
    ...{ username: options.user, password: options.password ?? "" },
    ...{ identityToken: "", registryToken: "", serverAddress: "" },
  };
  const signal = options.signal ?? new AbortController().signal;
  const digests = {};
  try {
    for (const entry of JSON.parse(readFileSync(join(layoutFolder, "index.json"))).manifests) {
      const name = entry.annotations["org.opencontainers.image.ref.name"];
      const wanted = [...images, ...extras].find((image) => image.name === name)?.with;
      if (wanted !== undefined && wanted !== options.with) continue;
      const reference = parseReference(`${target}/${name}`);
      await registry.use(reference, { auth, access: "pull,push", signal }, (repository) =>
        pushContent(repository, entry),
      );
      digests[name] = entry.digest;
    }
  } finally {
    registry.close();
  }
  return digests;
}

async function pushContent(repository, entry) {
  const push = async (descriptor, isTop) => {
    const body = readBlob(descriptor.digest);
    const json = JSON.parse(body);
    for (const child of json.manifests ?? []) await push(child, false);
    for (const blob of [...(json.layers ?? []), ...(json.config ? [json.config] : [])]) {
      const { digest, size } = blob;
      await repository.upload({
        ...{ digest, sizeBytes: size, mountFrom: "" },
        content: async function* () {
          yield readBlob(digest);
        },
      });
    }
    const { mediaType, digest } = descriptor;
    await repository.putManifest({ mediaType, body }, isTop ? "" : digest);
  };
  await push(entry, true);
}

function readBlob(digest) {
  return readFileSync(join(layoutFolder, "blobs", ...digest.split(":")));
}

/** One image, with its entry for the layout's index. */
async function makeImage(work, image) {
  const manifests = [];
  for (const { debian, platform } of platforms) {
    if (!image.of.includes(debian)) continue;
    const layers = [await baseLayer(debian), await filesLayer()];
    if (image.extra) layers.push(await image.extra.layer());
    const config = {
      created,
      author: "Skep's tests",
      ...platform,
      config: { Env: ["PATH=/bin"], Cmd: ["sh"], ...image.config },
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
      history: [
        { created, created_by: `busybox-static of ${debian}` },
        { created, created_by: "users, folders and a greeting" },
        ...(image.extra ? [{ created, created_by: image.extra.from }] : []),
        { created, created_by: "configuration", empty_layer: true },
      ],
    };
    const manifest = {
      schemaVersion: 2,
      mediaType: types.manifest,
      config: put(work, types.config, JSON.stringify(config)),
      layers: layers.map(({ body }) => put(work, types.layer, body)),
    };
    manifests.push({ ...put(work, types.manifest, JSON.stringify(manifest)), platform });
  }
  const annotations = { "org.opencontainers.image.ref.name": image.name };
  if (image.single) return { ...manifests[0], annotations };
  const index = { schemaVersion: 2, mediaType: types.index, manifests };
  return { ...put(work, types.index, JSON.stringify(index)), annotations };
}

function put(work, mediaType, body) {
  const hash = createHash("sha256").update(body).digest("hex");
  writeFileSync(join(work, "blobs/sha256", hash), body);
  return { mediaType, digest: `sha256:${hash}`, size: Buffer.byteLength(body) };
}

const made = new Map();

/** busybox with a link for each of its applets. */
function baseLayer(debian) {
  return once(`base ${debian}`, (tar) => {
    for (const name of ["bin/", "dev/", "etc/", "proc/", "root/", "sys/"]) folder(tar, name);
    folder(tar, "tmp/", { mode: 0o1777 });
    file(tar, "bin/busybox", readFileSync(join(binaries, debian)), { mode: 0o755 });
    for (const applet of applets()) {
      tar.entry({ name: `bin/${applet}`, type: "symlink", linkname: "busybox", ...fixed });
    }
    file(tar, "etc/greeting", "of the lower layer\n");
    file(tar, "etc/removed", "a layer above takes it away\n");
  });
}

/** The same for all platforms, so that there is a layer to share. */
function filesLayer() {
  return once("files", (tar) => {
    folder(tar, "etc/");
    file(tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nbee:x:1000:1001:Bee:/hive:/bin/sh\n");
    file(tar, "etc/group", "root:x:0:\nbee:x:1001:\nkeepers:x:2000:bee\n");
    file(tar, "etc/greeting", "hello from the hive\n");
    file(tar, "etc/.wh.removed", "");
    folder(tar, "hive/", { uid: 1000, gid: 1001 });
    folder(tar, "data/", { uid: 1000, gid: 1001, mode: 0o750 });
    file(tar, "data/comb", "full of honey\n", { uid: 1000, gid: 1001, mode: 0o640 });
  });
}

/** The program and the libraries it is linked with. */
function program(tar, path) {
  const libraries = execFileSync("ldd", [path], { encoding: "utf8" }).match(/\/\S+/g) ?? [];
  for (const one of [path, ...new Set(libraries)])
    file(tar, one.slice(1), readFileSync(one), { mode: 0o755 });
}

/** perl of perl-base, which every Debian has, with the modules our script uses. */
function echoLayer() {
  return once("echo", (tar) => {
    program(tar, "/usr/bin/perl");
    const [modules] = execFileSync("perl", ["-e", "print for grep m{/perl-base$}, @INC"], {
      encoding: "utf8",
    }).split("\n");
    const loads = [
      "-e",
      "use Socket qw(:all); use strict; use warnings; print qq{$_\n} for values %INC",
    ];
    const env = { PERL5LIB: modules };
    const used = execFileSync("perl", loads, { encoding: "utf8", env }).trim().split("\n");
    for (const path of [...used, `${modules}/auto/Socket/Socket.so`])
      file(tar, path.slice(1), readFileSync(path));
    file(tar, "echo.pl", readFileSync(join(top, "scripts/echo.pl")));
  });
}

function registryLayer() {
  return once("registry", (tar) => {
    program(tar, "/usr/bin/docker-registry");
    const storage = { filesystem: { rootdirectory: "/data" } };
    const config = { version: "0.1", storage, http: { addr: ":5000", secret: "of no use" } };
    file(tar, "config.json", JSON.stringify(config));
  });
}

async function once(key, fill) {
  if (!made.has(key)) {
    const tar = pack();
    fill(tar);
    tar.finalize();
    const pieces = [];
    for await (const piece of tar) pieces.push(piece);
    const plain = Buffer.concat(pieces);
    const diffId = `sha256:${createHash("sha256").update(plain).digest("hex")}`;
    made.set(key, { body: gzipSync(plain), diffId });
  }
  return made.get(key);
}

const fixed = { mtime: new Date(created), uid: 0, gid: 0 };

function folder(tar, name, more = {}) {
  tar.entry({ name, type: "directory", mode: 0o755, ...fixed, ...more });
}

function file(tar, name, content, more = {}) {
  tar.entry({ name, mode: 0o644, ...fixed, ...more }, content);
}

/** By the installed busybox; one of another architecture of the same Debian has the same. */
function applets() {
  const list = execFileSync(installedBusybox(), ["--list"], { encoding: "utf8" });
  return list.split("\n").filter((name) => name !== "" && name !== "busybox");
}

function installedBusybox() {
  const found = ["/usr/bin/busybox", "/bin/busybox"].find((path) => existsSync(path));
  if (found === undefined) throw new Error("busybox-static is not installed: run scripts/setup");
  return found;
}

/** Fetches the package of other architectures, with lists and cache of our own. */
function fetchBusybox(architectures) {
  if (architectures.length === 0) return;
  const state = mkdtempSync(join(dirname(binaries), "apt-"));
  try {
    for (const name of ["lists/partial", "cache/archives/partial", "download", "status"]) {
      if (name === "status") writeFileSync(join(state, name), "");
      else mkdirSync(join(state, name), { recursive: true });
    }
    const options = [
      `Dir::State=${state}`,
      `Dir::State::Lists=${state}/lists`,
      `Dir::State::Status=${state}/status`,
      `Dir::Cache=${state}/cache`,
      ...debianSources(),
      "APT::Sandbox::User=root",
      "Acquire::Languages=none",
      `APT::Architecture=${architectures[0]}`,
      "APT::Architectures::=",
      ...architectures.map((name) => `APT::Architectures::=${name}`),
    ].flatMap((option) => ["-o", option]);
    const apt = (words) =>
      spawnSync("apt-get", ["-qq", ...options, ...words], {
        ...{ cwd: join(state, "download"), encoding: "utf8" },
        stdio: ["ignore", "ignore", "pipe"],
      });
    // Lists that could not be read matter only if the package is in none of the others.
    const { stderr: complaints } = apt(["update"]);
    const packages = architectures.map((name) => `busybox-static:${name}`);
    const { status, stderr } = apt(["download", ...packages]);
    if (status !== 0)
      throw new Error(`cannot fetch ${packages.join(", ")}:\n${complaints}${stderr}`);
    for (const name of architectures) {
      const archive = readdirSync(join(state, "download")).find((f) => f.endsWith(`_${name}.deb`));
      execFileSync("dpkg", ["-x", join(state, "download", archive), join(state, name)]);
      const path = ["usr/bin/busybox", "bin/busybox"]
        .map((p) => join(state, name, p))
        .find(existsSync);
      copyFileSync(path, join(binaries, `${name}.part`));
      renameSync(join(binaries, `${name}.part`), join(binaries, name));
    }
  } finally {
    rmSync(state, { recursive: true, force: true });
  }
}

/** Only Debian's own sources: those of others need not have these architectures. */
function debianSources() {
  const own = "/etc/apt/sources.list.d/debian.sources";
  const list = existsSync(own) ? own : "/etc/apt/sources.list";
  return [`Dir::Etc::SourceList=${list}`, "Dir::Etc::SourceParts=/dev/null"];
}

/** Changes with this script, the one of the image echo, and with the busybox that is installed. */
function stamp() {
  const hash = createHash("sha256").update(readFileSync(fileURLToPath(import.meta.url)));
  hash.update(readFileSync(join(top, "scripts/echo.pl")));
  return hash.update(readFileSync(installedBusybox())).digest("hex");
}

function readStamp() {
  const path = join(layoutFolder, "stamp");
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

async function main([command, target, ...rest]) {
  if (command === undefined) {
    await makeImages();
    console.log(layoutFolder);
    return;
  }
  const options = {};
  for (let i = 0; i < rest.length; i += 2) options[rest[i].replace(/^--/, "")] = rest[i + 1];
  if (command !== "push" || target === undefined) {
    throw new Error(
      "usage: test-images.mjs [push HOST:PORT[/FOLDER] [--user NAME --password TEXT] [--certs FOLDER]]",
    );
  }
  for (const [name, digest] of Object.entries(await pushImages(target, options))) {
    console.log(`${target}/${name} ${digest}`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
