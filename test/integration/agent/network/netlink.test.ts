/**
 * The two ways to the kernel, the thread with its messages of netlink and the programs: each does the same, and sees the same.
 */
import { deepEqual, match } from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { apply, type Failure } from "../../../../agent/network/apply.ts";
import { diff } from "../../../../agent/network/diff.ts";
import {
  emptySpace,
  hostSpace,
  type Link,
  mainTable,
  type Plan,
  type SpaceState,
  spaceState,
  swarmSpace,
} from "../../../../agent/network/model.ts";
import { makeNamespace, removeNamespace } from "../../../../agent/network/namespace.ts";
import { ThreadNftables } from "../../../../agent/network/nft/library.ts";
import { observe } from "../../../../agent/network/observe.ts";
import { silentLog } from "../../../../src/common/log/log.ts";

const container = "c1";
const none: Plan = new Map();
const programs = { change: async () => undefined, look: async () => undefined };

describe("agent/network/netlink", () => {
  const thread = new ThreadNftables({ log: silentLog });
  let folder = "";
  const files = new Map<string, string>();

  /** Namespaces of one way. */
  const spacesOf = (way: string) => (space: string) => files.get(`${way} ${space}`);

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-netlink-"));
    for (const way of ["thread", "programs"]) {
      for (const space of [hostSpace, swarmSpace, container]) {
        const file = join(folder, `${way}-${space}`);
        files.set(`${way} ${space}`, file);
        await makeNamespace(file);
      }
    }
  });

  afterEach(async () => {
    for (const file of files.values()) await removeNamespace(file);
    files.clear();
    rmSync(folder, { recursive: true, force: true });
    await thread.close();
  });

  it("lists from several threads of one process at a time", async () => {
    const second = new ThreadNftables({ log: silentLog });
    const namespace = files.get(`thread ${hostSpace}`);
    // What a listing takes apart, a thousand times.
    const type = "ipv4_addr . inet_proto . inet_service . mark . ipv4_addr";
    const sets = Array.from({ length: 1_000 }, (_, i) => `add set inet t s${i} { type ${type}; }`);
    const text = ["add table inet t", ...sets].join("\n");
    const [made] = await thread.run([{ namespace, what: "apply", text }]);
    deepEqual(made, { ok: true, output: "" });
    const job = { namespace, what: "list", text: "list table inet t" } as const;
    const jobs = Array.from({ length: 20 }, () => job);
    const answers = (await Promise.all([thread.run(jobs), second.run(jobs)])).flat();
    await second.close();
    match(answers[0]?.output ?? "", /"ipv4_addr", "inet_proto", "inet_service", "mark"/);
    deepEqual(new Set(answers.map(({ output }) => output)).size, 1);
  });

  /** The same steps by both ways; @returns what failed, which is the same, too. */
  async function bothWays(before: Plan, after: Plan): Promise<readonly string[]> {
    const [byThread, byPrograms] = [spacesOf("thread"), spacesOf("programs")];
    const failed = {
      thread: await apply(diff(before, after, byThread), byThread, thread),
      programs: await apply(diff(before, after, byPrograms), byPrograms, programs),
    };
    const names = (failures: readonly Failure[]) =>
      failures.map(({ owner, space, line }) => `${owner} ${space} ${line.split(" netns")[0]}`);
    deepEqual(names(failed.thread), names(failed.programs));
    return failed.thread.map(({ line, error }) => `${line}: ${error}`);
  }

  /** Both ways of looking at what both ways of changing made. */
  async function seen(space: string): Promise<SpaceState[]> {
    const look = { everything: true, settings: [] };
    const found: SpaceState[] = [];
    for (const way of ["thread", "programs"]) {
      for (const eyes of [thread, programs]) {
        found.push(ordered(await observe(files.get(`${way} ${space}`), look, eyes)));
      }
    }
    return found;
  }

  it("makes devices and all that is on them", async () => {
    deepEqual(await bothWays(none, wanted()), []);
    for (const [space, should] of wanted()) {
      const [first, ...others] = await seen(space);
      for (const other of others) deepEqual(other, first, space);
      deepEqual(first, ordered(asSeen(should)), space);
    }
  });

  it("takes away what is not wanted any more, several devices at once", async () => {
    await bothWays(none, wanted());
    const rest: Plan = new Map([
      // The largest a bridge without ports has.
      [swarmSpace, spaceState({ links: [{ ...bridge, mtu: 1500 }], rules: [rules[0]] })],
      [container, emptySpace],
    ]);
    deepEqual(await bothWays(wanted(), rest), []);
    for (const [space, should] of rest) {
      for (const found of await seen(space)) deepEqual(found, ordered(asSeen(should)), space);
    }
    // What is gone already is no failure.
    deepEqual(await bothWays(wanted(), rest), []);
  });

  it("goes on past what fails, and says what that was", async () => {
    const routes = [
      { device: "nowhere", destination: "10.9.0.0/16" },
      { device: "br1", destination: "10.8.0.0/16" },
    ].map((route) => ({ via: "", source: "", table: mainTable, metric: 0, ...route }));
    const links = [bridge, { ...vxlan, master: "absent" }];
    const after = new Map([[swarmSpace, spaceState({ links, routes })]]);
    const fileOf = spacesOf("thread");
    const failed = await apply(diff(none, after, fileOf), fileOf, thread);
    deepEqual(
      failed.map(({ line, error }) => `${line}: ${error}`),
      [
        "link set vx1 master absent: there is no device absent",
        "link set vx1 type bridge_slave learning off neigh_suppress on: operation not supported on socket",
        "route replace 10.9.0.0/16 dev nowhere: there is no device nowhere",
      ],
    );
    const [found] = await seen(swarmSpace);
    const destinations = [...(found?.routes.values() ?? [])].map((one) => one.destination);
    deepEqual(destinations, ["10.8.0.0/16"]);
  });

  it("says that a namespace is gone", async () => {
    const gone = (space: string) => (space === swarmSpace ? join(folder, "gone") : undefined);
    const link = spaceState({ links: [bridge] });
    const steps = diff(none, new Map([[swarmSpace, link]]), gone);
    const failures = await apply(steps, gone, thread);
    match(failures[0]?.error ?? "", /cannot enter .*gone/);
  });
});

const plain = { master: "", hairpin: false, peer: undefined, vxlan: undefined } as const;
const bridge: Link = { ...plain, name: "br1", kind: "bridge", mtu: 1450, mac: "02:42:0a:00:00:01" };
const vxlan: Link = {
  ...plain,
  name: "vx1",
  kind: "vxlan",
  mtu: 1450,
  mac: "02:42:0a:00:00:02",
  master: "br1",
  vxlan: { id: 4097, local: "10.0.0.1", port: 4790, through: "" },
};
const port: Link = {
  ...plain,
  name: "o0-c1",
  kind: "veth",
  mtu: 1450,
  mac: "02:42:0a:00:00:03",
  master: "br1",
  hairpin: true,
  peer: { name: "ov0", space: container },
};
const end: Link = { ...plain, name: "ov0", kind: "veth", mtu: 1450, mac: "02:42:0a:00:00:04" };
const rules = [
  { family: 4, preference: 1000, mark: 7, mask: 0xffff, table: 65_543 },
  { family: 6, preference: 1000, mark: 7, mask: 0xffff, table: 100 },
] as const;

function wanted(): Plan {
  const route = { via: "", source: "", table: mainTable, metric: 0 };
  return new Map([
    [
      hostSpace,
      spaceState({
        links: [
          { ...plain, name: "br0", kind: "bridge", mtu: 1500, mac: "02:42:0a:00:00:09" },
          {
            ...plain,
            name: "vx6",
            kind: "vxlan",
            mtu: 1430,
            mac: "02:42:0a:00:00:0a",
            vxlan: { id: 4098, local: "fd00::1", port: 4789, through: "" },
          },
        ],
      }),
    ],
    [
      swarmSpace,
      spaceState({
        links: [bridge, vxlan, port],
        addresses: [
          { device: "br1", address: "10.0.1.1", length: 24 },
          { device: "br1", address: "fd00:1::1", length: 64 },
        ],
        routes: [
          { ...route, device: "br1", destination: "default", via: "10.0.1.2", table: 65_543 },
          { ...route, device: "br1", destination: "10.7.0.1" },
          { ...route, device: "br1", destination: "10.8.0.0/16", via: "10.0.1.2", metric: 2_005 },
          { ...route, device: "br1", destination: "default", via: "fd00:1::2", table: 100 },
          { ...route, device: "br1", destination: "fd00:7::1", source: "fd00:1::1" },
        ],
        rules,
        neighbours: [
          { device: "br1", address: "10.0.1.2", mac: "02:42:0a:00:01:02" },
          { device: "vx1", address: "fd00:1::2", mac: "02:42:0a:00:01:02" },
        ],
        forwarding: [
          { device: "vx1", mac: "02:42:0a:00:01:02", destination: "10.0.0.2" },
          { device: "vx1", mac: "02:42:0a:00:01:02", destination: "" },
        ],
      }),
    ],
    [
      container,
      spaceState({
        links: [end],
        addresses: [{ device: "ov0", address: "10.0.1.5", length: 32 }],
        routes: [
          { ...route, device: "ov0", destination: "10.0.1.1", source: "10.0.1.5" },
          { ...route, device: "ov0", destination: "default", via: "10.0.1.1", source: "10.0.1.5" },
        ],
      }),
    ],
  ]);
}

/** What is not seen of a device afterwards: its other end. */
function asSeen(state: SpaceState): SpaceState {
  const links = [...state.links.values()].map((link) => ({ ...link, peer: undefined }));
  return { ...state, links: new Map(links.map((link) => [link.name, link])) };
}

function ordered(state: SpaceState): SpaceState {
  const sorted = <T>(map: ReadonlyMap<string, T>) =>
    new Map([...map].sort(([a], [b]) => (a < b ? -1 : 1)));
  return {
    links: sorted(state.links),
    addresses: sorted(state.addresses),
    routes: sorted(state.routes),
    rules: sorted(state.rules),
    neighbours: sorted(state.neighbours),
    forwarding: sorted(state.forwarding),
    settings: sorted(state.settings),
  };
}
