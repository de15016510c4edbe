/** What a node advertises after its machine was given another address. */
import { deepEqual, throws } from "node:assert/strict";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { newLog } from "../../../../src/common/log/log.ts";
import { type InterfaceAddress, resolveAdvertiseAgain } from "../../../../src/node/address.ts";
import { followAddresses } from "../../../../src/node/readdress.ts";
import type { NodeAddresses, NodeState } from "../../../../src/node/state-files.ts";
import { settled } from "../../../support/message-queue.ts";

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

describe("src/node/readdress", () => {
  const clock = new FakeClock();
  const stop = new AbortController();
  const lines: string[] = [];
  const told: NodeAddresses[] = [];
  let interfaces = eth("10.0.0.5");
  let state: NodeState = {
    format: 1,
    nodeId: "n",
    clusterId: "c",
    raftId: 1,
    listenAddress: "0.0.0.0:2377",
    advertiseSetting: "",
    advertisesOwnAddress: true,
    advertiseAddress: "10.0.0.5:2377",
    dataPathAddress: "10.0.0.5",
    managers: [],
    joining: false,
  };
  const run = followAddresses(
    {
      state: () => state,
      readdress: async (addresses) => {
        told.push(addresses);
        state = { ...state, ...addresses };
      },
    },
    {
      interfaces: () => interfaces,
      clock,
      log: newLog((line) => lines.push(line), { level: "info" }),
    },
    stop.signal,
  );

  after(async () => {
    stop.abort();
    await run;
  });

  async function looks(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      await clock.advance(2_000);
      await settled();
    }
  }

  it("leaves an address alone that is gone for a moment only", async () => {
    await looks(2);
    interfaces = eth("10.0.0.9");
    await looks(1);
    interfaces = eth("10.0.0.5");
    await looks(3);
    deepEqual(told, []);
  });

  it("keeps the last address while there is none to choose, and says so once", async () => {
    interfaces = [];
    await looks(4);
    deepEqual(told, []);
    deepEqual(lines.filter((line) => line.includes("could not find")).length, 1);
  });

  it("tells of an address that stays, once, with the data path that went along", async () => {
    interfaces = eth("10.0.0.9");
    await looks(6);
    deepEqual(told, [
      {
        advertiseAddress: "10.0.0.9:2377",
        advertisesOwnAddress: true,
        dataPathAddress: "10.0.0.9",
      },
    ]);
  });
});

function eth(address: string): InterfaceAddress[] {
  return [{ interfaceName: "eth0", address, family: "IPv4", internal: false }];
}
