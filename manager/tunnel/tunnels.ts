/**
 * The tunnels of this manager: byte streams to nodes, each dialled by the node's agent because it was asked to.
 *
 * `open` asks the node over its session, be it with this manager or with another one, and waits for the agent's call of
 * `Tunnel.Open`, which `serve` pairs with it by the tunnel's id. The id is unguessable and counts for one node only.
 */
import type { Duplex } from "node:stream";
import { type Peer, type TunnelFrame, TunnelRequest } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import { newId } from "../../src/common/ids/ids.ts";
import {
  tunnelAskOthersMs,
  tunnelOpenMs,
  tunnelsPerManagerMax,
} from "../../src/common/limits/tunnel.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { byteStream } from "../../src/common/rpc/byte-stream.ts";
import type { CallContext, MessageStream } from "../../src/common/rpc/handler.ts";
import { Listener } from "./listener.ts";

/** What tunnels need of their manager. */
export interface TunnelsPorts {
  /** Where agents reach this manager. */
  self(): Peer;
  /** Asks the node over its session with this manager; false when it has none. */
  askHere(nodeId: string, request: TunnelRequest): boolean;
  /**
   * Asks the other managers to do the same; resolves with whether one of them has a session of the node.
   * @throws ClusterError when none has, but not all have answered.
   */
  askOthers(nodeId: string, request: TunnelRequest, signal: AbortSignal): Promise<boolean>;
}

/** A byte stream to a node. */
export interface Tunnel {
  readonly stream: Duplex;
  /** Has `listener` called once when the node falls silent while bytes are waited for; it may come back. */
  onSilent(listener: () => void): void;
}

interface Waiting {
  readonly nodeId: string;
  readonly dialled: (call: TunnelCall) => void;
}

/** The agent's end of a tunnel, before the first byte. */
interface TunnelCall {
  readonly frames: MessageStream<TunnelFrame, TunnelFrame>;
  /** Ends the call; with an error it breaks off. */
  readonly end: (error: Error | undefined) => void;
}

/** Opens tunnels until the manager stops. */
export class Tunnels {
  readonly #ports: TunnelsPorts;
  readonly #tools: { readonly clock: Clock; readonly random: Random; readonly log: Log };
  readonly #waiting = new Map<string, Waiting>();
  readonly #open = new Set<Duplex>();
  #isClosed = false;

  constructor(
    ports: TunnelsPorts,
    tools: { readonly clock: Clock; readonly random: Random; readonly log: Log },
  ) {
    this.#ports = ports;
    this.#tools = tools;
  }

  /**
   * A byte stream to the node.
   *
   * @throws ClusterError `unavailable` within `tunnelOpenMs` when the node has no session with any manager or does not
   *   dial, `resource-exhausted` when too many are open.
   */
  async open(nodeId: string, signal: AbortSignal): Promise<Tunnel> {
    if (this.#isClosed) throw stopping();
    if (this.#waiting.size + this.#open.size >= tunnelsPerManagerMax) throw tooMany();
    const { clock, random } = this.#tools;
    const request = TunnelRequest.create({
      tunnelId: newId(random) + newId(random),
      manager: this.#ports.self(),
    });
    const stop = new AbortController();
    const giveUp = () => stop.abort(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      const call = await new Promise<TunnelCall>((resolve, reject) => {
        const fail = (error: unknown) => {
          // At once: an agent that dials now is to be refused, not to be left waiting.
          this.#waiting.delete(request.tunnelId);
          reject(error);
        };
        stop.signal.addEventListener("abort", () => fail(stop.signal.reason), { once: true });
        if (stop.signal.aborted) return fail(stop.signal.reason);
        this.#waiting.set(request.tunnelId, { nodeId, dialled: resolve });
        clock.sleep(tunnelOpenMs, stop.signal).then(
          () => fail(silent(nodeId)),
          () => {
            // The tunnel is open, or was given up.
          },
        );
        this.#ask(nodeId, request, stop.signal).catch(fail);
      });
      return this.#take(nodeId, call);
    } finally {
      signal.removeEventListener("abort", giveUp);
      stop.abort(new ClusterError("cancelled", "the tunnel is open, or was given up"));
    }
  }

  /** Serves one call of `Tunnel.Open` to its end. @throws ClusterError that tells the agent why not. */
  async serve(messages: MessageStream<TunnelFrame, TunnelFrame>, call: CallContext): Promise<void> {
    const iterator = messages[Symbol.asyncIterator]();
    const first = await iterator.next();
    const id = first.done === true ? "" : first.value.tunnelId;
    const waiting = this.#waiting.get(id);
    if (waiting === undefined || waiting.nodeId !== call.peer?.nodeId) {
      throw new ClusterError(
        "not-found",
        "nobody waits for this tunnel: it took too long, or was given up",
      );
    }
    this.#waiting.delete(id);
    await new Promise<void>((resolve, reject) => {
      waiting.dialled({
        frames: {
          write: (frame) => messages.write(frame),
          [Symbol.asyncIterator]: () => iterator,
        },
        end: (error) => (error === undefined ? resolve() : reject(error)),
      });
    });
  }

  /** Cuts all tunnels. */
  close(): void {
    this.#isClosed = true;
    for (const stream of this.#open) stream.destroy(stopping());
  }

  #take(nodeId: string, { frames, end }: TunnelCall): Tunnel {
    const listener = new Listener(frames, this.#tools.clock);
    const stream = byteStream({
      frames: listener.frames,
      lingers: false,
      onClose: (error) => {
        this.#open.delete(stream);
        listener.close();
        end(error instanceof ClusterError || error === undefined ? error : gone(error));
      },
    });
    // What breaks it off concerns its reader; without one it is nobody's.
    stream.on("error", () => {});
    this.#open.add(stream);
    if (this.#isClosed) stream.destroy(stopping());
    void listener.run(() => stream.destroy(silent(nodeId)));
    return { stream, onSilent: (tell) => listener.onSilent(tell) };
  }

  /** Has the node asked. @throws ClusterError `unavailable` when no manager can. */
  async #ask(nodeId: string, request: TunnelRequest, signal: AbortSignal): Promise<void> {
    const isHere = this.#ports.askHere(nodeId, request);
    if (isHere)
      await this.#tools.clock.sleep(tunnelAskOthersMs, signal).catch(() => {
        // Dialled already, or given up.
      });
    if (signal.aborted) return;
    try {
      const isThere = await this.#ports.askOthers(nodeId, request, signal);
      if (!isThere && !isHere) throw noSession(nodeId);
    } catch (error) {
      if (!isHere && !signal.aborted) throw error;
      this.#tools.log.debug("other managers not asked for a tunnel", {
        "node.id": nodeId,
        err: error,
      });
    }
  }
}

function noSession(nodeId: string): ClusterError {
  return new ClusterError(
    "unavailable",
    `node ${nodeId} is not available: it has no session with any manager`,
    { fields: { "node.id": nodeId } },
  );
}

function silent(nodeId: string): ClusterError {
  return new ClusterError("unavailable", `node ${nodeId} is not available: it does not answer`, {
    fields: { "node.id": nodeId },
  });
}

function gone(cause: Error): ClusterError {
  return new ClusterError("cancelled", `the other end is gone: ${errorText(cause)}`, { cause });
}

function stopping(): ClusterError {
  return new ClusterError("unavailable", "the manager is stopping");
}

function tooMany(): ClusterError {
  return new ClusterError(
    "resource-exhausted",
    `this manager has ${tunnelsPerManagerMax} streams to other nodes open: end some, or ask another manager`,
  );
}
