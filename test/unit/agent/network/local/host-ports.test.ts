/**
 * Ports of the host for containers.
 */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import {
  bindProbe,
  chooseHostPorts,
  clashes,
} from "../../../../../agent/network/local/host-ports.ts";
import type { PortBinding } from "../../../../../src/common/container/types.ts";

const port = (hostPort: number, more: Partial<PortBinding> = {}): PortBinding => ({
  protocol: "tcp",
  containerPort: 80,
  hostAddress: "",
  hostPort,
  ...more,
});
const free = async () => undefined;

describe("agent/network/local/host-ports", () => {
  it("refuses a port that is taken, in Docker's words", async () => {
    await rejects(chooseHostPorts([port(8080)], [port(8080)], free), {
      message: "Bind for 0.0.0.0:8080 failed: port is already allocated",
    });
    const both = [port(8080), port(8080, { containerPort: 81 })];
    await rejects(chooseHostPorts(both, [], free), /port is already allocated/);
  });

  for (const [program, words] of [
    ["nginx (7)", "nginx (7)"],
    [undefined, "a program"],
  ] as const) {
    it(`names ${words} that has the port`, async () => {
      const probe = async () => ({ code: "EADDRINUSE", program });
      await rejects(chooseHostPorts([port(8080)], [], probe), {
        message: `failed to bind host port 0.0.0.0:8080/tcp: address already in use by ${words} on this host`,
      });
    });
  }

  it("finds the program at the address that is wanted", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port: hostPort } = server.address() as AddressInfo;
    for (const hostAddress of ["", "127.0.0.1"]) {
      const trouble = await bindProbe(port(hostPort, { hostAddress }));
      equal(trouble?.code, "EADDRINUSE");
      match(trouble?.program ?? "", new RegExp(`\\(${process.pid}\\)$`));
    }
    equal(await bindProbe(port(hostPort, { hostAddress: "127.0.0.2" })), undefined);
    server.close();
  });

  it("takes what is said twice once", async () => {
    deepEqual(await chooseHostPorts([port(8080), port(8080)], [], free), [port(8080)]);
  });

  it("takes a free port where none is named", async () => {
    const probe = async ({ hostPort }: PortBinding | { hostPort: number }) =>
      hostPort === 49_154 ? { code: "EADDRINUSE" } : undefined;
    const chosen = await chooseHostPorts([port(0), port(0, { containerPort: 81 })], [], probe);
    deepEqual(
      chosen.map(({ hostPort }) => hostPort),
      [49_153, 49_155],
    );
  });

  it("takes a free port of the range that is named", async () => {
    const range = port(8000, { hostPortLast: 8001 });
    deepEqual(await chooseHostPorts([range], [port(8000)], free), [port(8001)]);
    await rejects(chooseHostPorts([range], [port(8000), port(8001)], free), /from 8000 to 8001/);
  });

  it("lets one port be bound on several addresses", () => {
    const at = (hostAddress: string) => port(80, { hostAddress });
    equal(clashes(at("127.0.0.1"), at("127.0.0.2")), false);
    equal(clashes(at("127.0.0.1"), at("")), true);
    equal(clashes(at("127.0.0.1"), at("0.0.0.0")), true);
    equal(clashes(at("::"), at("0.0.0.0")), false);
    equal(clashes(at(""), port(80, { protocol: "udp" })), false);
  });

  it("says what the kernel says of an address that is not there", async () => {
    for (const protocol of ["tcp", "udp"] as const) {
      const trouble = await bindProbe(port(8080, { hostAddress: "192.0.2.1", protocol }));
      deepEqual(trouble, { code: "EADDRNOTAVAIL" });
    }
  });
});
