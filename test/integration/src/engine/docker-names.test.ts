/**
 * Names of containers in networks of the node, by a stock docker client on a real daemon: what programs in containers find,
 * and the files they find it by.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { dockerClients } from "../../../support/docker.ts";
import { DockerSession } from "../../../support/docker-session.ts";
import { busyboxArchive } from "../../../support/image-archive.ts";
import { type RealDaemon, startDaemon } from "../../../support/real-daemon.ts";

describe("names of containers on a real daemon", function () {
  this.timeout(300_000);
  let daemon: RealDaemon;
  let d: DockerSession;
  before(async () => {
    daemon = await startDaemon();
    const [client] = dockerClients();
    assert.ok(client, "scripts/setup brings a docker client");
    d = new DockerSession(client, daemon);
    const loaded = await d.run(["load"], await busyboxArchive("busybox:1"));
    assert.equal(loaded.code, 0, `${loaded.stderr}${daemon.log()}`);
    await d.docker("network create names --subnet 10.197.1.0/24");
    await d.docker("network create --internal closed --subnet 10.197.2.0/24");
    const flags = "-d --network names --ip 10.197.1.7 --network-alias box";
    await d.docker(`run ${flags} --name first busybox:1 sleep 1000`);
    await d.docker("run -d --network closed --ip 10.197.2.7 --name shut busybox:1 sleep 1000");
  });
  after(async () => {
    await d?.docker("rm -f first shut");
    await d?.docker("network rm names closed");
    await daemon?.stop();
  });

  // ipvlan goes the same way; this kernel may have none.
  describe("on a device of the node", () => {
    const parent = `skn${process.pid}`;
    before(async () => {
      execFileSync("ip", `link add ${parent} up type veth peer name ${parent}-p`.split(" "));
      const flags = `-d macvlan -o parent=${parent} --subnet 10.197.3.0/24`;
      await d.docker(`network create ${flags} lan`);
    });
    after(async () => {
      await d.docker("network rm lan");
      execFileSync("ip", ["link", "delete", parent]);
    });

    it("finds names and aliases, and no others", async () => {
      const flags = "-d --network lan --ip 10.197.3.7 --network-alias other";
      await d.docker(`run ${flags} --name there busybox:1 sleep 1000`);
      const asked = "for name in there other there.lan first; do nslookup -type=a $name; done";
      const text = await within("lan", `${asked}; cat /etc/hosts; ip route; true`);
      await d.docker("rm -f there");
      assert.equal(text.match(/Address: 10\.197\.3\.7/g)?.length, 3, text);
      assert.doesNotMatch(text, /10\.197\.1\.7/);
      assert.match(text, /^10\.197\.3\.2\s/m);
      // What is there for names leads nowhere else.
      assert.match(text, /default via 10\.197\.3\.1 dev eth0/);
    });
  });

  const within = (network: string, script: string) =>
    d.docker(`run --rm --network ${network} --name asker busybox:1 sh -c`, script);
  const addresses = (text: string) =>
    [
      ...text
        .split(/\n\s*\n/)
        .slice(1)
        .join("\n")
        .matchAll(/10\.197\.\d+\.\d+/g),
    ].map(([a]) => a);

  for (const name of ["first", "box", "FIRST", "first.names"]) {
    it(`finds ${name} in its network`, async () => {
      assert.deepEqual(addresses(await within("names", `nslookup -type=a ${name}`)), [
        "10.197.1.7",
      ]);
    });
  }

  it("finds a container in a network that leads nowhere", async () => {
    const found = await within("closed", "nslookup -type=a shut");
    assert.deepEqual(addresses(found), ["10.197.2.7"]);
  });

  it("finds names of its own networks only", async () => {
    const found = await within("closed", "nslookup -type=a first || true");
    assert.deepEqual(addresses(found), []);
  });

  it("finds names by address", async () => {
    assert.match(await within("names", "nslookup 10.197.1.7"), /first\.names/);
  });

  it("tells programs where to ask, and who they are", async () => {
    const flags = "--network names --ip 10.197.1.9 --hostname me --add-host db:192.0.2.5";
    const more = "--dns-search example.com --dns-option timeout:1";
    const text = await d.docker(
      `run --rm ${flags} ${more} busybox:1 sh -c`,
      "cat /etc/resolv.conf /etc/hostname /etc/hosts",
    );
    assert.match(
      text,
      /^nameserver 127\.0\.0\.11\nsearch example\.com\noptions timeout:1 ndots:0$/m,
    );
    assert.match(text, /^me$/m);
    assert.match(text, /^10\.197\.1\.9\s+me$/m);
    assert.match(text, /^192\.0\.2\.5\s+db$/m);
  });

  for (const network of ["bridge", "names", "host"]) {
    it(`leads host-gateway to programs of the node, from ${network}`, async () => {
      const program = createServer((socket) => socket.end("hello\n"));
      program.listen(0, "0.0.0.0");
      await once(program, "listening");
      const { port } = program.address() as AddressInfo;
      const flags = `--rm --network ${network} --add-host node:host-gateway`;
      const said = await d.docker(`run ${flags} busybox:1 nc -w 5 node ${port}`);
      program.close();
      assert.equal(said, "hello");
    });
  }

  it("says at once that a network or container is not there", async () => {
    // Docker's client pulls the image when it hears of something that is not found before the start.
    for (const [network, message] of [
      ["nosuch", /network nosuch not found/],
      ["container:nosuch", /No such container: nosuch/],
    ] as const) {
      const { stderr, code } = await d.refused(`run --rm --network ${network} busybox:1 true`);
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /Unable to find image/);
      assert.equal(code, 125);
    }
  });

  it("leaves containers in the default bridge to the resolvers of the host", async () => {
    const text = await d.docker("run --rm busybox:1 cat /etc/resolv.conf");
    assert.doesNotMatch(text, /127\.0\.0\.11/);
  });
});
