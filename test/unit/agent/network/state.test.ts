/**
 * What a node knows of the cluster's data path: full sets in pieces, increments, gaps, and what is remembered of it.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import type { ClusterState } from "../../../../agent/network/cluster-state.ts";
import { type NetworkMemory, NetworkState } from "../../../../agent/network/state.ts";
import type { StateChange } from "../../../../agent/network/state-change.ts";
import {
  Network,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
  NetworkUpdate,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { settled } from "../../../support/message-queue.ts";

const peer = (nodeId: string, number = 1) => NetworkPeer.create({ nodeId, number });
const network = (id: string, networkNumber = 4097) => Network.create({ id, networkNumber });
const service = (id: string, name = id) => NetworkService.create({ id, name });
const endpoint = (id: string, ready = true) => NetworkEndpoint.create({ id, ready });

/** Remembers, and counts the writes. */
class FakeMemory implements NetworkMemory {
  readonly entries = new Map<string, Uint8Array>();
  readonly writes: (readonly string[])[] = [];
  isFull = false;

  async load() {
    return this.entries;
  }

  write: NetworkMemory["write"] = async (changes) => {
    if (this.isFull) throw new Error("disk full");
    this.writes.push([...changes.keys()].sort());
    for (const [key, value] of changes) {
      if (value === undefined) this.entries.delete(key);
      else this.entries.set(key, value);
    }
  };
}

describe("agent/network/state", () => {
  let clock: FakeClock;
  let memory: FakeMemory;
  let state: NetworkState;
  let heard: string[];

  beforeEach(async () => {
    [clock, memory, heard] = [new FakeClock(), new FakeMemory(), []];
    state = await begun();
  });
  afterEach(() => state.rest());

  async function begun(): Promise<NetworkState> {
    const made = new NetworkState({ clock, log: silentLog });
    made.listen((_, change) => heard.push(changeText(change)));
    await made.nodeIs("me", memory);
    return made;
  }

  function take(number: number, fields: Partial<NetworkUpdate> = {}): boolean {
    return state.take(NetworkUpdate.create({ number, ...fields }));
  }

  function full(number: number, fields: Partial<NetworkUpdate> = {}): boolean {
    return take(number, { full: true, first: true, last: true, ...fields });
  }

  it("takes a full set in pieces, all at once with the last", () => {
    ok(full(1, { last: false, peers: [peer("me", 3)], networks: [network("n")] }));
    ok(full(2, { first: false, last: false, services: [service("s")] }));
    equal(text(state.current()), "");
    ok(full(3, { first: false, endpoints: [endpoint("t")] }));
    equal(text(state.current()), "peer me, network n, service s, endpoint t");
    equal(state.current().self?.number, 3);
    deepEqual(heard, ["peers me networks n services s endpoints t"]);
  });

  it("applies what changed, and says what did", () => {
    full(1, { services: [service("s"), service("q")], endpoints: [endpoint("t")] });
    const before = state.current();
    heard.splice(0);
    ok(take(2, { endpoints: [endpoint("t", false), endpoint("u")] }));
    ok(take(3, { removedServiceIds: ["q", "unknown"] }));
    deepEqual(heard, ["endpoints t u", "services q"]);
    equal(state.current().endpoints.get("t")?.ready, false);
    equal(before.endpoints.get("t")?.ready, true);
    equal(text(state.current()), "service s, endpoint t, endpoint u");
  });

  it("keeps objects that a full set says again, and tells nobody", () => {
    full(1, { services: [service("s")], endpoints: [endpoint("t"), endpoint("u")] });
    const before = state.current();
    heard.splice(0);
    state.sessionBegan();
    full(1, { services: [service("s")], endpoints: [endpoint("t"), endpoint("u")] });
    deepEqual(heard, []);
    equal(state.current().services.get("s"), before.services.get("s"));
    state.sessionBegan();
    full(1, { services: [service("s", "renamed")], endpoints: [endpoint("u")] });
    deepEqual(heard, ["services s endpoints t"]);
    equal(state.current().endpoints.get("u"), before.endpoints.get("u"));
  });

  it("asks once for the full set when a message is missing, and goes by what it had until then", () => {
    full(1, { services: [service("s")] });
    equal(take(3, { services: [service("late")] }), false);
    equal(take(4, { services: [service("later")] }), true);
    equal(take(2, { services: [service("old")] }), true);
    equal(text(state.current()), "service s");
    full(5, { services: [service("new")] });
    ok(take(6, { services: [service("newer")] }));
    equal(text(state.current()), "service new, service newer");
  });

  const gaps: [string, () => boolean][] = [
    ["a piece is missing", () => full(3, { first: false })],
    ["an increment comes before the last piece", () => take(2)],
    ["a piece comes twice", () => full(1, { first: false, last: false })],
  ];
  for (const [name, message] of gaps) {
    it(`asks for the full set again when ${name}`, () => {
      full(1, { last: false, services: [service("half")] });
      equal(message(), false);
      equal(text(state.current()), "");
      ok(full(9, { services: [service("whole")] }));
      equal(text(state.current()), "service whole");
    });
  }

  it("forgets the pieces of a session that broke off", () => {
    full(1, { last: false, services: [service("half")] });
    state.sessionBegan();
    ok(full(1, { services: [service("whole")] }));
    equal(text(state.current()), "service whole");
  });

  it("remembers over the lives of a daemon", async () => {
    full(1, { peers: [peer("me", 9)], networks: [network("n")], endpoints: [endpoint("t")] });
    take(2, { services: [service("s")], removedEndpointIds: ["t"] });
    await state.rest();
    heard.splice(0);
    state = await begun();
    equal(text(state.current()), "peer me, network n, service s");
    equal(state.current().self?.number, 9);
    deepEqual(heard, ["peers me networks n services s"]);
    // What is known is not written again.
    memory.writes.splice(0);
    full(1, { peers: [peer("me", 9)], networks: [network("n")], services: [service("s")] });
    await settled();
    deepEqual(memory.writes, []);
  });

  it("remembers what it goes by, though the power fails next", async () => {
    full(1, { services: [service("s")], endpoints: [endpoint("t"), endpoint("u")] });
    await settled();
    take(2, { endpoints: [endpoint("v")], removedEndpointIds: ["t"] });
    // Not a moment later: nothing says that there is one.
    const other = new NetworkState({ clock, log: silentLog });
    await other.nodeIs("me", memory);
    equal(text(other.current()), "service s, endpoint u, endpoint v");
    await other.rest();
  });

  it("writes what changed, together what changes during a write", async () => {
    full(1, { services: [service("s")], endpoints: [endpoint("t")] });
    for (let number = 2; number < 50; number++) {
      take(number, { endpoints: [endpoint("t", number % 2 === 0)] });
    }
    await settled();
    deepEqual(memory.writes, [["endpoint/t", "service/s"], ["endpoint/t"]]);
    take(50, { endpoints: [endpoint("t", true)] });
    await settled();
    deepEqual(memory.writes.slice(2), [["endpoint/t"]]);
  });

  it("tries again later when the disk is full", async () => {
    memory.isFull = true;
    full(1, { services: [service("s")] });
    await settled();
    take(2, { services: [service("q")] });
    memory.isFull = false;
    await clock.advance(9_999);
    deepEqual(memory.writes, []);
    await clock.advance(1);
    deepEqual(memory.writes, [["service/q", "service/s"]]);
  });

  it("goes without what cannot be read", async () => {
    memory.load = () => Promise.reject(new Error("garbled"));
    const other = new NetworkState({ clock, log: silentLog });
    await other.nodeIs("me", memory);
    equal(text(other.current()), "");
    await other.rest();
  });

  it("tells once it knows what the node takes part in, be it nothing", async () => {
    for (const learn of [
      async (made: NetworkState) => made.left(),
      (made: NetworkState) => made.nodeIs("me", memory),
      (made: NetworkState) =>
        made.nodeIs("me", {
          load: () => Promise.reject(new Error("no disk")),
          write: async () => {},
        }),
    ]) {
      const made = new NetworkState({ clock, log: silentLog });
      let isKnown = false;
      const known = made.known.then(() => {
        isKnown = true;
      });
      await settled();
      equal(isKnown, false);
      await learn(made);
      await known;
      await made.rest();
    }
  });

  it("knows nothing any more once the node has left, unless it is in another cluster by then", async () => {
    full(1, { services: [service("s")] });
    state.left();
    equal(text(state.current()), "service s");
    await state.rest();
    state.left();
    equal(text(state.current()), "");
    deepEqual(heard, ["services s", "services s"]);
    await settled();
    deepEqual([...memory.entries.keys()], ["service/s"]);
  });
});

function text({ peers, networks, services, endpoints }: ClusterState): string {
  const all = Object.entries({ peer: peers, network: networks, service: services });
  return [...all, ["endpoint", endpoints] as const]
    .flatMap(([kind, map]) => [...map.keys()].map((id) => `${kind} ${id}`))
    .join(", ");
}

function changeText(change: StateChange): string {
  return Object.entries(change)
    .filter(([, ids]) => ids.size > 0)
    .map(([kind, ids]) => `${kind} ${[...ids].join(" ")}`)
    .join(" ");
}
