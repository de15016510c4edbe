/**
 * Listen, advertise and data path addresses as tables over made-up machines.
 */
import assert from "node:assert/strict";
import {
  formatHostPort,
  type HostPort,
  hosts,
  type InterfaceAddress,
  parseHostPort,
  resolveAdvertise,
  resolveDataPath,
  resolveListen,
} from "../../../../src/node/address.ts";

/** `eth0=10.0.0.1` as the machine lists it; `lo` is internal. */
function machine(...list: readonly string[]): InterfaceAddress[] {
  return list.map((item) => {
    const [interfaceName = "", address = ""] = item.split("=");
    const family = address.includes(":") ? "IPv6" : "IPv4";
    return { interfaceName, address, family, internal: interfaceName === "lo" };
  });
}

function refuses(run: () => unknown, message: string | RegExp): void {
  assert.throws(run, { code: "invalid-argument", message });
}

const anywhere: HostPort = { host: "0.0.0.0", port: 2377 };
const loopback = ["lo=127.0.0.1", "lo=::1"];

describe("src/node/address", () => {
  const parsed: readonly (readonly [string, HostPort])[] = [
    ["10.0.0.1", { host: "10.0.0.1", port: 7 }],
    ["10.0.0.1:2377", { host: "10.0.0.1", port: 2377 }],
    ["10.0.0.1:0", { host: "10.0.0.1", port: 0 }],
    ["10.0.0.1:65535", { host: "10.0.0.1", port: 65_535 }],
    ["eth0", { host: "eth0", port: 7 }],
    ["eth0.100:1", { host: "eth0.100", port: 1 }],
    ["::1", { host: "::1", port: 7 }],
    ["fe80::1%eth0", { host: "fe80::1%eth0", port: 7 }],
    ["[fd00::1]", { host: "fd00::1", port: 7 }],
    ["[fd00::1]:2377", { host: "fd00::1", port: 2377 }],
  ];
  for (const [text, expected] of parsed) {
    it(`splits ${text}`, () => assert.deepEqual(parseHostPort(text, 7, "it"), expected));
  }

  for (const text of [
    "",
    ":2377",
    "a:b",
    "a:1:2",
    "a:",
    "a:65536",
    "a:123456",
    "[]:1",
    "[::1",
    "::1]:2",
  ]) {
    it(`refuses ${JSON.stringify(text)}, naming what it is for`, () => {
      refuses(
        () => parseHostPort(text, 7, "listen address"),
        `invalid listen address ${JSON.stringify(text)}: give ADDRESS or ADDRESS:PORT`,
      );
    });
  }

  it("remembers the host of an address until it is asked for another one", () => {
    const hostOf = hosts();
    const asked = ["10.0.0.1:2377", "10.0.0.1:2377", "[fd00::1]:2377", "10.0.0.1:2377"];
    assert.deepEqual(asked.map(hostOf), ["10.0.0.1", "10.0.0.1", "fd00::1", "10.0.0.1"]);
    refuses(() => hostOf("10.0.0.1:99999"), /invalid address/);
    assert.equal(hostOf("10.0.0.1:2377"), "10.0.0.1");
  });

  it("joins what it split", () => {
    for (const text of ["10.0.0.1:2377", "eth0:1", "[fd00::1]:2377"]) {
      assert.equal(formatHostPort(parseHostPort(text, 0, "it")), text);
    }
  });

  const listens: readonly (readonly [string, string, HostPort])[] = [
    ["everywhere without a setting", "", { host: "0.0.0.0", port: 2377 }],
    ["at an address", "10.0.0.1:4000", { host: "10.0.0.1", port: 4000 }],
    ["at an address with the default port", "10.0.0.1", { host: "10.0.0.1", port: 2377 }],
    ["at an IPv6 address", "[::]:4000", { host: "::", port: 4000 }],
    ["at the address of an interface", "eth0:4000", { host: "10.0.0.1", port: 4000 }],
    ["at an interface's IPv4 before its IPv6 address", "eth1", { host: "10.1.0.1", port: 2377 }],
    ["at an interface's IPv6 when it has no other", "eth2", { host: "fd00::2", port: 2377 }],
  ];
  const several = machine(
    ...loopback,
    "eth0=10.0.0.1",
    "eth1=fd00::1",
    "eth1=10.1.0.1",
    "eth2=fe80::2",
    "eth2=fd00::2",
  );
  for (const [fact, setting, expected] of listens) {
    it(`listens ${fact}`, () => assert.deepEqual(resolveListen(setting, several), expected));
  }

  const badInterfaces: readonly (readonly [string, string, readonly string[], string])[] = [
    [
      "an interface that is not there",
      "eth9",
      [],
      "--listen-addr eth9: no IP address and no interface of this machine has that name",
    ],
    [
      "an interface with link-local addresses only",
      "eth0",
      ["eth0=fe80::1"],
      "interface eth0 has no usable IPv4 or IPv6 address",
    ],
    [
      "an interface with two addresses",
      "eth0",
      ["eth0=10.0.0.1", "eth0=10.0.0.2"],
      "interface eth0 has more than one IPv4 address (10.0.0.1 and 10.0.0.2) - specify one with --listen-addr",
    ],
    [
      "an interface with two IPv6 addresses and no other",
      "eth0",
      ["eth0=fd00::1", "eth0=fd00::2"],
      "interface eth0 has more than one IPv6 address (fd00::1 and fd00::2) - specify one with --listen-addr",
    ],
  ];
  for (const [fact, setting, list, message] of badInterfaces) {
    it(`refuses to listen at ${fact}`, () => {
      refuses(() => resolveListen(setting, machine(...list)), message);
    });
  }

  interface Advertise {
    readonly setting?: string;
    readonly listen?: HostPort;
    readonly on?: readonly string[];
  }
  const advertise = ({ setting = "", listen = anywhere, on = ["eth0=10.0.0.1"] }: Advertise) =>
    resolveAdvertise(setting, listen, machine(...loopback, ...on));

  const advertised: readonly (readonly [string, Advertise, string])[] = [
    ["the one address of the machine", {}, "10.0.0.1:2377"],
    ["the port it listens on", { listen: { host: "::", port: 4000 } }, "10.0.0.1:4000"],
    ["the address it listens on", { listen: { host: "10.9.9.9", port: 1 } }, "10.9.9.9:1"],
    ["the address that is set", { setting: "1.2.3.4" }, "1.2.3.4:2377"],
    ["the port that is set", { setting: "1.2.3.4:99" }, "1.2.3.4:99"],
    ["the address of the interface that is set", { setting: "eth0:99" }, "10.0.0.1:99"],
    ["IPv4 before IPv6", { on: ["eth0=fd00::1", "eth1=10.0.0.1"] }, "10.0.0.1:2377"],
    ["IPv6 where there is no other", { on: ["eth0=fd00::1", "eth0=fe80::1"] }, "[fd00::1]:2377"],
    ["no self-assigned address", { on: ["eth0=169.254.1.1", "eth1=10.0.0.1"] }, "10.0.0.1:2377"],
    [
      "no address of the cluster's own devices",
      {
        on: [
          "docker0=172.17.0.1",
          "docker_gwbridge=172.18.0.1",
          "br-0123456789ab=172.19.0.1",
          "skd499-up=172.19.0.1",
          "skd499-wg=10.253.0.1",
          "eth0=10.0.0.1",
        ],
      },
      "10.0.0.1:2377",
    ],
    ["a bridge that the user made", { on: ["br-lan=10.0.0.7"] }, "10.0.0.7:2377"],
  ];
  for (const [fact, machineWith, expected] of advertised) {
    it(`advertises ${fact}`, () => assert.equal(formatHostPort(advertise(machineWith)), expected));
  }

  const zero =
    "advertise address must be a non-zero IP address or network interface (with optional port number)";
  const choice =
    "could not choose an IP address to advertise since this system has multiple addresses";
  const badAdvertise: readonly (readonly [string, Advertise, string | RegExp])[] = [
    ["0.0.0.0", { setting: "0.0.0.0" }, zero],
    ["0.0.0.0 with a port", { setting: "0.0.0.0:2377" }, zero],
    ["::", { setting: "::" }, zero],
    ["another spelling of ::", { setting: "[0:0:0:0:0:0:0:0]:2377" }, zero],
    ["::0.0.0.0", { setting: "::0.0.0.0" }, zero],
    [
      "an unknown name",
      { setting: "host.example" },
      /^--advertise-addr host\.example: no IP address/,
    ],
    [
      "an interface with two addresses",
      { setting: "eth0", on: ["eth0=10.0.0.1", "eth0=10.0.0.2"] },
      "interface eth0 has more than one IPv4 address (10.0.0.1 and 10.0.0.2) - specify one with --advertise-addr",
    ],
    [
      "anything on a machine with loopback only",
      { on: [] },
      "could not find the system's IP address - specify one with --advertise-addr",
    ],
    [
      "one of two interfaces by itself",
      { on: ["eth0=10.0.0.1", "eth1=10.1.0.1"] },
      `${choice} on different interfaces (10.0.0.1 on eth0 and 10.1.0.1 on eth1) - specify one with --advertise-addr`,
    ],
    [
      "one of two addresses by itself",
      { on: ["eth0=10.0.0.1", "eth0=10.0.0.2"] },
      `${choice} on interface eth0 (10.0.0.1 and 10.0.0.2) - specify one with --advertise-addr`,
    ],
    [
      "one of two addresses when it listens at another spelling of ::",
      { listen: { host: "::0", port: 1 }, on: ["eth0=10.0.0.1", "eth1=10.1.0.1"] },
      /^could not choose/,
    ],
  ];
  for (const [fact, machineWith, message] of badAdvertise) {
    it(`refuses to advertise ${fact}`, () => refuses(() => advertise(machineWith), message));
  }

  it("uses the management address for data unless another is set", () => {
    const on = machine("eth0=10.0.0.1", "eth1=10.1.0.1");
    const resolved = (setting: string) =>
      resolveDataPath(setting, { host: "9.9.9.9", port: 1 }, on);
    assert.equal(resolved(""), "9.9.9.9");
    assert.equal(resolved("10.2.0.1"), "10.2.0.1");
    assert.equal(resolved("eth1"), "10.1.0.1");
  });

  it("refuses a data path address that is none", () => {
    const resolved = (setting: string) => resolveDataPath(setting, anywhere, []);
    const message = "data path address must be a non-zero IP address or network interface";
    refuses(() => resolved("0.0.0.0"), message);
    refuses(() => resolved("::"), message);
    refuses(() => resolved("eth9"), /^--data-path-addr eth9: /);
  });
});
