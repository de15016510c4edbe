/** Facts about the control relay: calls of a follower to the leader over one stream. */
import assert from "node:assert/strict";
import { RelayClient } from "../../../manager/relay-client.ts";
import { type RelayHandler, serveRelay } from "../../../manager/relay-server.ts";
import {
  ControlService,
  type MethodDescriptor,
  RelayedAnswers,
  RelayedCalls,
  RemoveRequest,
} from "../../../src/common/api/generated/api.ts";
import { ClusterError, hasCode } from "../../../src/common/errors/cluster-error.ts";
import type { Identity } from "../../../src/common/identity/types.ts";
import type { ClientStream } from "../../../src/common/rpc/channel.ts";
import { MessageQueue } from "../../support/message-queue.ts";

const never = new AbortController().signal;
const manager = { nodeId: "m2", role: "manager" } as Identity;
const worker = { nodeId: "w1", role: "worker" } as Identity;
const remove = ControlService.removeConfig;
const byId = (id: string) => RemoveRequest.create({ id });

interface Link {
  /** Calls in each message that went to the leader. */
  readonly sent: number[];
  readonly broken: ((error: unknown) => void)[];
}

/** A client whose streams lead straight to `handle`, as `peer`. */
function relayTo(handle: RelayHandler, peer = manager): RelayClient & Link {
  const link: Link = { sent: [], broken: [] };
  const open = (): ClientStream<RelayedCalls, RelayedAnswers> => {
    const calls = new MessageQueue<RelayedCalls>();
    const answers = new MessageQueue<RelayedAnswers>();
    const stream = {
      [Symbol.asyncIterator]: () => calls[Symbol.asyncIterator](),
      write: async (message: RelayedAnswers) => {
        answers.push(RelayedAnswers.decode(RelayedAnswers.encode(message)));
      },
    };
    link.broken.push((error) => answers.end(error));
    void serveRelay(stream, { peer, signal: never }, handle).catch(() => {
      // Tests look at the client's end.
    });
    return {
      write: async (message) => {
        link.sent.push(message.calls.length);
        calls.push(RelayedCalls.decode(RelayedCalls.encode(message)));
      },
      end: () => calls.end(),
      cancel: () => calls.end(),
      [Symbol.asyncIterator]: () => answers[Symbol.asyncIterator](),
    };
  };
  const client = new RelayClient({
    stream: ((_method: unknown) => open()) as unknown as ConstructorParameters<
      typeof RelayClient
    >[0]["stream"],
  });
  return Object.assign(client, link);
}

/** Answers each call after `ids` has it, by `answer`. */
function handler(answer: (id: string, signal: AbortSignal) => Promise<void>): RelayHandler {
  return async <Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal) => {
    await answer((request as unknown as RemoveRequest).id, signal);
    return method.response.create({});
  };
}

describe("manager/relay", () => {
  it("has calls of one turn share a message and answers each", async () => {
    const seen: string[] = [];
    const relay = relayTo(handler(async (id) => void seen.push(id)));
    await Promise.all(["a", "b", "c"].map((id) => relay.call(remove, byId(id), never)));
    assert.deepEqual(seen, ["a", "b", "c"]);
    assert.deepEqual(relay.sent, [3]);
  });

  it("brings errors back with code, text and fields", async () => {
    const thrown = new ClusterError("not-found", "config x not found", {
      fields: { untried: true },
    });
    const relay = relayTo(handler(() => Promise.reject(thrown)));
    await assert.rejects(relay.call(remove, byId("x"), never), (error) => {
      assert.ok(error instanceof ClusterError);
      assert.deepEqual(
        [error.code, error.message, error.fields],
        [thrown.code, thrown.message, thrown.fields],
      );
      return true;
    });
  });

  it("hides the text of what is a bug", async () => {
    const relay = relayTo(handler(() => Promise.reject(new TypeError("secret"))));
    await assert.rejects(relay.call(remove, byId("x"), never), /internal error/);
  });

  it("refuses who may not call, and what is no method of control", async () => {
    const done = handler(async () => {});
    await assert.rejects(relayTo(done, worker).call(remove, byId("x"), never), (error) =>
      hasCode(error, "permission-denied"),
    );
    const other = { ...remove, path: "/skep.v1.Dispatcher/Session" };
    await assert.rejects(relayTo(done).call(other, byId("x"), never), (error) =>
      hasCode(error, "unimplemented"),
    );
  });

  it("tells the leader when nobody waits for the answer any more", async () => {
    let given: () => void = () => {};
    const heard = new Promise<void>((resolve) => {
      given = resolve;
    });
    const relay = relayTo(
      handler((_id, signal) => {
        signal.addEventListener("abort", given);
        return new Promise<void>(() => {});
      }),
    );
    const stop = new AbortController();
    const call = relay.call(remove, byId("x"), stop.signal);
    setImmediate(() => stop.abort(new ClusterError("cancelled", "the client has left")));
    await assert.rejects(call, /the client has left/);
    await heard;
  });

  it("fails what is under way when the stream breaks, and opens another for the next call", async () => {
    let isFirst = true;
    const relay = relayTo(
      handler(() => {
        if (!isFirst) return Promise.resolve();
        isFirst = false;
        return new Promise<void>(() => {});
      }),
    );
    const lost = relay.call(remove, byId("x"), never);
    relay.broken[0]?.(new ClusterError("unavailable", "connection reset"));
    await assert.rejects(lost, /connection reset/);
    isFirst = false;
    await relay.call(remove, byId("y"), never);
    assert.equal(relay.broken.length, 2);
  });

  it("ends a retired stream with its last answer", async () => {
    const answer: (() => void)[] = [];
    const relay = relayTo(handler(() => new Promise<void>((resolve) => void answer.push(resolve))));
    const first = relay.call(remove, byId("x"), never);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    relay.retire();
    const second = relay.call(remove, byId("y"), never);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    for (const resolve of answer) resolve();
    await Promise.all([first, second]);
    assert.equal(relay.broken.length, 2);
  });
});
