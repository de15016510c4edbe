/**
 * The agent's end of tunnels: dials the manager that wants one, and hands the bytes to the node's Engine API.
 *
 * Requests come over the session, from whichever manager it is with; the one to dial shows the certificate of a manager
 * of this cluster, or nothing is said to it.
 */
import type { Duplex } from "node:stream";
import { type Peer, TunnelFrame, type TunnelRequest } from "../src/common/api/generated/api.ts";
import type { Clock } from "../src/common/clock/clock.ts";
import { errorText } from "../src/common/errors/cluster-error.ts";
import { tunnelBeatMs, tunnelsPerNodeMax } from "../src/common/limits/tunnel.ts";
import type { Log } from "../src/common/log/log.ts";
import { beat, byteStream } from "../src/common/rpc/byte-stream.ts";
import type { ClientStream } from "../src/common/rpc/channel.ts";

/** What tunnels need of their node. */
export interface TunnelPorts {
  /** Calls `Tunnel.Open` of this manager. */
  dial(manager: Peer): ClientStream<TunnelFrame, TunnelFrame>;
  /** Takes what comes through a tunnel. */
  serve(stream: Duplex): void;
}

/** Opens tunnels when asked to. */
export class AgentTunnels {
  readonly #ports: TunnelPorts;
  readonly #tools: { readonly clock: Clock; readonly log: Log };
  readonly #open = new Map<string, Duplex>();

  constructor(ports: TunnelPorts, tools: { readonly clock: Clock; readonly log: Log }) {
    this.#ports = ports;
    this.#tools = tools;
  }

  /** Opens one. Never throws: the manager notices by itself that nobody dials. */
  open({ tunnelId, manager }: TunnelRequest): void {
    const { log } = this.#tools;
    // Two managers may pass the same request on.
    if (manager === undefined || this.#open.has(tunnelId)) return;
    if (this.#open.size >= tunnelsPerNodeMax) {
      log.warn("too many tunnels", { peer: manager.address, count: this.#open.size });
      return;
    }
    try {
      this.#start(tunnelId, manager);
    } catch (error) {
      log.warn("tunnel not opened", { peer: manager.address, err: errorText(error) });
    }
  }

  /** Cuts all tunnels. */
  close(): void {
    for (const stream of this.#open.values()) stream.destroy();
  }

  #start(tunnelId: string, manager: Peer): void {
    const { clock, log } = this.#tools;
    const call = this.#ports.dial(manager);
    const over = new AbortController();
    const stream = byteStream({
      frames: call,
      lingers: true,
      onClose: (error) => {
        this.#open.delete(tunnelId);
        over.abort();
        if (error === undefined) call.end();
        else call.cancel();
      },
    });
    stream.on("error", (error) => {
      log.debug("tunnel broke off", { peer: manager.address, err: errorText(error) });
    });
    this.#open.set(tunnelId, stream);
    call.write(TunnelFrame.create({ tunnelId })).catch((error) => stream.destroy(error));
    void beat(call, { periodMs: tunnelBeatMs, clock, signal: over.signal });
    this.#ports.serve(stream);
  }
}
