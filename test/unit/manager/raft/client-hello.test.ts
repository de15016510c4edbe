/** Facts about telling clients apart by their first bytes. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { readClientHello } from "../../../../manager/raft/client-hello.ts";

/** The first bytes Node's own TLS client sends. */
async function captured(servername: string | undefined): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.once("data", (data) => {
        socket.destroy();
        server.close(() => resolve(data));
      });
    });
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address === null || typeof address === "string") return reject(new Error("no port"));
      const options = servername === undefined ? {} : { servername };
      tlsConnect({ port: address.port, host: "127.0.0.1", ...options }).on("error", () => {
        // The server hangs up; that is all it is for.
      });
    });
  });
}

describe("manager/raft/client-hello", () => {
  it("reads the server name of a real client, however the bytes are cut", async () => {
    const hello = await captured("Skep-Raft");
    for (let length = 0; length < hello.length; length++) {
      assert.deepEqual(readClientHello(hello.subarray(0, length)), { kind: "more" }, `${length}`);
    }
    assert.deepEqual(readClientHello(hello), { kind: "hello", serverName: "skep-raft" });
  });

  it("reads a hello that is split over several records", async () => {
    const hello = await captured("skep-raft");
    const body = hello.subarray(5);
    const records = [body.subarray(0, 3), body.subarray(3, 100), body.subarray(100)].map((part) =>
      Buffer.concat([Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part]),
    );
    assert.deepEqual(readClientHello(Buffer.concat(records)), {
      kind: "hello",
      serverName: "skep-raft",
    });
  });

  it("takes a client that names no server", async () => {
    assert.deepEqual(readClientHello(await captured(undefined)), {
      kind: "hello",
      serverName: undefined,
    });
  });

  it("knows what is not TLS", () => {
    for (const text of ["GET / HTTP/1.1\r\n", "\0\0\0\0", "\x16\x04\x00\x00\x01\x01"]) {
      assert.equal(readClientHello(Buffer.from(text, "latin1")).kind, "not-tls", text);
    }
  });

  it("never throws on changed bytes", async () => {
    const hello = await captured("skep-raft");
    for (let at = 0; at < hello.length; at++) {
      for (const value of [0, 1, 127, 255]) {
        const changed = Buffer.from(hello);
        changed[at] = value;
        readClientHello(changed);
      }
    }
  });
});
