/**
 * When and where programs are put at ports; the thread that puts them is a fake.
 */
import { deepEqual, equal } from "node:assert/strict";
import { type Link, spaceState } from "../../../../../agent/network/model.ts";
import type { PutRequest } from "../../../../../agent/network/shortcut/request.ts";
import {
  portsOf,
  Shortcuts,
  streamPortsOf,
} from "../../../../../agent/network/shortcut/shortcuts.ts";
import { silentLog } from "../../../../../src/common/log/log.ts";

const link = (name: string, kind: Link["kind"], master: string): Link => ({
  ...{ name, kind, master, mtu: 1450, mac: "" },
  ...{ hairpin: false, peer: undefined, vxlan: undefined },
});
const state = (...links: readonly Link[]) => spaceState({ links });
const tunnel = link("vx4097", "vxlan", "br4097");
const port = (name: string) => link(name, "veth", "br4097");
const programs = { arriving: 1_000_001, toContainer: 1_000_002, toTunnel: 1_000_003 };

/** Puts programs everywhere, and keeps what it was asked. */
function fakeThread(refuses = false) {
  const asked: PutRequest[] = [];
  const putPrograms = async (_: string, request: PutRequest) => {
    asked.push(request);
    if (refuses) throw new Error("error 1");
    const known = new Map([...request.ports.keys()].map((name, at) => [name, at + 1]));
    return { programs: request.programs ?? programs, known };
  };
  return { asked, putPrograms };
}

describe("agent/network/shortcut/shortcuts", () => {
  it("are at the ports of overlay networks, and at no others", () => {
    const links = [
      link("br4097", "bridge", ""),
      tunnel,
      port("o0-one"),
      link("lb123", "bridge", ""),
      link("o50-one", "veth", "lb123"),
      link("gone", "veth", "gw0"),
      link("vx-ing", "vxlan", ""),
    ];
    const found = [...portsOf(state(...links))];
    deepEqual(found, [
      ["vx4097", false],
      ["o0-one", true],
    ]);
    deepEqual([...portsOf(undefined)], []);
  });

  it("asks for programs when there is a new port, or when ports may have lost theirs", async () => {
    const thread = fakeThread();
    const shortcuts = new Shortcuts({ thread, kind: "frames", isWanted: true, log: silentLog });
    const [one, two] = [
      state(tunnel, port("o0-one")),
      state(tunnel, port("o0-one"), port("o0-two")),
    ];
    await shortcuts.keep("swarm", state(), true);
    await shortcuts.keep("swarm", one, false);
    await shortcuts.keep("swarm", one, false);
    equal(thread.asked.length, 1);
    await shortcuts.keep("swarm", two, false);
    equal(thread.asked.length, 2);
    await shortcuts.keep("swarm", two, true);
    equal(thread.asked.length, 3);
    deepEqual(thread.asked.at(-1)?.programs, programs);
    deepEqual(
      [...(thread.asked.at(-1)?.known ?? [])],
      [
        ["vx4097", 1],
        ["o0-one", 2],
        ["o0-two", 3],
      ],
    );
    // What went and comes again is another device.
    await shortcuts.keep("swarm", one, false);
    equal(thread.asked.length, 3);
    await shortcuts.keep("swarm", two, false);
    deepEqual([...(thread.asked.at(-1)?.known.keys() ?? [])], ["vx4097", "o0-one"]);
  });

  it("has programs taken away where none are wanted, and keeps that in mind", async () => {
    const thread = fakeThread();
    const shortcuts = new Shortcuts({ thread, kind: "frames", isWanted: false, log: silentLog });
    await shortcuts.keep("swarm", state(tunnel), false);
    await shortcuts.keep("swarm", state(tunnel), false);
    await shortcuts.keep("swarm", state(tunnel), true);
    deepEqual(
      thread.asked.map(({ programs, known }) => [programs, ...known.keys()]),
      [["none"], ["none", "vx4097"]],
    );
    shortcuts.close();
  });

  it("leaves it at a refusal, without a word to whoever waits for the network", async () => {
    const thread = fakeThread(true);
    const shortcuts = new Shortcuts({ thread, kind: "frames", isWanted: true, log: silentLog });
    await shortcuts.keep("swarm", state(tunnel), true);
    await shortcuts.keep("swarm", state(tunnel, port("o0-one")), true);
    equal(thread.asked.length, 1);
  });

  it("has streams of published ports go past rules between the uplink, the mesh and the gateway's ports", () => {
    const links = [
      link("up0", "veth", ""),
      link("gw0", "bridge", ""),
      link("vx-ing", "vxlan", ""),
      link("gone", "veth", "gw0"),
      tunnel,
      port("o0-one"),
    ];
    const found = [...streamPortsOf(state(...links))];
    deepEqual(found, [
      ["up0", true],
      ["vx-ing", false],
      ["gone", true],
    ]);
  });

  it("tells programs that look for it of every change, also where no device is new", async () => {
    const asked: PutRequest[] = [];
    const putPrograms = async (_: string, request: PutRequest) => {
      asked.push(request);
      const known = new Map([...request.ports.keys()].map((name, at) => [name, at + 1]));
      return { programs: { ...programs, changes: 1_000_004 }, known };
    };
    const thread = { putPrograms };
    const streams = new Shortcuts({ thread, kind: "streams", isWanted: true, log: silentLog });
    const one = state(link("up0", "veth", ""));
    for (let pass = 0; pass < 3; pass++) await streams.keep("swarm", one, false);
    deepEqual(
      asked.map(({ ports, change }) => [ports.size, change]),
      [
        [1, 1],
        [0, 2],
        [0, 3],
      ],
    );
    await streams.keep("swarm", one, true);
    deepEqual([...(asked.at(-1)?.known ?? [])], [["up0", 1]]);
  });

  it("asks for nothing where there is no thread", async () => {
    const shortcuts = new Shortcuts({
      thread: { putPrograms: async () => undefined },
      kind: "frames",
      isWanted: true,
      log: silentLog,
    });
    await shortcuts.keep("swarm", state(tunnel), true);
    shortcuts.close();
  });
});
