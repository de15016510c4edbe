/**
 * A node's own networks over the Engine API: made, shown, joined, left, removed, and what is refused.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { startEngine, type TestEngine } from "../../../support/engine.ts";

describe("src/engine networks of the node", () => {
  let engine: TestEngine;
  beforeEach(async () => {
    engine = await startEngine();
  });
  afterEach(() => engine.stop());

  const create = (body: object) => engine.send("POST", "/networks/create", { body });

  async function runningContainer(network: string): Promise<string> {
    const made = await engine.send("POST", "/containers/create?name=box", {
      body: {
        Image: "busybox",
        ExposedPorts: { "80/tcp": {}, "81/tcp": {} },
        HostConfig: { NetworkMode: network, PortBindings: { "80/tcp": [{ HostPort: "8080" }] } },
      },
    });
    const id = String(made.at("Id"));
    await engine.send("POST", `/containers/${id}/start`);
    // The fake runtime makes no devices: places are given as by those who do.
    await engine.runtime.networks.give(engine.runtime.containers.find(id));
    return id;
  }

  it("makes a bridge with the first free subnet, shows it and removes it", async () => {
    const made = await create({ Name: "n1", Driver: "bridge", Labels: { a: "b" } });
    equal(made.status, 201);
    const shown = await engine.send("GET", "/networks/n1");
    deepEqual(
      ["Id", "Scope", "Driver", "Labels"].map((field) => shown.at(field)),
      [made.at("Id"), "local", "bridge", { a: "b" }],
    );
    deepEqual(shown.at("IPAM", "Config"), [{ Subnet: "172.20.0.0/16", Gateway: "172.20.0.1" }]);
    const again = await create({ Name: "n1" });
    deepEqual([again.status, again.message], [409, "network with name n1 already exists"]);
    equal((await engine.send("DELETE", "/networks/n1")).status, 204);
    equal((await engine.send("GET", "/networks/n1")).status, 404);
  });

  it("refuses what cannot be, in Docker's words", async () => {
    const overlap = { IPAM: { Config: [{ Subnet: "172.17.4.0/24" }] } };
    const refused: [object, number, RegExp][] = [
      [{ Name: "bridge" }, 403, /operation is not permitted on predefined bridge network/],
      [{ Name: "n1", Driver: "weave" }, 404, /plugin "weave" not found/],
      [
        { Name: "n1", Driver: "overlay", Scope: "local" },
        403,
        /^cannot downgrade network scope for/,
      ],
      [{ Name: "n1", ...overlap }, 403, /Pool overlaps with other one on this address space/],
      [{ Name: "n1", ConfigOnly: true, Attachable: true }, 403, /Network operator fields like/],
      [{ Name: "n1", ConfigOnly: true, Internal: true }, 403, /Network operator fields like/],
    ];
    for (const [body, status, message] of refused) {
      const answer = await create(body);
      equal(answer.status, status, answer.message);
      match(answer.message, message);
    }
    const removed = await engine.send("DELETE", "/networks/host");
    deepEqual(
      [removed.status, removed.message],
      [403, "host is a pre-defined network and cannot be removed"],
    );
  });

  it("makes networks from one that only holds settings", async () => {
    const ipam = { Config: [{ Subnet: "10.66.0.0/24", IPRange: "10.66.0.128/25" }] };
    const options = { parent: "eth1", macvlan_mode: "private" };
    const held = { Name: "held", Driver: "bridge", ConfigOnly: true, IPAM: ipam };
    equal((await create({ ...held, Options: options, Labels: { a: "b" } })).status, 201);
    const shownHeld = await engine.send("GET", "/networks/held");
    deepEqual(
      ["Scope", "Driver", "ConfigOnly", "Options"].map((field) => shownHeld.at(field)),
      ["local", "null", true, options],
    );
    deepEqual(shownHeld.at("IPAM", "Config"), ipam.Config);
    const from = { ConfigFrom: { Network: "held" } };
    const made = { Name: "n1", Driver: "macvlan", Attachable: true, ...from };
    equal((await create(made)).status, 201);
    const shown = await engine.send("GET", "/networks/n1");
    deepEqual(
      ["Driver", "ConfigOnly", "ConfigFrom", "Options", "Labels", "Attachable"].map((field) =>
        shown.at(field),
      ),
      ["macvlan", false, { Network: "held" }, options, { a: "b" }, true],
    );
    deepEqual(shown.at("IPAM", "Config"), [
      { Subnet: "10.66.0.0/24", IPRange: "10.66.0.128/25", Gateway: "10.66.0.1" },
    ]);
    const refused: [object, number, RegExp][] = [
      [{ Name: "n2", ConfigFrom: { Network: "n1" } }, 404, /network "n1" does not exist/],
      [{ Name: "n2", ...from, ConfigOnly: true }, 403, /cannot depend on another configuration/],
      [{ Name: "n2", ...from, Options: options }, 403, /driver options are not supported if/],
      [{ Name: "n2", ...from, IPAM: ipam }, 403, /user-specified configurations are not supp/],
      [{ Name: "n2", ...from, Labels: { c: "d" } }, 403, /user-specified configurations are not/],
    ];
    for (const [body, status, message] of refused) {
      const answer = await create(body);
      equal(answer.status, status, answer.message);
      match(answer.message, message);
    }
    const busy = await engine.send("DELETE", "/networks/held");
    deepEqual(
      [busy.status, busy.message],
      [403, 'configuration network "held" is in use: remove n1 first'],
    );
    const pruned = await engine.send("POST", "/networks/prune");
    deepEqual(pruned.at("NetworksDeleted"), ["n1"]);
    equal((await engine.send("DELETE", "/networks/held")).status, 204);
  });

  it("puts no container into a network that only holds settings", async () => {
    await create({ Name: "held", ConfigOnly: true });
    await runningContainer("bridge");
    const answer = await engine.send("POST", "/networks/held/connect", {
      body: { Container: "box" },
    });
    equal(answer.status, 403);
    match(answer.message, /cannot create endpoint on configuration-only network/);
  });

  it("shows a running container with its addresses and ports, and in its network", async () => {
    await create({ Name: "n1", EnableIPv6: true });
    const id = await runningContainer("n1");
    const shown = await engine.send("GET", "/containers/box/json");
    equal(shown.at("NetworkSettings", "Networks", "n1", "IPAddress"), "172.20.0.2");
    equal(shown.at("NetworkSettings", "Networks", "n1", "Gateway"), "172.20.0.1");
    deepEqual(shown.at("NetworkSettings", "Ports"), {
      "80/tcp": [
        { HostIp: "0.0.0.0", HostPort: "8080" },
        { HostIp: "::", HostPort: "8080" },
      ],
      "81/tcp": null,
    });
    const lines = await engine.send("GET", "/containers/json");
    deepEqual(lines.at(0, "Ports", 1), {
      IP: "0.0.0.0",
      PrivatePort: 80,
      PublicPort: 8080,
      Type: "tcp",
    });
    const network = await engine.send("GET", "/networks/n1");
    equal(network.at("Containers", id, "IPv4Address"), "172.20.0.2/16");
    const busy = await engine.send("DELETE", "/networks/n1");
    equal(busy.status, 403);
    match(busy.message, /has active endpoints/);
  });

  it("finds containers by their networks and ports", async () => {
    await create({ Name: "n1" });
    await runningContainer("n1");
    const count = async (filters: object) => {
      const query = encodeURIComponent(JSON.stringify(filters));
      return (await engine.send("GET", `/containers/json?filters=${query}`)).json;
    };
    for (const filter of [
      { network: ["n1"] },
      { publish: ["8080"] },
      { publish: ["80-90/tcp"] },
      { expose: ["81"] },
    ])
      equal(((await count(filter)) as unknown[]).length, 1, JSON.stringify(filter));
    for (const filter of [
      { network: ["bridge"] },
      { publish: ["81"] },
      { publish: ["8080/udp"] },
      { expose: ["82"] },
    ])
      deepEqual(await count(filter), [], JSON.stringify(filter));
  });

  it("connects and disconnects containers", async () => {
    await create({ Name: "n1" });
    const id = await runningContainer("bridge");
    const join = { Container: "box", EndpointConfig: { Aliases: ["web"] } };
    const connect = () => engine.send("POST", "/networks/n1/connect", { body: join });
    equal((await connect()).status, 200);
    deepEqual(
      (await engine.send("GET", `/containers/${id}/json`)).at(
        "NetworkSettings",
        "Networks",
        "n1",
        "Aliases",
      ),
      ["web"],
    );
    const twice = await connect();
    equal(twice.status, 403);
    match(twice.message, /endpoint with name box already exists in network n1/);
    const leave = () =>
      engine.send("POST", "/networks/n1/disconnect", { body: { Container: "box" } });
    equal((await leave()).status, 200);
    match((await leave()).message, /is not connected to the network n1/);
    match(
      (await engine.send("POST", "/networks/host/connect", { body: join })).message,
      /cannot be connected to host network/,
    );
    match(
      (await engine.send("POST", "/networks/ingress/connect", { body: join })).message,
      /network ingress not manually attachable/,
    );
  });

  it("prunes networks without containers", async () => {
    await create({ Name: "used" });
    await create({ Name: "spare" });
    await runningContainer("used");
    const pruned = await engine.send("POST", "/networks/prune");
    deepEqual(pruned.at("NetworksDeleted"), ["spare"]);
  });
});
