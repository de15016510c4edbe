/**
 * Whether the server of the streams between managers really lets more than 64 KiB be under way.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, connect } from "node:http2";
import { type AddressInfo, createServer } from "node:net";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { widenReceiveWindow } from "../../../../manager/raft/receive-window.ts";

describe("manager/raft/receive-window", () => {
  const window = 4 << 20;

  it("announces the window for streams and for the whole connection", async () => {
    const server = new Server();
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    assert.equal(widenReceiveWindow(server, window), 1);
    const listener = createServer((socket) => injector.injectConnection(socket));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    let session: ClientHttp2Session | undefined;
    try {
      session = connect(`http://127.0.0.1:${(listener.address() as AddressInfo).port}`);
      // The first settings are those every server of Node begins with.
      do await once(session, "remoteSettings");
      while (session.remoteSettings.initialWindowSize !== window);
      await new Promise<void>((resolve) => session?.ping(() => resolve()));
      assert.equal(session.state.remoteWindowSize, window);
    } finally {
      session?.destroy();
      listener.close();
      server.forceShutdown();
    }
  });

  it("finds a server's listeners once", () => {
    const server = new Server();
    const credentials = ServerCredentials.createInsecure();
    server.createConnectionInjector(credentials);
    assert.equal(widenReceiveWindow(server, window), 1);
    server.createConnectionInjector(credentials);
    assert.equal(widenReceiveWindow(server, window), 1);
    assert.equal(widenReceiveWindow(server, window), 0);
    server.forceShutdown();
  });
});
