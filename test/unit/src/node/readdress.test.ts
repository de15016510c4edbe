/** What a node advertises after its machine was given another address. */
import { deepEqual, throws } from "node:assert/strict";
import { type InterfaceAddress, resolveAdvertiseAgain } from "../../../../src/node/address.ts";

const listen = { host: "0.0.0.0", port: 2377 };

describe("src/node/address", () => {
  it("takes the machine's address when the one given is not its own any more", () => {
    deepEqual(
      resolveAdvertiseAgain({ setting: "10.0.0.5", wasOwn: true }, listen, eth("10.0.0.9")),
      {
        host: "10.0.0.9",
        port: 2377,
      },
    );
  });

  it("keeps an address that never was the machine's own, and one that still is", () => {
    const kept = { host: "203.0.113.1", port: 4000 };
    const setting = "203.0.113.1:4000";
    deepEqual(resolveAdvertiseAgain({ setting, wasOwn: false }, listen, eth("10.0.0.9")), kept);
    deepEqual(resolveAdvertiseAgain({ setting, wasOwn: true }, listen, eth("203.0.113.1")), kept);
  });

  it("does not choose between several addresses", () => {
    const two = [...eth("10.0.0.8"), ...eth("10.0.0.9")];
    throws(
      () => resolveAdvertiseAgain({ setting: "10.0.0.5", wasOwn: true }, listen, two),
      /could not choose an IP address/,
    );
  });
});

function eth(address: string): InterfaceAddress[] {
  return [{ interfaceName: "eth0", address, family: "IPv4", internal: false }];
}
