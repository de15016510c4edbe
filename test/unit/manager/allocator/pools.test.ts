/**
 * Addresses, numbers and ports: what is given, in which order, and when nothing is left.
 */
import assert from "node:assert/strict";
import { chooseSubnet, Subnet } from "../../../../manager/allocator/ipam.ts";
import { PublishedPorts } from "../../../../manager/allocator/ports.ts";
import { NetworkNumbers } from "../../../../manager/allocator/vni.ts";
import { EndpointSpec, IpamConfig, PortConfig } from "../../../../src/common/api/generated/api.ts";
import { type IpPrefix, parseAddress, parsePrefix } from "../../../../src/common/spec/cidr.ts";

function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new Error(`no prefix: ${text}`);
  return parsed;
}

function subnet(text: string, config: Partial<IpamConfig> = {}): Subnet {
  return new Subnet(IpamConfig.create({ ...config, subnet: text }), prefix(text));
}

function address(text: string) {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}

/** Takes until nothing is left. */
function takeAll(from: Subnet): string[] {
  const all: string[] = [];
  for (let i = 0; ; i++) {
    const taken = from.take(`h${i}`);
    if (taken === undefined) return all;
    all.push(taken);
  }
}

describe("manager/allocator/ipam", () => {
  for (const [fact, cidr, config, all] of [
    ["all but the first and the last", "10.0.0.0/29", {}, [1, 2, 3, 4, 5, 6]],
    [
      "neither gateway nor reserved",
      "10.0.0.0/29",
      { gateway: "10.0.0.1", reserved: { a: "10.0.0.4" } },
      [2, 3, 5, 6],
    ],
    ["within the range only", "10.0.0.0/24", { range: "10.0.0.64/30" }, [64, 65, 66, 67]],
    ["from host bits in the subnet all the same", "10.0.0.5/30", {}, [5, 6]],
    ["nothing of a network of one address", "10.0.0.0/32", {}, []],
  ] as const) {
    it(`gives ${fact}`, () => {
      const one = subnet(cidr, config);
      assert.deepEqual(
        takeAll(one),
        all.map((last) => `10.0.0.${last}/${cidr.split("/")[1]}`),
      );
      if (!("range" in config)) assert.equal(one.size, all.length);
    });
  }

  it("gives IPv6 addresses to the last", () => {
    assert.deepEqual(takeAll(subnet("fd00::/126")), ["fd00::1/126", "fd00::2/126", "fd00::3/126"]);
    assert.equal(subnet("fd00::/64").take("a"), "fd00::1/64");
  });

  it("lets a freed address rest while there are others", () => {
    const one = subnet("10.0.0.0/29");
    assert.equal(one.take("a"), "10.0.0.1/29");
    assert.equal(one.release("a"), true);
    assert.equal(one.take("b"), "10.0.0.2/29");
    takeAll(one);
    assert.equal(one.take("z"), undefined);
    one.release("b");
    assert.equal(one.take("z"), "10.0.0.2/29");
  });

  it("goes on after the highest address the store knows", () => {
    const one = subnet("10.0.0.0/24");
    one.note("a", address("10.0.0.9"));
    assert.equal(one.take("b"), "10.0.0.10/24");
  });

  it("gives an address asked for to one only, and keeps those that labels name", () => {
    const one = subnet("10.0.0.0/29");
    assert.equal(one.takeAt("a", address("10.0.0.1")), "10.0.0.1/29");
    assert.equal(one.takeAt("b", address("10.0.0.1")), undefined);
    assert.equal(one.takeAt("a", address("10.0.0.1")), "10.0.0.1/29");
    for (const text of ["10.0.0.0", "10.0.0.7", "10.0.1.1"])
      assert.equal(one.takeAt("b", address(text)), undefined, text);
    one.keep(address("10.0.0.2"));
    one.keep(address("10.0.0.2"));
    assert.equal(one.take("b"), "10.0.0.3/29");
    one.unkeep(address("10.0.0.2"));
    assert.deepEqual(takeAll(one), ["10.0.0.4/29", "10.0.0.5/29", "10.0.0.6/29"]);
    one.unkeep(address("10.0.0.2"));
    assert.equal(one.take("c"), "10.0.0.2/29");
  });

  for (const [fact, pools, length, taken, chosen] of [
    ["the first", ["10.0.0.0/8"], 24, [], "10.0.0.0/24"],
    ["the first gap", ["10.0.0.0/8"], 24, ["10.0.0.0/24", "10.0.2.0/24"], "10.0.1.0/24"],
    ["what is behind a larger one", ["10.0.0.0/8"], 24, ["10.0.0.0/16"], "10.1.0.0/24"],
    ["what is behind a smaller one", ["10.0.0.0/8"], 24, ["10.0.0.128/25"], "10.0.1.0/24"],
    ["not what is too small a gap", ["10.0.0.0/22"], 23, ["10.0.1.0/24"], "10.0.2.0/23"],
    ["from the next pool", ["10.0.0.0/24", "10.9.0.0/16"], 24, ["10.0.0.0/24"], "10.9.0.0/24"],
    ["nothing when all is taken", ["10.0.0.0/23"], 24, ["10.0.0.0/24", "10.0.1.0/30"], undefined],
    ["nothing under one that holds all", ["10.1.0.0/16"], 24, ["10.0.0.0/8"], undefined],
    [
      "of nested ones the end of the larger",
      ["10.0.0.0/8"],
      24,
      ["10.0.0.0/23", "10.0.0.0/24"],
      "10.0.2.0/24",
    ],
  ] as const) {
    it(`chooses ${fact}`, () => {
      assert.equal(chooseSubnet({ pools, length }, taken.map(prefix)), chosen);
    });
  }
});

describe("manager/allocator/vni", () => {
  it("goes up, gives a network the same again, and begins anew at the end", () => {
    const numbers = new NetworkNumbers();
    assert.equal(numbers.take("a"), 4097);
    assert.equal(numbers.take("b"), 4098);
    assert.equal(numbers.take("a"), 4097);
    numbers.release("b");
    assert.equal(numbers.take("c"), 4099);
    numbers.note("d", 2 ** 24 - 1);
    assert.equal(numbers.take("e"), 4098);
  });
});

describe("manager/allocator/ports", () => {
  const spec = (...ports: readonly Partial<PortConfig>[]) =>
    EndpointSpec.create({
      ports: ports.map((port) => PortConfig.create({ targetPort: 80, ...port })),
    });
  const filled = (ports: readonly PortConfig[] | undefined) =>
    ports?.map(({ protocol, publishedPort }) => `${protocol}/${publishedPort}`);

  it("chooses from 30000 up, for each protocol of its own", () => {
    const ports = new PublishedPorts();
    const one = spec({}, { targetPort: 81 }, { protocol: "udp" }, { publishedPort: 8080 });
    assert.deepEqual(filled(ports.fill("a", one, [])), [
      "tcp/30000",
      "tcp/30001",
      "udp/30000",
      "tcp/8080",
    ]);
  });

  it("leaves out what others publish, be it in host mode, and what the service names itself", () => {
    const ports = new PublishedPorts();
    ports.note("x", spec({ publishedPort: 30_000, publishMode: "host" }).ports);
    const one = spec({}, { publishedPort: 30_001, targetPort: 81 });
    assert.deepEqual(filled(ports.fill("a", one, [])), ["tcp/30002", "tcp/30001"]);
  });

  it("leaves ports in host mode to the nodes", () => {
    const one = spec({ publishMode: "host" });
    assert.deepEqual(filled(new PublishedPorts().fill("a", one, [])), ["tcp/0"]);
  });

  it("keeps a port that was chosen before", () => {
    const ports = new PublishedPorts();
    const first = ports.fill("a", spec({}), []) ?? [];
    ports.note("a", first);
    const second = spec({ targetPort: 81 }, {});
    assert.deepEqual(filled(ports.fill("a", second, first)), ["tcp/30001", "tcp/30000"]);
    ports.note("b", [PortConfig.create({ publishedPort: 30_000 })]);
    assert.notEqual(filled(ports.fill("a", spec({}), first))?.[0], "tcp/30000");
  });

  it("has none when all are taken, and one again when a service goes", () => {
    const ports = new PublishedPorts();
    for (let port = 30_000; port <= 32_767; port++)
      ports.note(`s${port}`, [PortConfig.create({ publishedPort: port })]);
    assert.equal(ports.fill("a", spec({}), []), undefined);
    assert.deepEqual(filled(ports.fill("a", spec({ protocol: "sctp" }), [])), ["sctp/30000"]);
    ports.release("s31000");
    assert.deepEqual(filled(ports.fill("a", spec({}), [])), ["tcp/31000"]);
  });
});
