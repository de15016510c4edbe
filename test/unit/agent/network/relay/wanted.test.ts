/**
 * Which ports of the host need a socket of the daemon.
 */
import { deepEqual } from "node:assert/strict";
import type { HostBinding } from "../../../../../agent/network/nft/host-tables.ts";
import { wantedRelays } from "../../../../../agent/network/relay/wanted.ts";

const binding = (more: Partial<HostBinding>): HostBinding => ({
  protocol: "tcp",
  hostAddress: "",
  hostPort: 8080,
  addresses: ["10.1.0.2"],
  containerPort: 80,
  ...more,
});
const texts = (bindings: readonly HostBinding[]) =>
  wantedRelays(bindings, []).map(
    ({ host, port, to }) => `[${host}]:${port} > ${to.host} ${to.port}`,
  );

describe("agent/network/relay/wanted", () => {
  const both = ["10.1.0.2", "fd01::2"];
  const cases: readonly [string, Partial<HostBinding>, readonly string[]][] = [
    ["all of IPv6 to a container with IPv4 alone", {}, ["[::]:8080 > 10.1.0.2 80"]],
    ["the same that names IPv6", { hostAddress: "::" }, ["[::]:8080 > 10.1.0.2 80"]],
    ["one address of IPv6", { hostAddress: "fd77::1" }, ["[fd77::1]:8080 > 10.1.0.2 80"]],
    ["nothing that is bound to IPv4", { hostAddress: "127.0.0.1" }, []],
    ["loopback alone where rules lead the rest", { addresses: both }, ["[::1]:8080 > fd01::2 80"]],
    ["nothing for another address", { addresses: both, hostAddress: "fd77::1" }, []],
    ["nothing over UDP", { protocol: "udp" }, []],
    ["nothing for a container without addresses", { addresses: [] }, []],
  ];
  for (const [what, more, expected] of cases) {
    it(`takes ${what}`, () => {
      deepEqual(texts([binding(more)]), expected);
    });
  }

  it("leads the loopback address to ports of services, but for those bound to a place", () => {
    const found = wantedRelays(
      [],
      [
        { protocol: "tcp", port: 80, at: undefined },
        { protocol: "udp", port: 53, at: undefined },
        { protocol: "tcp", port: 81, at: "eth0" },
      ],
    );
    deepEqual(found, [{ host: "::1", port: 80, to: { host: "127.0.0.1", port: 80 } }]);
  });
});
