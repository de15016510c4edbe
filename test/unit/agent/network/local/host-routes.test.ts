/**
 * The kernel's route tables as prefixes.
 */
import { deepEqual } from "node:assert/strict";
import { hasDevice, routes4, routes6 } from "../../../../../agent/network/local/host-routes.ts";
import { formatPrefix } from "../../../../../src/common/spec/cidr.ts";

const isOwn = (device: string) => device === "sk0001-up";

describe("agent/network/local/host-routes", () => {
  it("knows the devices of this machine", () => {
    deepEqual(["lo", "l", "nosuch", ""].map(hasDevice), [true, false, false, false]);
  });

  it("reads the routes of IPv4 but the default one and our own", () => {
    const table = [
      "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT",
      "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0",
      "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
      "sk0001-up\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0",
      "",
    ].join("\n");
    deepEqual(routes4(table, isOwn).map(formatPrefix), ["192.168.0.0/24"]);
  });

  it("reads the routes of IPv6 but those of addresses and of links", () => {
    const zeros = "0".repeat(32);
    const line = (destination: string, length: string, device: string) =>
      `${destination} ${length} ${zeros} 00 ${zeros} 00000100 00000001 00000000 00000001 ${device}`;
    const table = [
      line("fd770000000000000000000000000000", "40", "eth0"),
      line("fd770000000000000000000000000001", "80", "eth0"),
      line("fe800000000000000000000000000000", "40", "eth0"),
      line("ff000000000000000000000000000000", "08", "eth0"),
      line("fd180000000000000000000000000000", "40", "sk0001-up"),
      line(zeros, "00", "eth0"),
      "",
    ].join("\n");
    deepEqual(routes6(table, isOwn).map(formatPrefix), ["fd77::/64"]);
  });
});
