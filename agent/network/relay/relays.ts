/**
 * Sockets of the node that take connections where the kernel's rules cannot lead them, and pass them on.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import { relayConnectionsMax, relayConnectMs } from "../../../src/common/limits/network.ts";
import type { Log } from "../../../src/common/log/log.ts";
import { type Relay, relayKey } from "./wanted.ts";

interface Open {
  readonly relay: Relay;
  readonly server: Server;
  readonly sockets: Set<Socket>;
}

/** All of one node. */
export class Relays {
  readonly #log: Log;
  readonly #open = new Map<string, Open>();
  /** Places that another program has: told once. */
  readonly #told = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Opens and closes what is more or less than before. Resolves when it is so; never rejects. */
  async set(wanted: readonly Relay[]): Promise<void> {
    const keys = new Map(wanted.map((relay) => [relayKey(relay), relay]));
    const gone = [...this.#open].filter(([key, { relay }]) => !isSame(relay, keys.get(key)));
    await Promise.all(gone.map(([key, open]) => this.#close(key, open)));
    const fresh = [...keys].filter(([key]) => !this.#open.has(key));
    await Promise.all(fresh.map(([key, relay]) => this.#listen(key, relay)));
  }

  close(): Promise<void> {
    return this.set([]);
  }

  async #listen(key: string, relay: Relay): Promise<void> {
    const sockets = new Set<Socket>();
    const server = createServer({ allowHalfOpen: true, keepAlive: true }, (socket) =>
      this.#connected(socket, relay, sockets),
    );
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host: relay.host, port: relay.port, ipv6Only: true }, resolve);
      });
    } catch (error) {
      // The host has no IPv6, no such address, or a program there.
      if (!this.#told.has(key)) {
        const facts = { port: key, err: errorText(error) };
        this.#log.info("a port is not led on over IPv6", facts);
      }
      this.#told.add(key);
      return;
    }
    server.on("error", (error) => this.#log.debug("relay", { port: key, err: errorText(error) }));
    this.#told.delete(key);
    this.#open.set(key, { relay, server, sockets });
  }

  #connected(socket: Socket, { to }: Relay, sockets: Set<Socket>): void {
    if (sockets.size >= 2 * relayConnectionsMax) {
      socket.resetAndDestroy();
      return;
    }
    const further = connect({ ...to, allowHalfOpen: true, keepAlive: true });
    const late = setTimeout(
      () => further.destroy(new Error("the container does not answer")),
      relayConnectMs,
    );
    further.once("connect", () => clearTimeout(late));
    for (const [one, other] of [
      [socket, further],
      [further, socket],
    ] as const) {
      sockets.add(one);
      one.pipe(other);
      // What ends badly ends the other so, too; a good end comes to it by the pipe, after all that was sent.
      one.on("error", () => other.resetAndDestroy());
      one.once("close", () => {
        clearTimeout(late);
        sockets.delete(one);
      });
    }
  }

  async #close(key: string, { server, sockets }: Open): Promise<void> {
    this.#open.delete(key);
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  }
}

function isSame(a: Relay, b: Relay | undefined): boolean {
  return a.to.host === b?.to.host && a.to.port === b.to.port;
}
