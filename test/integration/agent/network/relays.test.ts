/**
 * Sockets that pass connections on, on loopback.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { Relays } from "../../../../agent/network/relay/relays.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { freePort } from "../../../support/free-port.ts";

describe("agent/network/relay/relays", () => {
  let server: Server;
  let relays: Relays;
  let port: number;
  let to: { host: string; port: number };

  beforeEach(async () => {
    // Says all it is told, then its own last words: both directions end by themselves.
    server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {});
      socket.pipe(socket, { end: false });
      socket.on("end", () => socket.end("!"));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    to = { host: "127.0.0.1", port: (server.address() as { port: number }).port };
    port = await freePort();
    relays = new Relays(silentLog);
  });
  afterEach(async () => {
    await relays.close();
    server.close();
  });

  async function open(): Promise<Socket> {
    const socket = connect({ host: "::1", port, allowHalfOpen: true });
    await once(socket, "connect");
    return socket;
  }

  it("passes on what both say, to the last byte, whoever ends first", async () => {
    await relays.set([{ host: "::1", port, to }]);
    const socket = await open();
    const sent = Buffer.alloc(3_000_000, "0123456789");
    socket.end(sent);
    const pieces: Buffer[] = [];
    for await (const piece of socket) pieces.push(piece as Buffer);
    const all = Buffer.concat(pieces);
    equal(all.length, sent.length + 1);
    deepEqual(all.subarray(0, -1).equals(sent), true);
  });

  it("resets whom nobody answers", async () => {
    server.close();
    await relays.set([{ host: "::1", port, to }]);
    const socket = await open();
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    equal(error.code, "ECONNRESET");
  });

  it("closes its socket, and connections, when the port leads nowhere any more", async () => {
    await relays.set([{ host: "::1", port, to }]);
    const socket = await open();
    socket.on("error", () => {});
    const closed = once(socket, "close");
    await relays.set([]);
    socket.end();
    await closed;
    await rejects(open(), /ECONNREFUSED/);
  });

  it("leaves a port alone that a program has, and takes it once that is gone", async () => {
    const other = createServer().listen({ host: "::1", port });
    await once(other, "listening");
    await relays.set([{ host: "::1", port, to }]);
    other.close();
    await once(other, "close");
    await relays.set([{ host: "::1", port, to }]);
    const socket = await open();
    socket.end("x");
    const [answer] = (await once(socket, "data")) as [Buffer];
    equal(answer.toString()[0], "x");
    socket.destroy();
  });
});
