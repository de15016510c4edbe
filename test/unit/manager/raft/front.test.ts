/** Facts about the one port of a manager: who is sent where. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { type Front, openFront } from "../../../../manager/raft/front.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { type HandedConnection, takeOver } from "../../../../src/common/rpc/handed-connection.ts";

describe("manager/raft/front", () => {
  let dir: string;
  let relay: Server;
  let front: Front;
  let raft: Socket[];

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "skep-front-"));
    raft = [];
    relay = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {
        // The client went away.
      });
      socket.once("data", (data) => {
        relay.emit("first", data);
        socket.end("answer");
      });
    }).listen(join(dir, "relay.sock"));
    await once(relay, "listening");
    front = await openFront({
      listen: { host: "127.0.0.1", port: 0 },
      relayPath: join(dir, "relay.sock"),
      onRaft: (socket) => {
        raft.push(socket);
        relay.emit("raft", socket);
      },
      onRaftStream: (socket) => relay.emit("stream", socket),
      log: silentLog,
      helloTimeoutMs: 50,
    });
  });
  afterEach(async () => {
    await front.close();
    relay.close();
    await rm(dir, { recursive: true });
  });

  function client(servername: string): void {
    tlsConnect({ host: "127.0.0.1", port: front.address.port, servername }).on("error", () => {
      // Nobody speaks TLS here; only the first bytes matter.
    });
  }

  it("keeps Raft peers and gives back the bytes it looked at", async () => {
    client("skep-raft");
    const [socket] = (await once(relay, "raft")) as [Socket];
    socket.resume();
    const [data] = (await once(socket, "data")) as [Buffer];
    assert.equal(data[0], 22);
    socket.destroy();
  });

  it("tells their streams from their calls", async () => {
    client("skep-raft-stream");
    const [socket] = (await once(relay, "stream")) as [Socket];
    assert.deepEqual(raft, []);
    socket.destroy();
  });

  it("relays all others, after a line that says who calls", async () => {
    client("swarm-manager");
    const [data] = (await once(relay, "first")) as [Buffer];
    const line = data.subarray(0, data.indexOf("\r\n")).toString();
    assert.match(line, /^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+$/);
    assert.ok(line.endsWith(` ${front.address.port}`));
  });

  it("hands over all others where they are taken", async () => {
    const other = new Promise<HandedConnection>((resolve) => {
      const options = { listen: { host: "127.0.0.1", port: 0 }, relayPath: "", log: silentLog };
      void openFront({
        ...options,
        onRaft: () => {},
        onRaftStream: () => {},
        onOther: resolve,
      }).then(async (opened) => {
        await front.close();
        front = opened;
        client("swarm-manager");
      });
    });
    const { address, received, fd } = await other;
    assert.deepEqual([address, received[0]], ["127.0.0.1", 22]);
    const socket = takeOver({ address, received, fd });
    socket.destroy();
    await once(socket, "close");
  });

  it("relays all bytes and the end of each side, whichever end is slow", async () => {
    const bytes = 3_000_000;
    const seen = { there: 0, back: 0 };
    relay.removeAllListeners("connection");
    relay.on("connection", (socket: Socket) => {
      socket.on("data", (data: Buffer) => {
        seen.there += data.length;
      });
      socket.on("end", () => socket.end(Buffer.alloc(bytes)));
    });
    const socket = connect({ port: front.address.port, host: "127.0.0.1", allowHalfOpen: true });
    const hello = await clientHello();
    socket.write(hello);
    socket.end(Buffer.alloc(bytes));
    await once(socket, "readable");
    await new Promise((resolve) => setImmediate(resolve));
    socket.on("data", (data: Buffer) => {
      seen.back += data.length;
    });
    await once(socket, "close");
    assert.equal(seen.back, bytes);
    assert.ok(seen.there > bytes + hello.length);
  });

  it("cuts the other side of a relayed connection that broke", async () => {
    relay.removeAllListeners("connection");
    const socket = connect(front.address.port, "127.0.0.1");
    socket.write(await clientHello());
    const [inner] = (await once(relay, "connection")) as [Socket];
    inner.resume();
    await once(inner, "data");
    socket.resetAndDestroy();
    await once(inner, "end");
  });

  /** What a client says first. */
  async function clientHello(): Promise<Buffer> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const said = once(server, "connection").then(([socket]) => once(socket as Socket, "data"));
    const client = tlsConnect({ host: "127.0.0.1", port, servername: "swarm-manager" });
    client.on("error", () => {
      // Nobody answers.
    });
    const [hello] = (await said) as [Buffer];
    client.destroy();
    server.close();
    return hello;
  }

  it("cuts whoever says nothing or speaks something else", async () => {
    for (const text of ["", "GET / HTTP/1.1\r\n\r\n"]) {
      const socket = connect(front.address.port, "127.0.0.1");
      socket.on("error", () => {
        // A reset is as good as an end.
      });
      if (text !== "") socket.write(text);
      socket.resume();
      await once(socket, "close");
    }
    assert.equal(raft.length, 0);
  });

  it("takes callers of both families when it listens on all addresses", async () => {
    const relayPath = join(dir, "relay.sock");
    const listen = { host: "0.0.0.0", port: 0 };
    const nobody = { onRaft: () => {}, onRaftStream: () => {} };
    const wide = await openFront({ listen, relayPath, ...nobody, log: silentLog });
    try {
      assert.equal(wide.address.host, "0.0.0.0");
      for (const host of ["127.0.0.1", "::1"]) {
        const socket = connect(wide.address.port, host);
        await once(socket, "connect");
        socket.destroy();
      }
    } finally {
      await wide.close();
    }
  });

  it("says so when the port is taken", async () => {
    await assert.rejects(
      openFront({
        listen: { host: "127.0.0.1", port: front.address.port },
        relayPath: "",
        onRaft: () => {},
        onRaftStream: () => {},
        log: silentLog,
      }),
      (e) => hasCode(e, "unavailable"),
    );
  });
});
