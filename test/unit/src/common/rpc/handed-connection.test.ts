/**
 * Connections that change hands without a byte lost.
 */
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { once } from "node:events";
import { fstatSync, readdirSync, readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import {
  drop,
  type HandedConnection,
  handOver,
  plainAddress,
  takeOver,
} from "../../../../../src/common/rpc/handed-connection.ts";

describe("src/common/rpc/handed-connection", () => {
  let server: Server;
  let client: Socket;

  beforeEach(async () => {
    server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterEach(() => {
    client.destroy();
    server.close();
  });

  /** A connection of which "hello" was read, on its way. */
  async function handed(): Promise<HandedConnection> {
    const { port } = server.address() as AddressInfo;
    const accepted = once(server, "connection");
    client = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    client.write("hello");
    const [socket] = (await accepted) as [Socket];
    const [received] = (await once(socket, "data")) as [Buffer];
    const connection = handOver(socket, received);
    equal(socket.destroyed, true);
    await once(socket, "close");
    ok(connection !== undefined);
    return connection;
  }

  it("gives what was read first, then what comes, and keeps the other side", async () => {
    const connection = await handed();
    deepEqual([connection.address, String(connection.received)], ["127.0.0.1", "hello"]);
    client.write(" again");
    const socket = takeOver(connection);
    let text = "";
    for await (const data of socket) {
      text += data;
      if (text === "hello again") break;
    }
    equal(text, "hello again");
  });

  it("carries megabytes each way, and the end of each side", async () => {
    const bytes = 3_000_000;
    const socket = takeOver(await handed());
    const count = { there: 0, back: 0 };
    client.on("data", (data: Buffer) => {
      count.back += data.length;
    });
    client.end(Buffer.alloc(bytes));
    socket.on("data", (data: Buffer) => {
      count.there += data.length;
    });
    socket.write(Buffer.alloc(bytes));
    await Promise.all([once(socket, "end"), once(client, "end")]);
    deepEqual(count, { there: bytes + 5, back: bytes });
  });

  it("tells of a client that breaks off", async () => {
    const socket = takeOver(await handed());
    client.resetAndDestroy();
    socket.resume();
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    equal(error.code, "ECONNRESET");
  });

  it("hangs up when nobody takes it", async () => {
    const connection = await handed();
    drop(connection);
    await once(client.resume(), "end");
  });

  it("leaves no descriptor behind", async () => {
    const socket = takeOver(await handed());
    const before = readdirSync("/proc/self/fd").length;
    socket.destroy();
    await once(socket, "close");
    equal(readdirSync("/proc/self/fd").length, before - 1);
  });

  it("lets no program inherit it", async () => {
    const connection = await handed();
    ok(fstatSync(connection.fd).isSocket());
    const flags =
      /^flags:\t(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${connection.fd}`, "utf8"))?.[1] ??
      "";
    equal(Number.parseInt(flags, 8) & 0o2000000, 0o2000000);
    drop(connection);
  });

  it("takes nothing that is no connection", async () => {
    const connection = await handed();
    drop(connection);
    throws(() => takeOver({ ...connection, fd: 1_000_000 }));
  });

  it("hands over nothing whose other side is gone, and leaves it alone", async () => {
    const connection = await handed();
    drop(connection);
    client.destroy();
    equal(handOver(client, Buffer.alloc(0)), undefined);
  });

  it("shows IPv4 addresses as such", () => {
    deepEqual(["::ffff:10.0.0.1", "10.0.0.1", "fd00::1"].map(plainAddress), [
      "10.0.0.1",
      "10.0.0.1",
      "fd00::1",
    ]);
  });
});
