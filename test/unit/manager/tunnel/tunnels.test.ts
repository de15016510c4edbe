/**
 * Who is asked for a tunnel, how long is waited for it, and when its silence is told; with a clock that is moved by hand.
 */
import assert from "node:assert/strict";
import { type Tunnel, Tunnels } from "../../../../manager/tunnel/tunnels.ts";
import { TunnelFrame, type TunnelRequest } from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError, hasCode } from "../../../../src/common/errors/cluster-error.ts";
import {
  tunnelAskOthersMs,
  tunnelBeatMs,
  tunnelDeadMs,
  tunnelOpenMs,
  tunnelSilentMs,
} from "../../../../src/common/limits/tunnel.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import type { CallContext } from "../../../../src/common/rpc/handler.ts";
import { MessageQueue, settled } from "../../../support/message-queue.ts";

describe("manager/tunnel/tunnels", () => {
  const never = new AbortController().signal;
  let clock: FakeClock;
  let tunnels: Tunnels;
  let isHere: boolean;
  let others: () => Promise<boolean>;
  let asked: string[];
  let requests: TunnelRequest[];

  beforeEach(() => {
    clock = new FakeClock();
    isHere = true;
    others = async () => false;
    asked = [];
    requests = [];
    tunnels = new Tunnels(
      {
        self: () => ({ nodeId: "m", address: "m:1", raftId: 1 }),
        askHere: (_, request) => {
          if (isHere) asked.push("here");
          requests.push(request);
          return isHere;
        },
        askOthers: (_, request) => {
          asked.push("others");
          requests.push(request);
          return others();
        },
      },
      { clock, random: seededRandom(7), log: silentLog },
    );
  });

  /** What became of a call that is under way. */
  function watch(opening: Promise<Tunnel>): { error?: unknown; tunnel?: Tunnel } {
    const seen: { error?: unknown; tunnel?: Tunnel } = {};
    opening.then(
      (tunnel) => {
        seen.tunnel = tunnel;
      },
      (error) => {
        seen.error = error;
      },
    );
    return seen;
  }

  /** The agent of `nodeId` dials with the id of the last request; what it sends is put into the queue. */
  function dial(nodeId: string, tunnelId = requests.at(-1)?.tunnelId ?? "") {
    const frames = new MessageQueue<TunnelFrame>();
    frames.push(TunnelFrame.create({ tunnelId }));
    const sent: TunnelFrame[] = [];
    const call = { peer: { nodeId } } as unknown as CallContext;
    const messages = {
      write: async (frame: TunnelFrame) => void sent.push(frame),
      [Symbol.asyncIterator]: () => frames[Symbol.asyncIterator](),
    };
    const served = tunnels.serve(messages, call);
    served.catch(() => {
      // Looked at by the tests that care.
    });
    return { frames, sent, served };
  }

  async function open(): Promise<{ tunnel: Tunnel; frames: MessageQueue<TunnelFrame> }> {
    const opening = tunnels.open("n", never);
    await settled();
    const { frames } = dial("n");
    const tunnel = await opening;
    return { tunnel, frames };
  }

  it("asks the node over its session here, and nobody else where it dials at once", async () => {
    await open();
    await clock.advance(tunnelOpenMs);
    assert.deepEqual(asked, ["here"]);
    assert.equal(requests[0]?.manager?.address, "m:1");
  });

  it("asks the other managers, too, where the session may be a dead one", async () => {
    others = async () => true;
    const seen = watch(tunnels.open("n", never));
    await settled();
    await clock.advance(tunnelAskOthersMs);
    assert.deepEqual(asked, ["here", "others"]);
    assert.equal(requests[0]?.tunnelId, requests[1]?.tunnelId);
    dial("n");
    await settled();
    assert(seen.tunnel !== undefined);
  });

  it("asks the other managers at once where there is no session here", async () => {
    isHere = false;
    others = async () => true;
    watch(tunnels.open("n", never));
    await settled();
    assert.deepEqual(asked, ["others"]);
  });

  it("gives up at once when no manager has a session of the node", async () => {
    isHere = false;
    const seen = watch(tunnels.open("n", never));
    await settled();
    assert(hasCode(seen.error, "unavailable"));
    assert.match(String(seen.error), /node n is not available: it has no session/);
  });

  it("passes on why the other managers could not be asked", async () => {
    isHere = false;
    others = () => Promise.reject(new ClusterError("unavailable", "m2 does not answer"));
    const seen = watch(tunnels.open("n", never));
    await settled();
    assert.match(String(seen.error), /m2 does not answer/);
  });

  it("waits for a session here when the others cannot be asked", async () => {
    others = () => Promise.reject(new ClusterError("unavailable", "m2 does not answer"));
    const seen = watch(tunnels.open("n", never));
    await settled();
    await clock.advance(tunnelAskOthersMs);
    assert.deepEqual(seen, {});
    dial("n");
    await settled();
    assert(seen.tunnel !== undefined);
  });

  it("gives up a node that does not dial in time, and refuses it when it comes late", async () => {
    const seen = watch(tunnels.open("n", never));
    await settled();
    await clock.advance(tunnelOpenMs - 1);
    assert.deepEqual(seen, {});
    await clock.advance(1);
    assert(hasCode(seen.error, "unavailable"));
    const { served } = dial("n");
    await assert.rejects(served, (error) => hasCode(error, "not-found"));
  });

  it("gives up with its caller", async () => {
    const stop = new AbortController();
    const seen = watch(tunnels.open("n", stop.signal));
    await settled();
    stop.abort(new Error("left"));
    await settled();
    assert.match(String(seen.error), /left/);
  });

  it("refuses another node, and a name nobody knows", async () => {
    const seen = watch(tunnels.open("n", never));
    await settled();
    await assert.rejects(dial("x").served, (error) => hasCode(error, "not-found"));
    await assert.rejects(dial("n", "guess").served, (error) => hasCode(error, "not-found"));
    dial("n");
    await settled();
    assert(seen.tunnel !== undefined);
  });

  it("opens nothing once it is closed", async () => {
    tunnels.close();
    await assert.rejects(tunnels.open("n", never), (error) => hasCode(error, "unavailable"));
  });

  it("tells that the node is silent, once, and cuts it later", async () => {
    const { tunnel } = await open();
    let told = 0;
    tunnel.onSilent(() => told++);
    tunnel.stream.resume();
    await settled();
    await clock.advance(tunnelSilentMs - tunnelBeatMs / 4);
    assert.equal(told, 0);
    await clock.advance(tunnelBeatMs / 2);
    assert.equal(told, 1);
    await clock.advance(tunnelDeadMs - tunnelSilentMs - tunnelBeatMs);
    assert.equal(tunnel.stream.destroyed, false);
    await clock.advance(tunnelBeatMs);
    assert.equal(tunnel.stream.destroyed, true);
    assert(hasCode(tunnel.stream.errored, "unavailable"));
    assert.equal(told, 1);
  });

  it("hears the beats of a node that has nothing to say", async () => {
    const { tunnel, frames } = await open();
    let told = 0;
    tunnel.onSilent(() => told++);
    tunnel.stream.resume();
    for (let beat = 0; beat < 20; beat++) {
      await clock.advance(tunnelBeatMs);
      frames.push(TunnelFrame.create());
      await settled();
    }
    assert.equal(told, 0);
    assert.equal(tunnel.stream.destroyed, false);
  });

  it("does not take its own reader's slowness for silence", async () => {
    const { tunnel, frames } = await open();
    let told = 0;
    tunnel.onSilent(() => told++);
    for (let i = 0; i < 4; i++) frames.push(TunnelFrame.create({ data: Buffer.alloc(64_000) }));
    await settled();
    await clock.advance(tunnelDeadMs * 2);
    assert.equal(told, 0);
    assert.equal(tunnel.stream.destroyed, false);
  });
});
