/**
 * The agent's session: registration, heartbeats, and the way from manager to manager.
 */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import type { KnownManager } from "../../../agent/choose-manager.ts";
import { type DispatcherStream, Session } from "../../../agent/session.ts";
import {
  type AgentMessage,
  NodeDescription,
  SessionMessage,
} from "../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../src/common/log/log.ts";
import type { Random } from "../../../src/common/random/random.ts";
import { MessageQueue, settled } from "../../support/message-queue.ts";

/** Draws the least: the first manager, no spread, half of a retry's pause. */
const random: Random = { float: () => 0, int: () => 0, bytes: (length) => new Uint8Array(length) };

/** The manager's end of one session. */
class FakeStream implements DispatcherStream {
  readonly messages = new MessageQueue<SessionMessage>();
  readonly sent: AgentMessage[] = [];
  readonly manager: KnownManager;
  isClosed = false;

  constructor(manager: KnownManager) {
    this.manager = manager;
  }

  send(message: AgentMessage): void {
    this.sent.push(message);
  }

  close(): void {
    this.isClosed = true;
    this.messages.end(new Error("closed"));
  }

  say(fields: Partial<SessionMessage>): Promise<void> {
    this.messages.push(SessionMessage.create(fields));
    return settled();
  }

  beats(): number {
    return this.sent.filter((message) => message.heartbeat !== undefined).length;
  }
}

/** An agent's session with its surroundings. */
class Bench {
  readonly clock = new FakeClock();
  readonly stop = new AbortController();
  readonly streams: FakeStream[] = [];
  readonly heard: SessionMessage[] = [];
  readonly removals: string[] = [];
  readonly connected: (boolean | string)[] = [];
  managers: KnownManager[] = [
    { nodeId: "a", address: "a:1" },
    { nodeId: "b", address: "b:1" },
  ];
  refusal: Error | undefined;
  /** Whether the way to managers is free. */
  isFree = true;
  identity = { nodeId: "n", advertiseAddress: "n:1", dataPathAddress: "d" };
  readonly session: Session;
  readonly run: Promise<void>;

  constructor(parts: Partial<Pick<Bench, "managers" | "refusal" | "isFree">> = {}) {
    Object.assign(this, parts);
    this.session = new Session(
      {
        connect: async (manager, signal) => {
          if (this.refusal !== undefined) throw this.refusal;
          const stream = new FakeStream(manager);
          signal.addEventListener("abort", () => stream.messages.end(signal.reason), {
            once: true,
          });
          this.streams.push(stream);
          return stream;
        },
        probe: async () => this.isFree,
        managers: () => this.managers,
        description: () => NodeDescription.create({ hostname: "h" }),
        identity: () => this.identity,
        onMessage: async (message) => void this.heard.push(message),
        onConnected: (connected, error) =>
          void this.connected.push(connected || (error instanceof Error ? error.message : "")),
        onRemoved: (error) => void this.removals.push(error.message),
        seenIndex: () => 0,
      },
      { clock: this.clock, random, log: silentLog },
    );
    this.run = this.session.run(this.stop.signal);
  }

  /** The stream of the present session. */
  stream(): FakeStream {
    const stream = this.streams.at(-1);
    assert.ok(stream !== undefined, "a manager was called");
    return stream;
  }

  /** Registers with the first manager. */
  async registered(fields: Partial<SessionMessage> = {}): Promise<FakeStream> {
    await settled();
    const stream = this.stream();
    await stream.say({ sessionId: "s", heartbeatPeriodMs: 5000, stateIndex: 3, ...fields });
    return stream;
  }
}

describe("agent/session", () => {
  let bench: Bench;
  afterEach(async () => {
    bench.stop.abort();
    await bench.run;
  });

  it("says who the node is, and nothing more before the answer", async () => {
    bench = new Bench();
    await settled();
    await bench.clock.advance(9_999);
    const { sent, manager } = bench.stream();
    assert.equal(manager.nodeId, "a");
    assert.equal(sent.length, 1);
    assert.deepEqual(sent[0]?.hello, {
      description: NodeDescription.create({ hostname: "h" }),
      advertiseAddress: "n:1",
      dataPathAddress: "d",
      seenIndex: 0,
      ownAddresses: [],
    });
    assert.deepEqual(bench.connected, []);
  });

  it("says where the node is now when it registers again", async () => {
    bench = new Bench();
    await bench.registered();
    bench.identity = { nodeId: "n", advertiseAddress: "n:2", dataPathAddress: "e" };
    bench.session.reconnect();
    await settled();
    await bench.clock.advance(50);
    const hello = bench.stream().sent[0]?.hello;
    assert.equal(bench.streams.length, 2);
    assert.equal(hello?.advertiseAddress, "n:2");
    assert.equal(hello?.dataPathAddress, "e");
  });

  it("leaves a manager that has not answered the registration for 10 s", async () => {
    bench = new Bench();
    await settled();
    await bench.clock.advance(10_000);
    assert.ok(bench.streams[0]?.isClosed);
    assert.deepEqual(bench.connected, ["closed"]);
    await bench.clock.advance(50);
    assert.equal(bench.stream().manager.nodeId, "b");
  });

  it("is connected once the manager has answered and the node has taken that in", async () => {
    bench = new Bench();
    await bench.registered();
    assert.deepEqual(bench.connected, [true]);
    assert.equal(bench.heard[0]?.sessionId, "s");
  });

  it("beats with the manager's period", async () => {
    bench = new Bench();
    const stream = await bench.registered();
    await bench.clock.advance(4_999);
    assert.equal(stream.beats(), 0);
    await bench.clock.advance(1);
    assert.ok(stream.sent.at(-1)?.heartbeat);
    await stream.say({ stateIndex: 2 });
    await bench.clock.advance(5_000);
    assert.equal(stream.beats(), 2);
    assert.ok(stream.sent.at(-1)?.heartbeat);
  });

  it("beats with a period below the default from the first beat on", async () => {
    bench = new Bench();
    const stream = await bench.registered({ heartbeatPeriodMs: 1000 });
    await bench.clock.advance(1000);
    assert.equal(stream.beats(), 1);
  });

  it("takes up another period at once", async () => {
    bench = new Bench();
    const stream = await bench.registered({ heartbeatPeriodMs: 60_000 });
    await bench.clock.advance(10_000);
    await stream.say({ heartbeatPeriodMs: 2000 });
    await bench.clock.advance(0);
    assert.equal(stream.beats(), 1);
    await bench.clock.advance(2000);
    assert.equal(stream.beats(), 2);
  });

  it("is not kept from beating by messages", async () => {
    bench = new Bench();
    const stream = await bench.registered({ heartbeatPeriodMs: 1000 });
    for (let i = 0; i < 10; i++) {
      await bench.clock.advance(500);
      await stream.say({ heartbeatPeriodMs: 1000 });
    }
    assert.equal(stream.beats(), 5);
  });

  it("leaves a manager that is silent for four periods, for another one", async () => {
    bench = new Bench();
    const stream = await bench.registered();
    await bench.clock.advance(20_000);
    assert.ok(!stream.isClosed);
    await bench.clock.advance(5_000);
    assert.ok(stream.isClosed);
    await bench.clock.advance(50);
    assert.equal(bench.stream().manager.nodeId, "b");
    assert.deepEqual(bench.connected, [true, "closed"]);
  });

  it("begins anew as soon as a way that was cut is free again", async () => {
    bench = new Bench();
    const stream = await bench.registered();
    await bench.clock.advance(5_000);
    bench.isFree = false;
    await bench.clock.advance(3_000);
    assert.ok(!stream.isClosed);
    bench.isFree = true;
    await bench.clock.advance(500);
    assert.ok(stream.isClosed);
    await bench.clock.advance(50);
    assert.equal(bench.streams.length, 2);
  });

  it("stays with a manager that is slow to answer while the way is free", async () => {
    bench = new Bench();
    const stream = await bench.registered();
    await bench.clock.advance(12_000);
    assert.ok(!stream.isClosed);
    bench.isFree = false;
    await bench.clock.advance(1_000);
    // What was lost has come after all.
    await stream.say({});
    bench.isFree = true;
    await bench.clock.advance(3_000);
    assert.ok(!stream.isClosed);
  });

  it("begins no connection while the way is cut", async () => {
    bench = new Bench({ isFree: false });
    await settled();
    await bench.clock.advance(3_000);
    assert.equal(bench.streams.length, 0);
    assert.match(`${bench.connected[0]}`, /^no answer from the manager at a:1$/);
    bench.isFree = true;
    await bench.clock.advance(2_000);
    assert.equal(bench.streams.length, 1);
  });

  it("stays with a manager that answers", async () => {
    bench = new Bench();
    const stream = await bench.registered();
    for (let i = 0; i < 20; i++) {
      await bench.clock.advance(5_000);
      await stream.say({});
    }
    assert.ok(!stream.isClosed);
    assert.equal(stream.beats(), 20);
  });

  const ends: readonly (readonly [string, (stream: FakeStream) => unknown, string])[] = [
    [
      "is asked to go elsewhere",
      (stream) => stream.say({ goElsewhere: true }),
      "the manager asked the agent to go elsewhere",
    ],
    ["sees the stream end", (stream) => stream.messages.end(), "the manager ended the session"],
    ["sees the stream fail", (stream) => stream.messages.end(new Error("reset")), "reset"],
    ["is told to reconnect", () => bench.session.reconnect(), "closed"],
  ];
  for (const [fact, end, why] of ends) {
    it(`goes to another manager when it ${fact}`, async () => {
      bench = new Bench();
      const stream = await bench.registered();
      end(stream);
      await settled();
      assert.deepEqual(bench.connected, [true, why]);
      assert.ok(stream.isClosed);
      await bench.clock.advance(50);
      assert.equal(bench.stream().manager.nodeId, "b");
      assert.equal(bench.stream().sent[0]?.hello?.seenIndex, 3);
    });
  }

  it("tries again after growing pauses while nobody can be reached", async () => {
    bench = new Bench({ refusal: new Error("refused") });
    await settled();
    for (const pauseMs of [50, 100, 200, 400]) {
      const tries = bench.connected.length;
      await bench.clock.advance(pauseMs - 1);
      assert.equal(bench.connected.length, tries);
      await bench.clock.advance(1);
      assert.equal(bench.connected.length, tries + 1);
    }
    bench.refusal = undefined;
    await bench.clock.advance(800);
    await bench.registered();
    bench.stream().messages.end();
    await settled();
    await bench.clock.advance(50);
    assert.equal(bench.streams.length, 2);
  });

  it("asks nobody any more once it is told that the node was removed", async () => {
    const refusal = new ClusterError("permission-denied", "gone", { fields: { removed: true } });
    bench = new Bench({ refusal });
    await bench.run;
    assert.deepEqual(bench.removals, ["gone"]);
    assert.deepEqual(bench.connected, ["gone"]);
  });

  it("goes on asking when it is refused for another reason", async () => {
    bench = new Bench({ refusal: new ClusterError("permission-denied", "not known") });
    await settled();
    await bench.clock.advance(1_000);
    assert.deepEqual(bench.removals, []);
    assert.ok(bench.connected.length > 1);
  });

  it("waits for a manager to become known", async () => {
    bench = new Bench({ managers: [] });
    await settled();
    await bench.clock.advance(50);
    assert.equal(bench.streams.length, 0);
    bench.managers = [{ nodeId: "c", address: "c:1" }];
    await bench.clock.advance(100);
    assert.equal(bench.stream().manager.nodeId, "c");
  });

  it("sends a new description over the open stream only", async () => {
    bench = new Bench({ refusal: new Error("refused") });
    await settled();
    bench.session.say({ description: NodeDescription.create({ hostname: "lost" }) });
    bench.refusal = undefined;
    await bench.clock.advance(50);
    const stream = await bench.registered();
    bench.session.say({ description: NodeDescription.create({ hostname: "new" }) });
    assert.equal(stream.sent.at(-1)?.description?.hostname, "new");
  });

  it("says goodbye, and has said it when the manager ends the session", async () => {
    bench = new Bench();
    const stream = await bench.registered();
    let isSaid = false;
    const goodbye = bench.session.sayGoodbye().then(() => {
      isSaid = true;
    });
    await settled();
    assert.equal(stream.sent.at(-1)?.leaving, true);
    assert.equal(isSaid, false);
    stream.messages.end();
    await goodbye;
  });

  it("needs nobody for its goodbye when there is no session", async () => {
    bench = new Bench({ refusal: new Error("refused") });
    await settled();
    await bench.session.sayGoodbye();
  });

  it("ends in a session, between two, and while it connects, and leaves nothing behind", async () => {
    bench = new Bench();
    const stream = await bench.registered();
    bench.stop.abort();
    await bench.run;
    assert.ok(stream.isClosed);
    assert.deepEqual(bench.connected, [true]);
    assert.equal(getEventListeners(bench.stop.signal, "abort").length, 0);

    bench = new Bench({ refusal: new Error("refused") });
    await settled();
    bench.stop.abort();
    await bench.run;
  });
});
