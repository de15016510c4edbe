/**
 * The serving side of direct streams: a TLS connection for each call, and frames on it (`direct-client.ts` tells their order).
 *
 * What gRPC does for the others is done here: the method is found, its caller checked against `roles.ts`, the call told when
 * the caller hangs up, and the caller told how the call ended.
 */
import type { TLSSocket } from "node:tls";
import { ClusterError } from "../errors/cluster-error.ts";
import { rpcHandshakeTimeoutMs } from "../limits/limits.ts";
import type { Log } from "../log/log.ts";
import type { Connection } from "./connections.ts";
import { FrameStream } from "./frame-stream.ts";
import type { DirectRegistration } from "./handler.ts";
import type { PeerChecker } from "./peer.ts";
import { callersOf, checkCaller, noCertificate } from "./roles.ts";
import { errorToBytes } from "./status.ts";

/** The direct streams of one server. */
export class DirectCalls {
  readonly #peers: PeerChecker;
  readonly #log: Log;
  readonly #methods = new Map<string, DirectRegistration>();
  #running = 0;
  #isClosed = false;
  #onIdle: (() => void) | undefined;

  constructor(peers: PeerChecker, log: Log) {
    this.#peers = peers;
    this.#log = log;
  }

  /** Serves a further method. @throws Error for one without an entry in the table of roles. */
  add(registration: DirectRegistration): void {
    callersOf(registration.path);
    this.#methods.set(registration.path, registration);
  }

  /** Serves the call that comes over a connection. Never rejects. */
  async serve(socket: TLSSocket, connection: Connection): Promise<void> {
    const stop = new AbortController();
    const frames = new FrameStream(socket, () => {
      stop.abort(new ClusterError("cancelled", "the caller hung up"));
    });
    this.#running++;
    let path = "";
    try {
      if (this.#isClosed) throw new ClusterError("unavailable", "the manager is stopping");
      const peer = this.#peers.identify(connection);
      // Strangers are not listened to.
      if (peer === undefined) throw noCertificate();
      path = await pathOf(frames);
      const method = this.#methods.get(path);
      if (method === undefined) {
        throw new ClusterError("unimplemented", `there is no direct stream ${path.slice(0, 100)}`);
      }
      checkCaller(path, peer);
      const { address } = connection;
      const { signal } = stop;
      const deadlineMs = Number.POSITIVE_INFINITY;
      await method.serve(frames, { peer, address, deadlineMs, signal, forwarded: false });
      frames.end(new Uint8Array(0));
    } catch (error) {
      if (!(error instanceof ClusterError)) {
        this.#log.error("RPC handler failed", { component: "rpc", method: path, err: error });
      }
      frames.end(errorToBytes(error));
    } finally {
      this.#running--;
      if (this.#running === 0) this.#onIdle?.();
    }
  }

  /** Takes no new calls; resolves once the running ones have ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#running === 0) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
  }
}

/** The path of the method, which a caller has to say at once. */
async function pathOf(frames: FrameStream): Promise<string> {
  const timer = setTimeout(() => frames.destroy(), rpcHandshakeTimeoutMs);
  try {
    return (await frames.next()).bytes.toString();
  } finally {
    clearTimeout(timer);
  }
}
