/**
 * Events: from changes to messages, kept, followed, cut.
 */
import assert from "node:assert/strict";
import { Node, Secret, Service, Task } from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { eventsKeptMax, eventsWaitingMax } from "../../../../src/common/limits/limits.ts";
import { EventHub } from "../../../../src/engine/event-hub.ts";
import type { EventsPort, ObjectChange } from "../../../../src/engine/ports.ts";
import { type EventMessage, eventFromChange } from "../../../../src/engine/translate/event.ts";
import { bodyObject } from "../../../../src/engine/translate/reader.ts";
import { serviceSpecFromJson } from "../../../../src/engine/translate/service.ts";

const meta = { version: 1, createdAtMs: 1_500, updatedAtMs: 2_500 };

function service(Replicas: number, Image: string): Service {
  const body = {
    Name: "web",
    TaskTemplate: { ContainerSpec: { Image } },
    Mode: { Replicated: { Replicas } },
  };
  return Service.create({ id: "s", meta, spec: serviceSpecFromJson(bodyObject(body)) });
}

function secretNamed(name: string): Secret {
  const annotations = { name, labels: {} };
  return Secret.create({
    id: name,
    meta,
    spec: { annotations, data: new Uint8Array(0), driver: undefined, templating: undefined },
  });
}

const quiet: EventsPort = { changes: async function* () {} };
const numbered = (n: number): EventMessage => ({
  Type: "secret",
  Action: "create",
  Actor: { ID: String(n), Attributes: {} },
  scope: "swarm",
  time: n,
  timeNano: n,
});

describe("src/engine/translate/event", () => {
  it("tells name and time of a creation", () => {
    const event = eventFromChange(
      { kind: "create", table: "secret", object: secretNamed("key") },
      9_000,
    );
    assert.deepEqual(event, {
      Type: "secret",
      Action: "create",
      Actor: { ID: "key", Attributes: { name: "key" } },
      scope: "swarm",
      time: 1,
      timeNano: 1_500e6,
    });
  });

  it("takes the present for removals", () => {
    const event = eventFromChange(
      { kind: "remove", table: "secret", object: secretNamed("key") },
      9_000,
    );
    assert.equal(event?.time, 9);
  });

  it("says what an update of a service changed", () => {
    const change = {
      kind: "update",
      table: "service",
      object: service(3, "b"),
      old: service(1, "a"),
    } as const;
    assert.deepEqual(eventFromChange(change, 0)?.Actor.Attributes, {
      name: "web",
      "image.old": "a",
      "image.new": "b",
      "replicas.old": "1",
      "replicas.new": "3",
    });
    const started = {
      ...service(1, "a"),
      updateStatus: { state: "rollback-started", startedAtMs: 1, completedAtMs: 0, message: "" },
    } as const;
    const rolling = {
      kind: "update",
      table: "service",
      object: started,
      old: service(1, "a"),
    } as const;
    assert.deepEqual(eventFromChange(rolling, 0)?.Actor.Attributes, {
      name: "web",
      "updatestate.new": "rollback_started",
    });
  });

  it("says what an update of a node changed", () => {
    const before = Node.create({
      id: "n",
      role: "worker",
      status: { state: "ready", message: "", address: "" },
    });
    const after = Node.create({
      id: "n",
      role: "manager",
      status: { state: "down", message: "", address: "" },
    });
    const change = { kind: "update", table: "node", object: after, old: before } as const;
    assert.deepEqual(eventFromChange(change, 0)?.Actor.Attributes, {
      name: "",
      "role.old": "worker",
      "role.new": "manager",
      "state.old": "ready",
      "state.new": "down",
    });
  });

  it("is silent about tasks", () => {
    assert.equal(
      eventFromChange({ kind: "create", table: "task", object: Task.create() }, 0),
      undefined,
    );
  });
});

describe("src/engine/event-hub", () => {
  it("takes changes from its port", async () => {
    const changes: readonly ObjectChange[] = [
      { kind: "create", table: "secret", object: secretNamed("key") },
    ];
    const hub = new EventHub(
      {
        changes: async function* () {
          yield changes;
        },
      },
      new FakeClock(),
    );
    await hub.run(new AbortController().signal);
    assert.deepEqual(
      hub.kept().map(({ Actor }) => Actor.ID),
      ["key"],
    );
  });

  it("keeps the latest only", () => {
    const hub = new EventHub(quiet, new FakeClock());
    for (let i = 0; i < eventsKeptMax + 10; i++) hub.publish(numbered(i));
    assert.equal(hub.kept().length, eventsKeptMax);
    assert.equal(hub.kept()[0]?.time, 10);
  });

  it("hands every event to every follower from the call on, and ends with the signal", async () => {
    const hub = new EventHub(quiet, new FakeClock());
    const stop = new AbortController();
    hub.publish(numbered(0));
    const followers = [hub.follow(stop.signal), hub.follow(stop.signal)];
    hub.publish(numbered(1));
    const seen = followers.map(async (events) => {
      const times: number[] = [];
      for await (const { time } of events) if (times.push(time) === 3) stop.abort();
      return times;
    });
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (const n of [2, 3]) hub.publish(numbered(n));
    assert.deepEqual(await Promise.all(seen), [
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });

  it("cuts a follower that does not read", async () => {
    const hub = new EventHub(quiet, new FakeClock());
    const events = hub.follow(new AbortController().signal);
    for (let i = 0; i <= eventsWaitingMax; i++) hub.publish(numbered(i));
    await assert.rejects(
      async () => {
        for await (const _ of events);
      },
      { code: "resource-exhausted" },
    );
  });
});
