/**
 * Who listens at a published port.
 */
import { strict as assert } from "node:assert";
import { createServer } from "node:net";
import { listenersIn, usedPorts } from "../../../../../agent/network/nft/used-ports.ts";

const header =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const rest = "00000000:00000000 00:00000000 00000000     0        0";

describe("agent/network/nft/used-ports.ts", () => {
  it("takes TCP sockets that listen", () => {
    const text =
      `${header}   0: 0100007F:1F90 00000000:0000 0A ${rest} 4711 1\n` +
      `   1: 0100007F:1F91 0100007F:9999 01 ${rest} 4712 1\n`;
    assert.deepEqual(listenersIn(text, "tcp"), [
      { protocol: "tcp", port: 8080, address: "127.0.0.1", inode: 4711 },
    ]);
  });

  it("takes UDP sockets that are not connected, over IPv6, too", () => {
    const own = "B80D0120000000000000000001000000";
    const any = "0".repeat(32);
    const text =
      `${header}   0: ${own}:12B5 ${any}:0000 07 ${rest} 0 2\n` +
      `   1: ${any}:14EB ${any}:0000 07 ${rest} 12 2\n` +
      `   2: ${own}:1000 ${own}:0035 01 ${rest} 13 2\n`;
    assert.deepEqual(listenersIn(text, "udp"), [
      { protocol: "udp", port: 4789, address: "2001:db8:0:0:0:0:0:1", inode: 0 },
      { protocol: "udp", port: 5355, address: "::", inode: 12 },
    ]);
  });

  it("names the program, here this one", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    const [used, ...others] = await usedPorts([
      { protocol: "tcp", port },
      { protocol: "udp", port: 1 },
    ]);
    server.close();
    assert.deepEqual(others, []);
    assert.equal(used?.address, "127.0.0.1");
    assert.match(used?.program ?? "", new RegExp(`\\(${process.pid}\\)$`));
  });
});
