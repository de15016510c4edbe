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
      [{ Name: "n1", ...overlap }, 403, /Pool overlaps with other one on this address space/],
      [{ Name: "n1", Attachable: true }, 400, /leave --attachable out/],
      [{ Name: "n1", ConfigOnly: true }, 501, /ConfigOnly and ConfigFrom are not supported/],
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
