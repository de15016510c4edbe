/**
 * The daemon's configuration as one typed value: defaults, every setting, and what is refused.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type DaemonConfig, loadConfig, runtimeSocket } from "../../../../src/node/config.ts";

function refuses(argv: readonly string[], message: string | RegExp): void {
  assert.throws(() => loadConfig(argv), { code: "invalid-argument", message });
}

describe("src/node/config", () => {
  it("has a default for everything", () => {
    assert.deepEqual(
      { ...loadConfig([]) },
      {
        dataRoot: "/var/lib/skep",
        execRoot: "/run/skep",
        pidFile: undefined,
        hosts: ["unix:///run/skep/docker.sock"],
        socketGroup: "docker",
        apiTls: undefined,
        logLevel: "info",
        debug: false,
        engineLabels: Object.create(null),
        genericResources: [],
        defaultAdvertiseAddress: undefined,
        defaultAddressPools: [],
        hasBridge: true,
        raftProfile: "normal",
        bridgeShortcuts: true,
        sharedShims: true,
        registries: { insecure: ["::1/128", "127.0.0.0/8"], mirrors: [] },
        ignoredFlags: [],
      },
    );
  });

  const taken: readonly (readonly [string, readonly string[], Partial<DaemonConfig>])[] = [
    [
      "puts the socket into the exec root",
      ["--exec-root=/x/y/"],
      { execRoot: "/x/y", hosts: ["unix:///x/y/docker.sock"] },
    ],
    ["makes folders absolute", ["--data-root=d"], { dataRoot: resolve("d") }],
    [
      "takes several hosts in place of the default one",
      ["-H", "unix:///a", "-H", "tcp://0.0.0.0:2375", "-H", "tcp://[::1]:1"],
      { hosts: ["unix:///a", "tcp://0.0.0.0:2375", "tcp://[::1]:1"] },
    ],
    ["lets debug win over the level", ["-D", "-l", "error"], { debug: true, logLevel: "debug" }],
    ["takes Docker's fatal for error", ["-l", "fatal"], { logLevel: "error" }],
    ["keeps an empty group", ["-G="], { socketGroup: "" }],
    ["has no network bridge where that is asked for", ["-b", "none"], { hasBridge: false }],
    ["takes Docker's own bridge for its own", ["--bridge=docker0"], { hasBridge: true }],
    ["names what it ignores", ["--bip=1", "--init"], { ignoredFlags: ["bip", "init"] }],
    [
      "takes the other settings as they are",
      ["-p", "/p", "--raft-profile=slow-disk", "--swarm-default-advertise-addr=eth1"],
      { pidFile: "/p", raftProfile: "slow-disk", defaultAdvertiseAddress: "eth1" },
    ],
    [
      "switches off what costs no function",
      ["--bridge-shortcuts=false", "--shared-shims=false"],
      { bridgeShortcuts: false, sharedShims: false },
    ],
    [
      "takes registries",
      [
        "--insecure-registry=10.0.0.0/8",
        "--insecure-registry",
        "r:5000",
        "--registry-mirror=http://m",
      ],
      {
        registries: {
          insecure: ["10.0.0.0/8", "r:5000", "::1/128", "127.0.0.0/8"],
          mirrors: ["http://m"],
        },
      },
    ],
    [
      "reads address pools of both families",
      [
        "--default-address-pool",
        "base=10.0.0.0/8,size=24",
        "--default-address-pool=size=64,base=fd00::/48",
      ],
      {
        defaultAddressPools: [
          { base: "10.0.0.0/8", size: 24 },
          { base: "fd00::/48", size: 64 },
        ],
      },
    ],
    [
      "takes TLS with client certificates",
      ["--tlsverify", "--tlscacert=ca", "--tlscert=c", "--tlskey=k"],
      { apiTls: { ca: "ca", cert: "c", key: "k", verify: true } },
    ],
    [
      "takes TLS without client certificates",
      ["--tls", "--tlscert=c", "--tlskey=k"],
      { apiTls: { ca: "", cert: "c", key: "k", verify: false } },
    ],
    ["needs no TLS files when TLS is off", ["--tls=false", "--tlscert=c"], { apiTls: undefined }],
  ];
  for (const [fact, argv, expected] of taken) {
    it(fact, () => {
      const config: Readonly<Record<string, unknown>> = { ...loadConfig(argv) };
      for (const [key, value] of Object.entries(expected))
        assert.deepEqual(config[key], value, key);
    });
  }

  it("splits a label at its first equals sign and lets the last of a name win", () => {
    const { engineLabels } = loadConfig([
      "--label=a=1",
      "--label=b=x=y",
      "--label=c=",
      "--label=a=2",
    ]);
    assert.deepEqual({ ...engineLabels }, { a: "2", b: "x=y", c: "" });
  });

  it("keeps a label whose name every object has", () => {
    const { engineLabels } = loadConfig(["--label=__proto__=x"]);
    assert.deepEqual(Object.entries(engineLabels), [["__proto__", "x"]]);
  });

  const refused: readonly (readonly [string, readonly string[], string | RegExp])[] = [
    ["an unknown flag", ["--nope"], "unknown flag: --nope"],
    [
      "a host of another kind",
      ["-H", "fd://"],
      "--host fd://: give unix:///PATH or tcp://ADDRESS:PORT",
    ],
    [
      "a registry with a scheme",
      ["--insecure-registry=http://r"],
      /--insecure-registry http:\/\/r: give/,
    ],
    ["a mirror without one", ["--registry-mirror=m:5000"], /^--registry-mirror m:5000: give/],
    [
      "a bridge of somebody else's",
      ["--bridge=br0"],
      /^--bridge br0: a bridge that is there already cannot be used; leave --bridge out for .* none/,
    ],
    ["a relative socket", ["-H", "unix://a"], /^--host unix:\/\/a: give/],
    ["a TCP host without port", ["-H", "tcp://1.2.3.4"], /^--host tcp:\/\/1\.2\.3\.4: give/],
    ["a port beyond 65535", ["-H", "tcp://1.2.3.4:65536"], /^invalid --host "1\.2\.3\.4:65536"/],
    ["a host that is no address", ["-H", "tcp://a:b:1"], /^invalid --host "a:b:1"/],
    [
      "a level it does not know",
      ["-l", "trace"],
      "--log-level trace: give debug, info, warn or error",
    ],
    ["a profile it does not know", ["--raft-profile=fast"], /^--raft-profile fast: give/],
    ["a label without value", ["--label=a"], "--label a: the form is key=value"],
    ["a label without name", ["--label==b"], "--label =b: the form is key=value"],
    ["an empty data root", ["--data-root="], "--data-root: give a folder"],
    ["an empty exec root", ["--exec-root", ""], "--exec-root: give a folder"],
    ["TLS without certificate", ["--tls"], "--tls needs --tlscert"],
    ["TLS without key", ["--tls", "--tlscert=c"], "--tls needs --tlskey"],
    ["TLS with clients to check and no CA", ["--tlsverify"], "--tlsverify needs --tlscacert"],
    [
      "a file that is not there",
      ["--config-file=/nowhere/x"],
      /^configuration file \/nowhere\/x: ENOENT/,
    ],
  ];
  for (const [fact, argv, message] of refused) {
    it(`refuses ${fact}`, () => refuses(argv, message));
  }

  const pools = [
    "",
    "base=10.0.0.0/8",
    "size=24",
    "base=10.0.0.0,size=24",
    "base=ten,size=24",
    "base=10.0.0.0/8,size=7",
    "base=10.0.0.0/8,size=33",
    "base=fd00::/48,size=129",
    "base=10.0.0.0/8,size=24.5",
    "base=10.0.0.0/8,size=",
  ];
  for (const pool of pools) {
    it(`refuses the address pool ${JSON.stringify(pool)}`, () => {
      refuses(
        ["--default-address-pool", pool],
        /^--default-address-pool .*: the form is base=CIDR/,
      );
    });
  }

  describe("with a configuration file", () => {
    let folder: string;
    let path: string;
    before(() => {
      folder = mkdtempSync(join(tmpdir(), "skep-config-"));
      path = join(folder, "daemon.json");
    });
    after(() => rmSync(folder, { recursive: true, force: true }));

    it("reads what the command line leaves open", () => {
      writeFileSync(path, '{"data-root":"/from/file","labels":["a=1","b=2"],"debug":true}');
      const config = loadConfig(["--config-file", path, "--exec-root=/from/flags"]);
      assert.equal(config.dataRoot, "/from/file");
      assert.equal(config.execRoot, "/from/flags");
      assert.equal(config.debug, true);
      assert.deepEqual({ ...config.engineLabels }, { a: "1", b: "2" });
    });

    it("refuses a setting of both places", () => {
      writeFileSync(path, '{"data-root":"/from/file"}');
      refuses(["--config-file", path, "--data-root=/x"], /both as a flag and in the configuration/);
    });

    it("refuses what is not JSON, naming the file", () => {
      writeFileSync(path, "{");
      refuses(["--config-file", path], new RegExp(`^configuration file ${path}: `));
    });
  });

  it("gives each data root its own run-time sockets, short enough for the kernel", () => {
    const socket = (root: string) => runtimeSocket(loadConfig([`--data-root=${root}`]), "relay");
    assert.match(socket("/a"), /^\/run\/skep\/relay-[0-9a-f]{8}\.sock$/);
    assert.notEqual(socket("/a"), socket("/b"));
    assert.equal(socket("/a"), socket("/x/../a"));
  });
});
