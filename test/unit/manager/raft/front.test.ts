/** Facts about the one port of a manager: who is sent where. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { type Front, openFront } from "../../../../manager/raft/front.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../src/common/log/log.ts";

describe("manager/raft/front", () => {
  let dir: string;
  let relay: Server;
  let front: Front;
  let raft: Socket[];

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "skep-front-"));
    raft = [];
    relay = createServer((socket) => {
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

  it("relays all others, after a line that says who calls", async () => {
    client("swarm-manager");
    const [data] = (await once(relay, "first")) as [Buffer];
    const line = data.subarray(0, data.indexOf("\r\n")).toString();
    assert.match(line, /^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+$/);
    assert.ok(line.endsWith(` ${front.address.port}`));
  });

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

  it("says so when the port is taken", async () => {
    await assert.rejects(
      openFront({
        listen: { host: "127.0.0.1", port: front.address.port },
        relayPath: "",
        onRaft: () => {},
        log: silentLog,
      }),
      (e) => hasCode(e, "unavailable"),
    );
  });
});
