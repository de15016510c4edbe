/**
 * Subnets and addresses of a node's own networks.
 */
import { deepEqual, equal, throws } from "node:assert/strict";
import {
  checkAddress,
  chooseSubnets,
  defaultPools,
  freeAddress,
} from "../../../../../agent/network/local/ipam.ts";
import { IpamConfig } from "../../../../../src/common/api/generated/api.ts";
import { parsePrefix } from "../../../../../src/common/spec/cidr.ts";

const prefixes = (...texts: string[]) => texts.flatMap((text) => parsePrefix(text) ?? []);

function choose(config: Partial<IpamConfig> | undefined, o = { ipv6: false, taken: [""] }) {
  const configs = config === undefined ? [] : [IpamConfig.create(config)];
  const request = { configs, ipv6: o.ipv6, uniqueLocal: 0x12_3456_789an };
  return chooseSubnets(request, defaultPools, prefixes(...o.taken));
}

describe("agent/network/local/ipam", () => {
  it("takes the first subnet of the pools that overlaps with nothing", () => {
    const subnet = (...taken: string[]) => choose(undefined, { ipv6: false, taken })[0]?.subnet;
    equal(subnet(), "172.17.0.0/16");
    equal(subnet("172.17.0.0/16"), "172.20.0.0/16");
    equal(subnet("172.17.4.0/24", "172.20.0.0/15"), "172.22.0.0/16");
    equal(subnet("172.16.0.0/12", "192.168.0.0/20"), "192.168.16.0/20");
    throws(() => subnet("172.16.0.0/12", "192.168.0.0/16"), /predefined address pools/);
  });

  it("makes an IPv6 subnet of its own", () => {
    deepEqual(choose(undefined, { ipv6: true, taken: [] }).at(1), {
      subnet: "fd12:3456:789a::/64",
      gateway: "fd12:3456:789a::1",
    });
  });

  it("refuses subnets that cannot be, naming them", () => {
    const refused: [Partial<IpamConfig>, RegExp][] = [
      [{ subnet: "10.1.0.0" }, /invalid subnet 10\.1\.0\.0: invalid CIDR block notation/],
      [{ subnet: "10.1.0.9/24" }, /it should be 10\.1\.0\.0\/24/],
      [
        { subnet: "10.1.0.0/24", gateway: "10.2.0.1" },
        /no matching subnet for gateway 10\.2\.0\.1/,
      ],
      [{ subnet: "10.1.0.0/24", range: "10.2.0.0/25" }, /no matching subnet for ip-range/],
      [{ subnet: "10.1.0.0/24", reserved: { a: "10.2.0.1" } }, /auxiliary address a=10\.2\.0\.1/],
      [{ subnet: "10.9.0.0/24" }, /Pool overlaps with other one on this address space/],
      [{ subnet: "fd00::/64" }, /IPv6 has not been enabled/],
    ];
    for (const [config, message] of refused)
      throws(() => choose(config, { ipv6: false, taken: ["10.8.0.0/14"] }), { message });
  });

  it("gives the lowest address that is free, within the range", () => {
    const source = {
      subnet: "10.1.0.0/29",
      gateway: "10.1.0.1",
      range: "",
      reserved: ["10.1.0.2"],
    };
    equal(freeAddress(source, new Set()), "10.1.0.3");
    equal(freeAddress({ ...source, range: "10.1.0.4/30" }, new Set(["10.1.0.4"])), "10.1.0.5");
    const taken = new Set(["10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
    throws(() => freeAddress(source, taken), /no available IPv4 addresses/);
  });

  it("refuses an address outside of the subnets, and one that is taken", () => {
    const source = { subnet: "10.1.0.0/24", gateway: "10.1.0.1", range: "", reserved: [] };
    const check = (text: string) => checkAddress(text, [source], new Set(["10.1.0.7"])).address;
    equal(check("10.1.0.8"), "10.1.0.8");
    throws(() => check("10.2.0.1"), /does not belong to any of this network's subnets/);
    throws(() => check("10.1.0.7"), /Address already in use/);
    throws(() => check("10.1.0.1"), /Address already in use/);
    throws(() => check("ten"), /invalid IP address: ten/);
  });
});
