/**
 * The name server with real sockets on loopback: what a client of any kind gets from it, and what it survives.
 *
 * Askers are told apart by their source addresses 127.0.0.2 (in the network), 127.0.0.3 (the same, by own resolvers) and any
 * other (strangers).
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { emptyClusterState } from "../../../../agent/network/cluster-state.ts";
import { decode, encode, type Packet } from "../../../../agent/network/dns/codec.ts";
import { framed } from "../../../../agent/network/dns/exchange.ts";
import { NameIndex } from "../../../../agent/network/dns/name-index.ts";
import type { Resolver } from "../../../../agent/network/dns/resolvers.ts";
import { type Caller, NameServer } from "../../../../agent/network/dns/server.ts";
import { applyUpdate } from "../../../../agent/network/state-change.ts";
import {
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkService,
  NetworkUpdate,
  ServiceAliases,
  VirtualIp,
} from "../../../../src/common/api/generated/api.ts";
import { systemClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { systemRandom } from "../../../../src/common/random/random.ts";
import { freePort } from "../../../support/free-port.ts";

const askerAddress = "127.0.0.2";
const strangerAddress = "127.0.0.4";
const manyTasks = 300;

function endpoint(service: string, number: number): NetworkEndpoint {
  return NetworkEndpoint.create({
    id: `${service}.${number}`,
    name: `${service}.${number}`,
    serviceId: service,
    ready: true,
    networks: [
      NetworkAttachment.create({
        networkId: "n",
        addresses: [`10.1.${number >> 8}.${number & 255}/16`],
      }),
    ],
  });
}

function index(): NameIndex {
  const made = new NameIndex();
  const update = NetworkUpdate.create({
    networks: [Network.create({ id: "n" })],
    services: [
      NetworkService.create({
        id: "web",
        name: "web",
        mode: "vip",
        virtualIps: [VirtualIp.create({ networkId: "n", address: "10.1.200.1/16" })],
        aliases: [ServiceAliases.create({ networkId: "n" })],
      }),
    ],
    endpoints: Array.from({ length: manyTasks }, (_, number) => endpoint("web", number)),
  });
  const { state, change } = applyUpdate(emptyClusterState, update, "me");
  made.update(state, change);
  return made;
}

/** What came back over UDP; asks again now and then, as clients do, sooner where questions are lost. */
async function overUdp(
  port: number,
  messages: readonly (Buffer | object)[],
  from = askerAddress,
  againMs = 30_000,
): Promise<(Packet & { bytes: number })[]> {
  const socket = createSocket("udp4");
  socket.bind(0, from);
  await once(socket, "listening");
  const found: (Packet & { bytes: number })[] = [];
  try {
    for (const message of messages) {
      const bytes = Buffer.isBuffer(message) ? message : encode(message);
      const send = () => socket.send(bytes, port, "127.0.0.1");
      send();
      const again = setInterval(send, againMs);
      const [response] = (await once(socket, "message", {
        signal: AbortSignal.timeout(60_000),
      }).finally(() => clearInterval(again))) as [Buffer];
      found.push({ ...decode(response), bytes: response.length });
    }
  } finally {
    socket.close();
  }
  return found;
}

async function overTcp(port: number, messages: readonly object[]): Promise<Packet[]> {
  const socket = connect({ port, host: "127.0.0.1", localAddress: askerAddress });
  for (const message of messages) socket.write(framed(encode(message)));
  socket.end();
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  let bytes = Buffer.concat(pieces);
  const found: Packet[] = [];
  while (bytes.length > 0) {
    const length = bytes.readUInt16BE(0);
    found.push(decode(bytes.subarray(2, 2 + length)));
    bytes = bytes.subarray(2 + length);
  }
  return found;
}

function query(name: string, type = "A", more: object = {}): object {
  return { type: "query", id: 4711, flags: 0x0100, questions: [{ name, type }], ...more };
}

const edns = (size: number) => ({
  additionals: [{ type: "OPT", name: ".", udpPayloadSize: size }],
});

/** A resolver of the world, over both protocols. */
class FakeResolver {
  readonly asked: string[] = [];
  respond: (asked: Packet, overTcp: boolean) => object | undefined = (asked) => ({
    ...asked,
    type: "response",
    additionals: [],
    answers: [{ type: "A", name: asked.questions[0]?.name, data: "192.0.2.1", ttl: 60 }],
  });
  #udp: Socket | undefined;
  #tcp: Server | undefined;

  async open(address: string): Promise<Resolver> {
    const port = await freePort();
    const udp = createSocket("udp4");
    udp.on("message", (bytes, from) => {
      const response = this.#answer(bytes, false);
      if (response !== undefined) udp.send(response, from.port, from.address);
    });
    udp.bind(port, address);
    await once(udp, "listening");
    const tcp = createServer((connection) =>
      connection.on("data", (bytes) => {
        const response = this.#answer(bytes.subarray(2), true);
        if (response !== undefined) connection.end(framed(response));
      }),
    );
    tcp.listen(port, address);
    await once(tcp, "listening");
    [this.#udp, this.#tcp] = [udp, tcp];
    return { address, port };
  }

  close(): void {
    this.#udp?.close();
    this.#tcp?.close();
  }

  #answer(bytes: Buffer, overTcp: boolean): Buffer | undefined {
    const asked = decode(bytes);
    this.asked.push(`${overTcp ? "tcp" : "udp"} ${asked.questions[0]?.name}`);
    const response = this.respond(asked, overTcp);
    return response === undefined ? undefined : encode({ ...response, id: asked.id });
  }
}

describe("agent/network/dns (server)", function () {
  this.timeout(300_000);
  let port: number;
  let stop: AbortController;
  let running: Promise<void>;
  let resolvers: Resolver[];
  let fakes: FakeResolver[];

  beforeEach(async () => {
    [stop, resolvers, fakes] = [new AbortController(), [], []];
    port = await freePort();
    const server = new NameServer({
      index: index(),
      callerOf: (address): Caller | undefined =>
        address === strangerAddress
          ? undefined
          : { containerId: address, networks: ["n"], resolvers },
      within: (work) => work(),
      address: "127.0.0.1",
      port,
      resolversPath: "/etc/resolv.conf",
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    running = server.run(stop.signal);
  });
  afterEach(async () => {
    stop.abort();
    await running;
    for (const fake of fakes) fake.close();
  });

  async function resolver(address: string): Promise<FakeResolver> {
    const fake = new FakeResolver();
    fakes.push(fake);
    resolvers.push(await fake.open(address));
    return fake;
  }

  it("answers over UDP with what stands in the question, and for a short time", async () => {
    const [found] = await overUdp(port, [query("WeB")]);
    equal(found?.rcode, "NOERROR");
    equal(found?.id, 4711);
    ok(found?.flag_aa);
    equal(found?.questions[0]?.name, "WeB");
    const records = found?.answers.map(({ name, data, ttl }) => ({ name, data, ttl }));
    deepEqual(records, [{ name: "WeB", data: "10.1.200.1", ttl: 5 }]);
  });

  it("tells a name without such addresses from one that nobody has", async () => {
    const [none, reverse, unknown] = await overUdp(port, [
      query("web", "AAAA"),
      query("1.200.1.10.in-addr.arpa", "PTR"),
      query("9.0.18.172.in-addr.arpa", "PTR"),
    ]);
    deepEqual([none?.rcode, none?.answers.length], ["NOERROR", 0]);
    equal(reverse?.answers[0]?.data, "web");
    equal(unknown?.rcode, "NXDOMAIN");
  });

  it("gives as much as fits over UDP, says so, and all of it over TCP", async () => {
    const [small, large] = await overUdp(port, [
      query("tasks.web"),
      query("tasks.web", "A", edns(4096)),
    ]);
    ok(small !== undefined && large !== undefined);
    ok(small.flag_tc && small.answers.length > 25 && small.bytes <= 512, `${small.bytes}`);
    ok(large.flag_tc && large.answers.length > 70 && large.bytes <= 1232, `${large.bytes}`);
    ok(large.additionals.some(({ type }) => type === "OPT"));
    const [whole, again] = await overTcp(port, [query("tasks.web"), query("tasks.web")]);
    equal(whole?.answers.length, manyTasks);
    ok(!whole?.flag_tc);
    equal(new Set(whole?.answers.map(({ data }) => data)).size, manyTasks);
    ok(again?.answers[0]?.data !== whole?.answers[0]?.data, "it begins with another one");
  });

  it("asks the resolvers for what is not ours, and for nothing that is", async () => {
    const world = await resolver("127.0.0.1");
    const found = await overUdp(port, [query("example.com"), query("web", "MX"), query("web")]);
    equal(found[0]?.answers[0]?.data, "192.0.2.1");
    equal(found[0]?.id, 4711);
    deepEqual(world.asked, ["udp example.com"]);
  });

  it("takes the next resolver when one is not there, refuses or fails", async () => {
    const refusing = await resolver("127.0.0.1");
    refusing.respond = (asked) => ({ ...asked, type: "response", flags: 5, additionals: [] });
    resolvers.unshift({ address: "127.0.0.1", port: await freePort() });
    await resolver("127.0.0.1");
    const [found] = await overUdp(port, [query("example.com")]);
    equal(found?.answers[0]?.data, "192.0.2.1");
  });

  it("takes the next resolver when one says nothing, and asks the silent one last from then on", async () => {
    const silent = await resolver("127.0.0.1");
    silent.respond = () => undefined;
    const second = await resolver("127.0.0.6");
    const [found] = await overUdp(port, [query("example.com")]);
    equal(found?.answers[0]?.data, "192.0.2.1");
    deepEqual([silent.asked.length, second.asked.length], [1, 1]);
  });

  it("says that it failed when nobody answers", async () => {
    resolvers.push({ address: "127.0.0.1", port: await freePort() });
    const [found] = await overUdp(port, [query("example.com")]);
    equal(found?.rcode, "SERVFAIL");
  });

  it("gets over TCP what does not fit, for who asks over TCP", async () => {
    const world = await resolver("127.0.0.1");
    const plain = world.respond;
    world.respond = (asked, isTcp) =>
      isTcp ? plain(asked, isTcp) : { ...asked, type: "response", flags: 0x0200 };
    const [cut] = await overUdp(port, [query("example.com")]);
    ok(cut?.flag_tc);
    const [whole] = await overTcp(port, [query("example.com")]);
    equal(whole?.answers[0]?.data, "192.0.2.1");
    deepEqual(world.asked, ["udp example.com", "udp example.com", "tcp example.com"]);
  });

  it("believes no answer to another question or number", async () => {
    const liar = await resolver("127.0.0.1");
    liar.respond = (asked) => ({
      type: "response",
      questions: [{ name: "other.com", type: "A" }],
      answers: [{ type: "A", name: asked.questions[0]?.name, data: "203.0.113.9", ttl: 60 }],
    });
    await resolver("127.0.0.6");
    const [found] = await overUdp(port, [query("example.com")]);
    equal(found?.answers[0]?.data, "192.0.2.1");
  });

  it("says nothing to strangers, and answers others meanwhile", async () => {
    const socket = createSocket("udp4");
    socket.bind(0, strangerAddress);
    await once(socket, "listening");
    socket.on("message", () => ok(false, "a stranger was answered"));
    socket.send(encode(query("web")), port, "127.0.0.1");
    await overUdp(port, [query("web"), query("web")]);
    const connection = connect({ port, host: "127.0.0.1", localAddress: strangerAddress });
    connection.on("error", () => undefined);
    await once(connection, "close");
    socket.close();
  });

  const faults: readonly (readonly [string, Buffer, string])[] = [
    ["a cut question", encode(query("web")).subarray(0, 14), "FORMERR"],
    [
      "a name that points at itself",
      Buffer.from("000101000001000000000000c00c00010001", "hex"),
      "FORMERR",
    ],
    ["no question", Buffer.from("000101000000000000000000", "hex"), "FORMERR"],
    ["two questions", Buffer.from("000101000002000000000000", "hex"), "FORMERR"],
    [
      "counts beyond its end",
      Buffer.from("00010100000100ffffffffff0377656200000100 01".replace(" ", ""), "hex"),
      "FORMERR",
    ],
    ["another kind of message", Buffer.from("000128000001000000000000", "hex"), "NOTIMP"],
  ];
  for (const [name, bytes, code] of faults) {
    it(`answers ${name} by ${code}`, async () => {
      const [found] = await overUdp(port, [bytes]);
      equal(found?.rcode, code);
    });
  }

  it("survives garbage over UDP and TCP", async () => {
    const random = createSocket("udp4");
    random.bind(0, askerAddress);
    await once(random, "listening");
    for (let i = 0; i < 3000; i++) {
      const bytes = Buffer.from(systemRandom.bytes(systemRandom.int(80)));
      // Some look like questions.
      if (i % 2 === 0 && bytes.length > 12)
        Buffer.from("000101000001000000000000", "hex").copy(bytes);
      random.send(bytes, port, "127.0.0.1");
    }
    for (let i = 0; i < 20; i++) {
      const connection = connect({ port, host: "127.0.0.1", localAddress: "127.0.0.3" });
      connection.on("error", () => undefined);
      connection.write(systemRandom.bytes(3000));
      connection.end();
      connection.resume();
      await once(connection, "close");
    }
    random.close();
    const [found] = await overUdp(port, [query("web")], "127.0.0.5", 2_000);
    equal(found?.answers[0]?.data, "10.1.200.1");
  });

  it("lets one container not keep the others from asking", async () => {
    const silent = await resolver("127.0.0.1");
    silent.respond = () => undefined;
    const flood = createSocket("udp4");
    flood.bind(0, askerAddress);
    await once(flood, "listening");
    const connections = Array.from({ length: 100 }, () =>
      connect({ port, host: "127.0.0.1", localAddress: askerAddress }).on("error", () => undefined),
    );
    for (let i = 0; i < 20_000; i++) {
      flood.send(encode(query(`${i}.example.com`)), port, "127.0.0.1");
      if (i % 200 === 0) await new Promise(setImmediate);
    }
    const [found] = await overUdp(port, [query("web")], "127.0.0.5", 2_000);
    equal(found?.answers[0]?.data, "10.1.200.1");
    silent.respond = new FakeResolver().respond;
    const [world] = await overUdp(port, [query("example.com")], "127.0.0.5", 2_000);
    equal(world?.answers[0]?.data, "192.0.2.1");
    ok(silent.asked.length < 1200, `${silent.asked.length} were asked`);
    for (const connection of connections) connection.destroy();
    flood.close();
  });
});
