/**
 * The manager's side of agent sessions: registration, heartbeats, news, and how sessions end.
 */
import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { NetworkIndex } from "../../../../manager/dispatcher/network-index.ts";
import { type SessionCall, Sessions } from "../../../../manager/dispatcher/sessions.ts";
import {
  AgentHello,
  AgentMessage,
  type Assignments,
  EngineDescription,
  type NetworkUpdate,
  Node,
  NodeDescription,
  type NodeReport,
  NodeSpec,
  NodeStatus,
  Peer,
  type SessionMessage,
  Task,
  TaskStatus,
  TaskStatusReport,
  WeightedPeer,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError, type ErrorCode } from "../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import { localStore } from "../../../support/local-log.ts";
import { MessageQueue, settled } from "../../../support/message-queue.ts";

const description = NodeDescription.create({ hostname: "h" });

/** An agent's end of one call. */
class FakeAgent implements SessionCall {
  readonly nodeId: string;
  readonly address = "192.0.2.1";
  readonly messages = new MessageQueue<AgentMessage>();
  readonly stop = new AbortController();
  readonly signal = this.stop.signal;
  /** All but assignments and data path. */
  readonly heard: SessionMessage[] = [];
  readonly assigned: Assignments[] = [];
  readonly networked: NetworkUpdate[] = [];
  /** How the call ended; undefined while it runs. */
  end: "ended" | ClusterError | Error | undefined;

  constructor(nodeId: string) {
    this.nodeId = nodeId;
  }

  async send(message: SessionMessage): Promise<void> {
    if (message.assignments !== undefined) this.assigned.push(message.assignments);
    else if (message.network !== undefined) this.networked.push(message.network);
    else this.heard.push(message);
  }

  say(fields: Partial<AgentMessage>): Promise<void> {
    this.messages.push(AgentMessage.create(fields));
    return settled();
  }

  hello(fields: Partial<AgentHello> = {}): Promise<void> {
    return this.say({ hello: AgentHello.create({ description, ...fields }) });
  }

  beat(): Promise<void> {
    return this.say({ heartbeat: {} });
  }

  /** The last message heard. */
  last(): SessionMessage {
    const message = this.heard.at(-1);
    assert.ok(message !== undefined, "the agent heard something");
    return message;
  }

  endedWith(code: ErrorCode, text: string | RegExp): void {
    assert.ok(this.end instanceof ClusterError, `ended with ${this.end}`);
    assert.equal(this.end.code, code);
    assert.match(this.end.message, new RegExp(text));
  }
}

describe("manager/dispatcher/sessions", () => {
  let clock: FakeClock;
  let sessions: Sessions;
  let nodes: Map<string, Node>;
  let periodMs: number;
  let stateIndex: number;
  let reports: NodeReport[];
  let alive: string[];
  let agents: FakeAgent[];
  let tasks: Map<string, Task>;
  let hasLeader: boolean;
  let taken: string[];
  let commit: () => void;
  const managers = [
    WeightedPeer.create({ peer: Peer.create({ nodeId: "m", address: "m:1" }), weight: 1 }),
  ];

  beforeEach(() => {
    [clock, nodes, periodMs] = [new FakeClock(), new Map(), 5000];
    [reports, alive, agents] = [[], [], []];
    [stateIndex, tasks, hasLeader, taken] = [42, new Map(), true, []];
    nodes.set("n", Node.create({ id: "n", role: "worker" }));
    sessions = new Sessions(
      {
        node: (id) => nodes.get(id),
        managers: () => managers,
        heartbeatPeriodMs: () => periodMs,
        roots: () => Buffer.from("PEM"),
        stateIndex: () => stateIndex,
        report: (report) => reports.push(report),
        alive: (nodeId) => alive.push(nodeId),
        assignments: {
          tasksOfNode: () => tasks.values(),
          secret: () => undefined,
          config: () => undefined,
        },
        network: new NetworkIndex({
          view: () => localStore().store.view(),
          taskIds: () => [],
          soon: (run) => run(),
        }),
        upToDate: async () => {
          if (!hasLeader) throw new ClusterError("unavailable", "no leader");
        },
        takeStatuses: (nodeId, report) =>
          new Promise((resolve) => {
            taken.push(`${nodeId} ${report.number}`);
            commit = resolve;
          }),
      },
      { clock, random: seededRandom(1), log: silentLog },
    );
  });
  afterEach(async () => {
    sessions.close();
    await settled();
    for (const agent of agents) assert.ok(agent.end !== undefined, "every call ends");
  });

  async function called(nodeId = "n", agent = new FakeAgent(nodeId)): Promise<FakeAgent> {
    agents.push(agent);
    sessions.serve(agent).then(
      () => {
        agent.end = "ended";
      },
      (error) => {
        agent.end = error;
      },
    );
    await settled();
    return agent;
  }

  async function registered(nodeId = "n"): Promise<FakeAgent> {
    const agent = await called(nodeId);
    await agent.hello();
    return agent;
  }

  describe("asked whether the nodes hold what they were told of the data path", () => {
    /** What agents were asked for last. */
    const asked = (agent: FakeAgent) =>
      agent.heard.map(({ settleNetwork }) => settleNetwork).at(-1);

    it("waits for the word of each agent, and asks once", async () => {
      nodes.set("o", Node.create({ id: "o", role: "worker" }));
      const [a, b] = [await registered("n"), await registered("o")];
      let count: number | undefined;
      const ask = async () => {
        count = undefined;
        void sessions.settled().then((settledNow) => {
          count = settledNow;
        });
        await settled();
      };
      await ask();
      assert.equal(asked(a), 1);
      assert.equal(asked(b), 1);
      await a.say({ networkSettled: 1 });
      assert.equal(count, undefined);
      await b.say({ networkSettled: 1 });
      assert.equal(count, 2);
      const { length } = a.heard;
      await ask();
      assert.equal(count, 2);
      assert.equal(a.heard.length, length);
    });

    it("does not count those that go meanwhile, nor those that have not begun", async () => {
      const agent = await registered();
      await called("o");
      const answer = sessions.settled();
      await agent.say({ leaving: true });
      assert.equal(await answer, 0);
      assert.equal(await sessions.settled(), 0);
    });
  });

  describe("at the beginning", () => {
    it("welcomes an agent with everything it needs", async () => {
      const agent = await called();
      assert.deepEqual(agent.heard, []);
      await agent.hello();
      const { sessionId, ...rest } = agent.last();
      assert.match(sessionId, /^[0-9a-z]{25}$/);
      assert.deepEqual(rest, {
        node: nodes.get("n"),
        managers,
        heartbeatPeriodMs: 5000,
        rootCa: Buffer.from("PEM"),
        stateIndex: 42,
        goElsewhere: false,
        assignments: undefined,
        network: undefined,
        settleNetwork: 0,
        statusesTaken: 0,
        tunnels: [],
      });
      assert.deepEqual(sessions.nodeIds(), ["n"]);
    });

    it("reports the node as ready, with what it says of itself", async () => {
      const agent = await called();
      await agent.hello({ advertiseAddress: "10.0.0.1:2377", dataPathAddress: "10.1.0.1" });
      const [report] = reports;
      assert.equal(report?.nodeId, "n");
      assert.equal(report?.state, "ready");
      assert.equal(report?.address, "10.0.0.1");
      assert.equal(report?.dataPathAddress, "10.1.0.1");
      assert.deepEqual(report?.description, description);
      assert.deepEqual(alive, ["n"]);
    });

    const addresses: readonly (readonly [string, string])[] = [
      ["", "192.0.2.1"],
      ["10.0.0.1:2377", "10.0.0.1"],
      ["10.0.0.1", "10.0.0.1"],
      ["[fd00::1]:2377", "fd00::1"],
      ["fd00::1", "fd00::1"],
    ];
    for (const [advertiseAddress, address] of addresses) {
      it(`knows the node by ${address} when it advertises ${JSON.stringify(advertiseAddress)}`, async () => {
        await (await called()).hello({ advertiseAddress });
        assert.equal(reports[0]?.address, address);
      });
    }

    it("refuses a node that is not there", async () => {
      (await called("stranger")).endedWith("not-found", "node stranger is not a member");
    });

    it("cuts an agent that says nothing for 10 s, however long its period", async () => {
      periodMs = 60_000;
      const agent = await called();
      await clock.advance(9_999);
      assert.equal(agent.end, undefined);
      await clock.advance(1);
      agent.endedWith("deadline-exceeded", "did not register");
      assert.deepEqual(reports, []);
    });

    const early: readonly (readonly [string, Partial<AgentMessage>])[] = [
      ["a heartbeat", { heartbeat: {} }],
      ["a description", { description }],
      ["a goodbye", { leaving: true }],
      ["an empty message", {}],
    ];
    for (const [fact, message] of early) {
      it(`refuses ${fact} before the hello, and learns nothing from it`, async () => {
        const agent = await called();
        await agent.say(message);
        agent.endedWith("failed-precondition", "begins with the agent's hello");
        assert.deepEqual([reports, alive], [[], []]);
      });
    }

    it("refuses a description that is too large, saying what to do", async () => {
      const labels = { large: "x".repeat(17_000) };
      const engine = EngineDescription.create({ labels });
      const agent = await called();
      await agent.hello({ description: NodeDescription.create({ engine }) });
      agent.endedWith("invalid-argument", /^the description of the node has \d+ bytes.*labels$/);
      assert.deepEqual([reports, alive], [[], []]);
    });

    it("tells an agent that has not registered no news", async () => {
      const agent = await called();
      sessions.nodeChanged("n");
      sessions.clusterChanged();
      assert.deepEqual(agent.heard, []);
    });

    it("takes no call that was given up already", async () => {
      const agent = new FakeAgent("n");
      agent.stop.abort(new ClusterError("cancelled", "gone"));
      await called("n", agent);
      agent.endedWith("cancelled", "gone");
      assert.deepEqual(sessions.nodeIds(), []);
    });
  });

  describe("while it lasts", () => {
    it("answers heartbeats, and notes them as signs of life", async () => {
      const agent = await registered();
      await agent.beat();
      assert.equal(agent.heard.length, 2);
      assert.equal(agent.last().stateIndex, 42);
      assert.equal(agent.last().sessionId, "");
      assert.deepEqual(alive, ["n", "n"]);
      assert.equal(reports.length, 1);
    });

    it("reports a new description", async () => {
      const agent = await registered();
      await agent.say({ description: NodeDescription.create({ hostname: "new" }) });
      assert.equal(reports[1]?.description?.hostname, "new");
      assert.equal(reports[1]?.state, "ready");
      assert.equal(reports[1]?.address, "");
    });

    it("tells the agent when its role or its spec changed", async () => {
      const agent = await registered();
      const changed = Node.create({ id: "n", role: "manager" });
      nodes.set("n", changed);
      sessions.nodeChanged("n");
      assert.deepEqual(agent.last().node, changed);
      const spec = NodeSpec.create({ availability: "drain" });
      nodes.set("n", Node.create({ ...changed, spec }));
      sessions.nodeChanged("n");
      assert.equal(agent.last().node?.spec?.availability, "drain");
      assert.equal(agent.heard.length, 3);
    });

    it("does not tell the agent what it reported itself", async () => {
      const agent = await registered();
      const status = NodeStatus.create({ state: "ready" });
      nodes.set("n", Node.create({ ...nodes.get("n"), status, description }));
      sessions.nodeChanged("n");
      sessions.nodeChanged("another");
      assert.equal(agent.heard.length, 1);
    });

    it("tells every agent of new managers, period and roots", async () => {
      nodes.set("o", Node.create({ id: "o" }));
      const two = [await registered(), await registered("o")];
      periodMs = 1000;
      sessions.clusterChanged();
      for (const agent of two) {
        assert.equal(agent.last().heartbeatPeriodMs, 1000);
        assert.deepEqual(agent.last().managers, managers);
        assert.equal(agent.last().node, undefined);
      }
    });

    it("lets agents go elsewhere, and serves them until they have gone", async () => {
      const agent = await registered();
      sessions.sendElsewhere();
      assert.equal(agent.last().goElsewhere, true);
      await agent.beat();
      assert.equal(agent.end, undefined);
    });

    it("tells an agent that has heard more elsewhere nothing before it has caught up", async () => {
      const agent = await called();
      await agent.hello({ seenIndex: 50 });
      await clock.advance(1_000);
      assert.deepEqual(agent.heard, []);
      assert.equal(reports.length, 1);
      stateIndex = 50;
      await clock.advance(50);
      assert.notEqual(agent.last().sessionId, "");
      assert.equal(agent.last().stateIndex, 50);
    });

    it("serves an agent all the same that has heard of a state which does not come any more", async () => {
      const agent = await called();
      await agent.hello({ seenIndex: 50 });
      for (let i = 0; i < 70; i++) await clock.advance(50);
      assert.notEqual(agent.last().sessionId, "");
    });

    it("keeps nothing of a message that was taken", async () => {
      const agent = await registered();
      const taken: WeakRef<AgentMessage>[] = [];
      for (let i = 0; i < 5; i++) {
        const message = AgentMessage.create({ heartbeat: {} });
        taken.push(new WeakRef(message));
        agent.messages.push(message);
        await settled();
      }
      await agent.beat();
      setFlagsFromString("--expose_gc");
      (runInNewContext("gc") as () => void)();
      await settled();
      assert.ok(taken.slice(0, 4).every((message) => message.deref() === undefined));
    });
  });

  describe("at the end", () => {
    it("cuts an agent that missed three heartbeats", async () => {
      const agent = await registered();
      await clock.advance(14_999);
      assert.equal(agent.end, undefined);
      await clock.advance(1);
      agent.endedWith("deadline-exceeded", "heartbeat failure");
      assert.deepEqual(sessions.nodeIds(), []);
    });

    it("counts the missed ones from the last", async () => {
      const agent = await registered();
      await clock.advance(14_000);
      await agent.beat();
      await clock.advance(14_999);
      assert.equal(agent.end, undefined);
      await clock.advance(1);
      agent.endedWith("deadline-exceeded", "heartbeat failure");
    });

    it("ends the old session when the node opens a new one", async () => {
      const old = await registered();
      const now = await registered();
      old.endedWith("aborted", "opened a new session");
      assert.equal(now.end, undefined);
      assert.deepEqual(sessions.nodeIds(), ["n"]);
      sessions.clusterChanged();
      assert.equal(now.heard.length, 2);
    });

    it("ends the session of a removed node", async () => {
      const agent = await registered();
      nodes.delete("n");
      sessions.nodeChanged("n");
      await settled();
      agent.endedWith("permission-denied", "node n was removed");
    });

    it("reports a node as down that says goodbye", async () => {
      const agent = await registered();
      alive = [];
      await agent.say({ leaving: true });
      agent.endedWith("cancelled", "the node left");
      assert.equal(reports[1]?.state, "down");
      assert.equal(reports[1]?.message, "node left");
      assert.deepEqual(alive, []);
    });

    it("ends with the stream, and reports nothing: the node may be on its way to another manager", async () => {
      const agent = await registered();
      agent.messages.end();
      await settled();
      assert.equal(agent.end, "ended");
      assert.equal(reports.length, 1);
      assert.deepEqual(sessions.nodeIds(), []);
    });

    it("ends with the call", async () => {
      const agent = await registered();
      agent.stop.abort(new ClusterError("cancelled", "connection lost"));
      await settled();
      agent.endedWith("cancelled", "connection lost");
    });

    it("sends everybody away when the manager stops, and takes nobody in", async () => {
      const agent = await registered();
      sessions.close();
      await settled();
      assert.equal(agent.last().goElsewhere, true);
      agent.endedWith("unavailable", "stopping");
      (await called()).endedWith("unavailable", "stopping");
    });
  });

  describe("of assignments", () => {
    const task = (id: string, fields: Partial<Task> = {}) =>
      Task.create({
        id,
        nodeId: "n",
        desiredState: "running",
        status: TaskStatus.create({ state: "assigned" }),
        ...fields,
      });
    const said = (agent: FakeAgent) =>
      agent.assigned.map(({ number, full, first, last, tasks: some, removedTaskIds }) =>
        [
          `${number}${full ? " full" : ""}${first ? " first" : ""}${last ? " last" : ""}:`,
          ...some.map(({ id, desiredState }) => `${id}=${desiredState}`),
          ...removedTaskIds.map((id) => `-${id}`),
        ].join(" "),
      );
    const change = (after: Task) => {
      const before = tasks.get(after.id);
      tasks.set(after.id, after);
      sessions.taskChanged(before, after);
      return settled();
    };

    it("begins with the full set, empty or not", async () => {
      assert.deepEqual(said(await registered()), ["1 full first last:"]);
      tasks.set("a", task("a"));
      assert.deepEqual(said(await registered()), ["1 full first last: a=running"]);
    });

    it("goes on with what comes, changes and goes", async () => {
      const agent = await registered();
      await change(task("a"));
      await change(task("a", { desiredState: "shutdown" }));
      tasks.delete("a");
      sessions.taskRemoved(task("a"));
      await settled();
      assert.deepEqual(said(agent).slice(1), ["2: a=running", "3: a=shutdown", "4: -a"]);
    });

    it("does not tell the agent what it said itself, nor what is not yet the node's", async () => {
      const agent = await registered();
      await change(task("b", { status: TaskStatus.create({ state: "pending" }) }));
      const known = task("a");
      await change(known);
      await change({ ...known, status: TaskStatus.create({ state: "running" }) });
      assert.deepEqual(said(agent).slice(1), ["2: a=running"]);
    });

    it("tells nothing in full before the manager is up to date, which needs a leader", async () => {
      hasLeader = false;
      const agent = await registered();
      await change(task("a"));
      assert.deepEqual(said(agent), []);
      hasLeader = true;
      await clock.advance(500);
      assert.deepEqual(said(agent), ["1 full first last: a=running"]);
    });

    it("begins again when the agent missed something, and when the manager did", async () => {
      tasks.set("a", task("a"));
      const agent = await registered();
      await agent.say({ resynchronise: true });
      sessions.allChanged();
      await settled();
      assert.deepEqual(said(agent), [
        "1 full first last: a=running",
        "2 full first last: a=running",
        "3 full first last: a=running",
      ]);
    });

    it("ends when a message cannot be sent", async () => {
      const agent = await registered();
      agent.send = () => Promise.reject(new ClusterError("resource-exhausted", "too slow"));
      await change(task("a"));
      agent.endedWith("resource-exhausted", "too slow");
    });
  });

  describe("of statuses", () => {
    const report = (number: number, count = 1) =>
      TaskStatusReport.create({
        number,
        statuses: Array.from({ length: count }, () => ({ taskId: "t", status: undefined })),
      });

    it("passes them on, and says when they are committed", async () => {
      const agent = await registered();
      await agent.say({ statuses: report(1) });
      assert.deepEqual(taken, ["n 1"]);
      assert.equal(agent.last().statusesTaken, 0);
      commit();
      await settled();
      assert.equal(agent.last().statusesTaken, 1);
    });

    it("ends the session of an agent that sends more than can wait", async () => {
      const agent = await registered();
      await agent.say({ statuses: report(1, 20_000) });
      assert.equal(agent.end, undefined);
      await agent.say({ statuses: report(2) });
      agent.endedWith("resource-exhausted", "too many task statuses");
    });
  });
});
