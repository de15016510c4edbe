/**
 * Ports of tests: nobody else is given them.
 */
import { equal } from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { freePort, isOurs } from "../../../support/free-port.ts";

const module = fileURLToPath(new URL("../../../support/free-port.js", import.meta.url));

describe("test/support/free-port", () => {
  it("gives each of many who ask at once a port of his own", async () => {
    const ports = await Promise.all(Array.from({ length: 20 }, () => freePort()));
    equal(new Set(ports).size, 20);
  });

  it("gives no port that another process was given", async () => {
    const before = await freePort();
    const script = `const { isOurs } = await import(${JSON.stringify(module)}); console.log(await isOurs(${before}))`;
    const said = execFileSync(process.execPath, ["--input-type=module", "-e", script]);
    equal(said.toString().trim(), "false");
  });

  it("gives no port on which somebody listens", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    equal(await isOurs(port), false);
    server.close();
  });
});
