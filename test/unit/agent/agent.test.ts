/**
 * The agent: what it does with the messages of its manager, and which managers it knows.
 */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { Agent } from "../../../agent/agent.ts";
import type { KnownManager } from "../../../agent/choose-manager.ts";
import { NetworkState } from "../../../agent/network/state.ts";
import { memoryStorage } from "../../../agent/storage.ts";
import {
  type AgentMessage,
  NetworkPeer,
  NetworkUpdate,
  Node,
  Peer,
  SessionMessage,
  WeightedPeer,
} from "../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../src/common/clock/clock.ts";
import { silentLog } from "../../../src/common/log/log.ts";
import { seededRandom } from "../../../src/common/random/random.ts";
import { FakeExecutor } from "../../support/fake-executor.ts";
import { MessageQueue, settled } from "../../support/message-queue.ts";

const a: KnownManager = { nodeId: "a", address: "a:1" };
const b: KnownManager = { nodeId: "b", address: "b:1" };

function peers(...managers: readonly KnownManager[]): WeightedPeer[] {
  return managers.map((m) => WeightedPeer.create({ peer: Peer.create(m), weight: 1 }));
}

describe("agent/agent", () => {
  let clock: FakeClock;
  let stop: AbortController;
  let agent: Agent;
  let run: Promise<void>;
  let called: KnownManager[];
  let messages: MessageQueue<SessionMessage>;
  let told: unknown[];
  let sent: AgentMessage[];
  let network: NetworkState;
  let isRefused: boolean;

  beforeEach(async () => {
    sent = [];
    [clock, stop, called, told, isRefused] = [
      new FakeClock(),
      new AbortController(),
      [],
      [],
      false,
    ];
    network = new NetworkState({ clock, log: silentLog });
    agent = new Agent({
      identity: () => ({ nodeId: "n", advertiseAddress: "n:1", dataPathAddress: "d" }),
      managers: [a],
      executor: new FakeExecutor(),
      network,
      openStorage: async () => memoryStorage(),
      connect: async (manager, signal) => {
        called.push(manager);
        if (isRefused) throw new Error("refused");
        const queue = new MessageQueue<SessionMessage>();
        messages = queue;
        signal.addEventListener("abort", () => queue.end(signal.reason), { once: true });
        return {
          send: (said) => void sent.push(said),
          messages: queue,
          close: () => queue.end(new Error("closed")),
        };
      },
      probe: async () => true,
      onManagers: (managers) => void told.push(managers),
      onNode: (node) => void told.push(node.id),
      onRoots: (pem) => void told.push(pem),
      tunnels: {
        dial: (manager) => {
          throw new Error(`dialled ${manager.address}`);
        },
        serve: () => {},
      },
      onRemoved: (error) => void told.push(error),
      clock,
      random: seededRandom(1),
      log: silentLog,
    });
    run = agent.run(stop.signal);
    await settled();
  });
  afterEach(async () => {
    stop.abort();
    await run;
  });

  function say(fields: Partial<SessionMessage>): Promise<void> {
    messages.push(SessionMessage.create(fields));
    return settled();
  }

  async function reconnected(): Promise<void> {
    agent.reconnect();
    await settled();
    await clock.advance(100);
  }

  it("hands on what a message says, and nothing that it does not say", async () => {
    await say({ sessionId: "s" });
    assert.deepEqual(told, []);
    await say({
      managers: peers(a, b),
      rootCa: Buffer.from("PEM"),
      node: Node.create({ id: "n" }),
    });
    assert.deepEqual(told, [[a, b], "PEM", "n"]);
  });

  it("is connected from the registration to the end of the session", async () => {
    assert.deepEqual(agent.status(), { connected: false, error: undefined });
    await say({ sessionId: "s" });
    assert.deepEqual(agent.status(), { connected: true, error: undefined });
    const lost = new Error("lost");
    messages.end(lost);
    await settled();
    assert.deepEqual(agent.status(), { connected: false, error: lost });
  });

  it("is not connected any more when it was stopped", async () => {
    await say({ sessionId: "s" });
    stop.abort();
    await run;
    assert.deepEqual(agent.status(), { connected: false, error: undefined });
  });

  it("lets everybody go on who waits for the registration, and leaves nothing behind", async () => {
    const limit = new AbortController();
    const waits = [agent.registered(limit.signal), agent.registered(limit.signal)];
    await say({ sessionId: "s" });
    await Promise.all(waits);
    await agent.registered(limit.signal);
    assert.equal(getEventListeners(limit.signal, "abort").length, 0);
  });

  it("lets the wait for the registration be given up", async () => {
    const limit = new AbortController();
    const wait = agent.registered(limit.signal);
    limit.abort(new Error("too long"));
    await assert.rejects(wait, /too long/);
    await assert.rejects(agent.registered(limit.signal), /too long/);
    await say({ sessionId: "s" });
  });

  it("goes to the managers it was told of last", async () => {
    await say({ sessionId: "s", managers: peers(b) });
    assert.deepEqual(agent.managers(), [b]);
    await reconnected();
    assert.deepEqual(called, [a, b]);
  });

  it("keeps the managers it knows when a message names none", async () => {
    await say({ sessionId: "s", managers: [WeightedPeer.create({ weight: 1 })] });
    await say({ managers: [] });
    assert.deepEqual(agent.managers(), [a]);
    assert.deepEqual(told, []);
  });

  it("prefers the node's own manager while that runs", async () => {
    const own: KnownManager = { nodeId: "n", address: "n:1" };
    agent.addManager({ ...own, address: "n:0" });
    agent.addManager(own);
    assert.deepEqual(agent.managers(), [own, a]);
    await reconnected();
    assert.deepEqual(called, [a, own]);
    agent.removeManager("n");
    assert.deepEqual(agent.managers(), [a]);
  });

  it("shows why it has no session", async () => {
    isRefused = true;
    await reconnected();
    assert.match(String(agent.status().error), /refused/);
  });

  it("hands on what it is told of the data path, and asks for all of it when a message is missing", async () => {
    const full = { number: 1, full: true, first: true, last: true };
    const peers = [NetworkPeer.create({ nodeId: "n", number: 7 })];
    await say({ sessionId: "s", network: NetworkUpdate.create({ ...full, peers }) });
    assert.equal(network.current().self?.number, 7);
    const asked = () => sent.filter((message) => message.resynchroniseNetwork).length;
    assert.equal(asked(), 0);
    await say({ network: NetworkUpdate.create({ number: 3 }) });
    assert.equal(asked(), 1);
    await reconnected();
    await say({ sessionId: "t", network: NetworkUpdate.create({ ...full, peers: [] }) });
    assert.equal(network.current().self, undefined);
    assert.equal(asked(), 1);
  });

  it("says when the kernel holds what it was told, and not before it was told all", async () => {
    let done: () => void = () => {};
    network.settledBy(
      () =>
        new Promise((resolve) => {
          done = resolve;
        }),
    );
    const said = () => sent.flatMap(({ networkSettled }) => networkSettled ?? []);
    const piece = { full: true, first: true, last: false };
    await say({ sessionId: "s", network: NetworkUpdate.create({ ...piece, number: 1 }) });
    await say({ settleNetwork: 1 });
    done();
    await say({ network: NetworkUpdate.create({ number: 2, full: true, last: true }) });
    assert.deepEqual(said(), []);
    done();
    await say({});
    assert.deepEqual(said(), [1]);
    await say({ settleNetwork: 2 });
    const ofBefore = done;
    await reconnected();
    await say({
      sessionId: "t",
      network: NetworkUpdate.create({ ...piece, number: 1, last: true }),
    });
    ofBefore();
    await say({});
    assert.deepEqual(said(), [1]);
  });
});
