/**
 * Whether somebody takes connections at an address, seen on loopback.
 */
import { equal } from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { isReached } from "../../../../src/common/rpc/probe.ts";

describe("src/common/rpc/probe", () => {
  const signal = new AbortController().signal;

  async function listening(host: string): Promise<{ server: Server; port: number }> {
    const server = createServer((socket) => socket.on("error", () => socket.destroy()));
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    const address = server.address();
    return { server, port: typeof address === "object" ? (address?.port ?? 0) : 0 };
  }

  for (const host of ["127.0.0.1", "::1"]) {
    it(`tells of a listener at ${host}, and of a kernel that refuses`, async () => {
      const { server, port } = await listening(host);
      const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
      equal(await isReached(address, { withinMs: 5_000, signal }), true);
      await new Promise((resolve) => server.close(resolve));
      equal(await isReached(address, { withinMs: 5_000, signal }), true);
    });
  }

  it("ends with its signal", async () => {
    equal(await isReached("127.0.0.1:9", { withinMs: 50, signal: AbortSignal.abort() }), false);
  });
});
