/**
 * Ports of the host that lead to containers, by a stock docker client on a real daemon: over both families, from this host,
 * whatever the container's network has.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { connect, createServer } from "node:net";
import { dockerClients } from "../../../support/docker.ts";
import { DockerSession } from "../../../support/docker-session.ts";
import { freePort } from "../../../support/free-port.ts";
import { busyboxArchive } from "../../../support/image-archive.ts";
import { type RealDaemon, startDaemon } from "../../../support/real-daemon.ts";
import { until } from "../../../support/wait.ts";

/** Says who calls. */
const server =
  "mkdir -p /w/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/w/cgi-bin/a; chmod +x /w/cgi-bin/a; exec httpd -f -p 80 -h /w";

/** Who it says is calling; by hand, as what it says ends its lines in its own way. */
function ask(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    socket.setTimeout(60_000, () => socket.destroy(new Error(`${host} does not answer`)));
    let text = "";
    socket.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
    });
    socket.on("error", reject);
    socket.on("end", () => resolve(text.trim().split("\n").at(-1) ?? ""));
    socket.write("GET /cgi-bin/a HTTP/1.0\r\n\r\n");
  });
}

describe("ports of containers on a real daemon", function () {
  this.timeout(300_000);
  const device = `skp${process.pid}`;
  const own = { v4: "10.196.9.1", v6: "fd19:6::1" };
  let daemon: RealDaemon;
  let d: DockerSession;
  before(async () => {
    execFileSync("ip", `link add ${device} up type veth peer name ${device}-p`.split(" "));
    execFileSync("ip", `addr add ${own.v4}/24 dev ${device}`.split(" "));
    execFileSync("ip", `addr add ${own.v6}/64 dev ${device} nodad`.split(" "));
    daemon = await startDaemon();
    const [client] = dockerClients();
    assert.ok(client, "scripts/setup brings a docker client");
    d = new DockerSession(client, daemon);
    const loaded = await d.run(["load"], await busyboxArchive("busybox:1"));
    assert.equal(loaded.code, 0, `${loaded.stderr}${daemon.log()}`);
    await d.docker("network create --ipv6 --subnet 10.196.1.0/24 --subnet fd19:6:1::/64 six");
    await d.docker("network create --subnet 10.196.2.0/24 four");
  });
  afterEach(() => d?.clean());
  after(async () => {
    await d?.docker("network rm four six");
    await daemon?.stop();
    execFileSync("ip", ["link", "delete", device]);
  });

  async function serve(network: string, ...ports: readonly string[]): Promise<void> {
    const flags = ports.flatMap((port) => ["-p", port]);
    const words = `run -d --name web --network ${network}`;
    await d.docker(words, ...flags, "busybox:1", "sh", "-c", server);
    const [, first = ""] = /(\d+):80$/.exec(ports[0] ?? "") ?? [];
    await until(() => ask("127.0.0.1", Number(first)).then(Boolean, () => false), {
      withinMs: 60_000,
      what: "the server",
    });
  }

  for (const network of ["bridge", "four", "six"]) {
    it(`answer at every address of the host, for a container in ${network}`, async () => {
      const port = await freePort();
      await serve(network, `${port}:80`);
      for (const host of ["127.0.0.1", "::1", own.v4, own.v6]) {
        assert.match(await ask(host, port), /^\[[0-9a-f:.]+\]$/, host);
      }
      await d.docker("rm -f web");
      await assert.rejects(ask("::1", port), /ECONNREFUSED/);
      await assert.rejects(ask("127.0.0.1", port), /ECONNREFUSED/);
    });
  }

  it("answer at the address they are bound to, and at no other", async () => {
    const [first, second] = [await freePort(), await freePort()];
    await serve("four", `127.0.0.1:${first}:80`, `[::1]:${second}:80`);
    await ask("127.0.0.1", first);
    await ask("::1", second);
    for (const [host, port] of [
      ["::1", first],
      [own.v4, first],
      ["127.0.0.1", second],
      [own.v6, second],
    ] as const)
      await assert.rejects(ask(host, port), /ECONNREFUSED/, `${host} ${port}`);
  });

  it("are refused that a program of the host has", async () => {
    const port = await freePort();
    const program = createServer();
    await new Promise<void>((resolve) => program.listen(port, "0.0.0.0", resolve));
    const words = `run --rm -p ${port}:80 busybox:1 true`;
    const { stderr } = await d.refused(words);
    program.close();
    assert.match(
      stderr,
      new RegExp(
        `host port 0\\.0\\.0\\.0:${port}/tcp: address already in use by \\S+ \\(${process.pid}\\) on this host`,
      ),
    );
  });
});
