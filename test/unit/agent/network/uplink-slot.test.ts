/**
 * Addresses of the link where several daemons share a network.
 */
import { equal, notEqual } from "node:assert/strict";
import { uplinkOf, uplinkSlotOf } from "../../../../agent/network/pools.ts";
import { chooseSlot } from "../../../../agent/network/uplink-slot.ts";

const at = (device: string, address: string) => ({ device, address, length: 30 });

describe("agent/network/uplink-slot", () => {
  it("takes the first addresses where no other daemon is", () => {
    equal(chooseSlot("sk0123-up", [at("eth0", "192.0.2.1")], "01234567"), 0);
  });

  it("keeps those it has", () => {
    const { host } = uplinkOf(4711);
    equal(chooseSlot("sk0123-up", [at("sk0123-up", host)], "01234567"), 4711);
    equal(uplinkSlotOf(uplinkOf(4711)), 4711);
  });

  it("takes others than those of another daemon, also where it would begin with the same", () => {
    const first = chooseSlot("sk0123-up", [at("sk9999-up", uplinkOf(0).host)], "01234567");
    notEqual(first, 0);
    const taken = [at("sk9999-up", uplinkOf(0).host), at("sk8888-up", uplinkOf(first).host)];
    equal(chooseSlot("sk0123-up", taken, "01234567"), first + 1);
  });
});
