/**
 * Connections to service addresses that programs lead where they are opened: hosts with a task each, as bare namespaces.
 */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { createRequire } from "node:module";
import { deleteEntries, updateEntries } from "../../../../agent/network/bpf/calls.ts";
import { ConnectHooks } from "../../../../agent/network/connect/connect-hooks.ts";
import { addressOf, backendKey, countOf } from "../../../../agent/network/connect/entries.ts";
import type { SpacePlace } from "../../../../agent/network/connect/plan.ts";
import { countSlot, maps } from "../../../../agent/network/connect/programs.ts";
import { compareConnects } from "../../../../agent/network/explain/connects.ts";
import { RulesApplier } from "../../../../agent/network/nft/applier.ts";
import { ThreadNftables } from "../../../../agent/network/nft/library.ts";
import { slotsOf } from "../../../../agent/network/nft/slots.ts";
import { taskTable } from "../../../../agent/network/nft/task-table.ts";
import { newLog, silentLog } from "../../../../src/common/log/log.ts";
import { detachLink, linksHere, mapsHere } from "../../../support/bpf-descriptors.ts";
import { inside } from "../../../support/data-path-node.ts";
import { type LabHost, NetworkLab, type Probe, run } from "../../../support/network-lab.ts";

const vip = "10.0.1.200";
const vip6 = "fd01::200";
/** Connects one socket to three addresses, one after the other, and says who its peer is each time. */
const reconnect = `
  const koffi = require(process.argv[1]);
  const c = koffi.load("libc.so.6");
  const socket = c.func("int socket(int domain, int type, int protocol)");
  const connect = c.func("int connect(int fd, void *address, uint32_t length)");
  const getpeername = c.func("int getpeername(int fd, void *address, void *length)");
  const address = (text) => Buffer.from([2, 0, 0, 80, ...text.split(".").map(Number), 0, 0, 0, 0, 0, 0, 0, 0]);
  const fd = socket(2, 1, 0);
  for (const to of process.argv.slice(2)) {
    if (connect(fd, address(to), 16) !== 0) throw new Error(to + ": error " + koffi.errno());
    const [peer, length] = [Buffer.alloc(16), Buffer.from([16, 0, 0, 0])];
    getpeername(fd, peer, length);
    console.log([...peer.subarray(4, 8)].join("."));
    connect(fd, Buffer.alloc(16), 16);
  }`;

describe("agent/network/connect", function () {
  this.timeout(300_000);
  const refusals: string[] = [];
  const log = newLog((line) => refusals.push(line), { level: "info" });
  const thread = new ThreadNftables({ log: silentLog });
  const applier = new RulesApplier({ nftables: thread, log: silentLog });
  const lab = new NetworkLab();
  let [one, two, three] = [] as unknown as readonly [LabHost, LabHost, LabHost];
  let tasks: readonly [Probe, Probe, Probe];
  let hooks = new ConnectHooks({ thread, isWanted: true, log });

  before(async () => {
    [one, two, three] = lab.build();
    tasks = [await lab.probe(one.task), await lab.probe(two.task), await lab.probe(three.task)];
    await tasks[0].serve(80, "one");
    await tasks[1].serve(80, "two");
  });

  beforeEach(() => {
    hooks = new ConnectHooks({ thread, isWanted: true, log });
  });

  afterEach(async () => {
    hooks.close();
    for (const { task } of lab.hosts) await applier.remove(task, { family: "inet", name: "skep" });
  });

  after(async () => {
    await applier.close();
    await lab.remove();
  });

  const place = (host: LabHost, backends: readonly string[], six: readonly string[] = []) => {
    const services = new Map([
      [vip, slotsOf(backends, undefined)],
      [vip6, slotsOf(six, undefined)],
    ]);
    return { file: host.task, table: host.task, slots: services } satisfies SpacePlace;
  };
  /** The rules that lead what programs do not. */
  const rules = (host: LabHost, backends: readonly string[], six: readonly string[] = []) =>
    applier.apply(
      host.task,
      taskTable({
        services: [
          { address: vip, backends, affinity: false },
          { address: vip6, backends: six, affinity: false },
        ],
        dns: undefined,
      }),
    );
  const ask = (probe: Probe, host: string, count = 1) => probe.call({ host, port: 80, count });
  const wordOf = (answers: readonly string[], at: number) =>
    [...new Set(answers.map((answer) => answer.split(" ")[at] ?? ""))].sort();
  /** Whether the kernel translates the connection from this port. */
  const translated = ({ task }: LabHost, localPort: number) =>
    run(task, ["cat", "/proc/net/nf_conntrack"]).includes(`dst=${vip} sport=${localPort} `);

  it("are taken by the kernel", async () => {
    await hooks.apply([place(one, two.overlay)]);
    deepEqual(refusals, []);
  });

  it("lead to every backend evenly, past the rules, with the caller's own address", async () => {
    await rules(one, []);
    await hooks.apply([place(one, two.overlay)]);
    const count = 1_000;
    const answers = await ask(tasks[0], vip, count);
    const shares = two.overlay.map((to) => answers.filter((a) => a.split(" ")[3] === to).length);
    equal(
      shares.reduce((sum, share) => sum + share),
      count,
    );
    // More than seven times the deviation that chance has: exceeded once in 10^12 runs.
    for (const share of shares) ok(Math.abs(share - count / 4) < count / 10, shares.join(" "));
    deepEqual(wordOf(answers, 1), [one.overlay[0]]);
  });

  it("lead sockets of IPv6 to addresses of both families, and each has called what it called", async () => {
    await hooks.apply([place(one, two.overlay, [two.overlay6])]);
    for (const host of [vip, vip6, `::ffff:${vip}`]) {
      match((await ask(tasks[0], host))[0] ?? "", /^two /, host);
      equal(await tasks[0].peer(await tasks[0].open({ host, port: 80 })), host);
    }
  });

  it("lead a task to itself", async () => {
    await hooks.apply([place(one, [one.overlay[0] ?? ""], [one.overlay6])]);
    for (const host of [vip, vip6]) {
      const own = host === vip ? one.overlay[0] : one.overlay6;
      const [answer = ""] = await ask(tasks[0], host);
      deepEqual([answer.split(" ")[0], answer.split(" ")[1]], ["one", own]);
    }
  });

  it("tell of a socket that connects elsewhere who its peer is now", async () => {
    const [direct = ""] = two.overlay;
    await hooks.apply([place(one, [direct])]);
    const koffi = createRequire(import.meta.url).resolve("koffi");
    const called = [vip, direct, vip];
    const words = [process.execPath, "-e", reconnect, koffi, ...called];
    deepEqual(
      inside(one.task, ...words)
        .trim()
        .split("\n"),
      called,
    );
  });

  it("lead new connections to the backends there are, and leave open ones alone", async () => {
    const [first = "", ...rest] = two.overlay;
    await hooks.apply([place(one, [first])]);
    const stream = await tasks[0].open({ host: vip, port: 80 });
    const before = await tasks[0].say(stream, "x");
    await hooks.apply([place(one, rest)]);
    deepEqual(wordOf(await ask(tasks[0], vip, 100), 3), rest);
    await rules(one, []);
    await hooks.apply([place(one, [])]);
    deepEqual(await ask(tasks[0], vip), ["ECONNREFUSED"]);
    equal(await tasks[0].say(stream, "x"), before);
  });

  it("lose no connection while backends change", async () => {
    const { overlay } = two;
    let slots = slotsOf(overlay, undefined);
    await rules(one, overlay);
    let calling = true;
    const calls = ask(tasks[0], vip, 300).finally(() => {
      calling = false;
    });
    for (let round = 0; calling; round++) {
      slots = slotsOf(overlay.slice(round % 4), slots);
      await hooks.apply([{ ...place(one, []), slots: new Map([[vip, slots]]) }]);
    }
    deepEqual(wordOf(await calls, 0), ["two"]);
  });

  it("leave the namespaces of others to the rules", async () => {
    await rules(three, [one.overlay[0] ?? ""]);
    await hooks.apply([place(one, two.overlay)]);
    deepEqual(wordOf(await ask(tasks[2], vip, 20), 0), ["one"]);
    deepEqual(wordOf(await ask(tasks[0], vip, 20), 0), ["two"]);
  });

  it("lead what each daemon says, where there are several", async () => {
    const others = new ConnectHooks({ thread, isWanted: true, log });
    await hooks.apply([place(one, two.overlay)]);
    await others.apply([place(three, [one.overlay[0] ?? ""])]);
    deepEqual(wordOf(await ask(tasks[0], vip, 20), 0), ["two"]);
    deepEqual(wordOf(await ask(tasks[2], vip, 20), 0), ["one"]);
    others.close();
    deepEqual(wordOf(await ask(tasks[0], vip, 20), 0), ["two"]);
  });

  it("leave every connection to the rules once they end, and open ones as they are", async () => {
    await rules(one, two.overlay);
    await hooks.apply([place(one, two.overlay)]);
    const stream = await tasks[0].open({ host: vip, port: 80, localPort: 30_001 });
    const before = await tasks[0].say(stream, "x");
    equal(translated(one, 30_001), false);
    hooks.close();
    const later = await tasks[0].call({ host: vip, port: 80, localPort: 30_002 });
    deepEqual(wordOf(later, 0), ["two"]);
    equal(translated(one, 30_002), true);
    equal(await tasks[0].say(stream, "x"), before);
    notEqual(before, "");
  });

  it("leave what is not TCP to the rules", async () => {
    await rules(one, [two.overlay[0] ?? ""]);
    await hooks.apply([place(one, two.overlay)]);
    const answers = await tasks[0].call({ host: vip, port: 80, protocol: "udp" });
    match(answers[0] ?? "", /^two /);
  });

  it("are restored when others changed what they know", async () => {
    const [first = "", ...rest] = two.overlay;
    await rules(one, [one.overlay[0] ?? ""]);
    const wanted = [place(one, two.overlay, [two.overlay6])];
    await hooks.apply(wanted);
    equal(await hooks.check(), undefined);
    const [spaces = -1] = mapsHere(maps.spaces);
    const [backends = -1] = mapsHere(maps.backends);
    const key = (slot: number) => backendKey(1, vip, slot);
    deleteEntries(backends, key(0), maps.backends);
    updateEntries(backends, Buffer.concat([key(countSlot), countOf(9)]), maps.backends);
    updateEntries(backends, Buffer.concat([key(8), addressOf("10.0.1.99")]), maps.backends);
    const tables = [{ space: one.task, slots: wanted[0]?.slots ?? new Map() }];
    const [, own] = compareConnects(tables, await hooks.look(), (space) => space);
    deepEqual(own?.differences, [
      `programs at connect: service address ${vip} does not lead to ${first}`,
      `programs at connect: service address ${vip} leads to 10.0.1.99, which is not ready`,
    ]);
    match(
      (await hooks.check()) ?? "",
      /^2 entries .* missing or others, 1 entries .* not of Skep$/,
    );
    deepEqual(wordOf(await ask(tasks[0], vip, 200), 3), [first, ...rest].sort());
    const [cookie = new Uint8Array(0)] = [...((await hooks.look())?.cookies.values() ?? [])];
    deleteEntries(spaces, cookie, maps.spaces);
    deepEqual(wordOf(await ask(tasks[0], vip, 20), 0), ["one"]);
    equal(await hooks.check(), "1 namespaces are missing or have another table");
    await hooks.apply(wanted);
    deepEqual(wordOf(await ask(tasks[0], vip, 20), 0), ["two"]);
    equal(await hooks.check(), undefined);
  });

  it("are loaded anew when others took one away", async () => {
    await rules(one, [one.overlay[0] ?? ""]);
    const wanted = [place(one, two.overlay)];
    await hooks.apply(wanted);
    for (const link of linksHere()) detachLink(link);
    deepEqual(wordOf(await ask(tasks[0], vip, 20), 0), ["one"]);
    equal(await hooks.check(), "4 of 4 programs are taken away");
    await hooks.apply(wanted);
    deepEqual(wordOf(await ask(tasks[0], vip, 20), 0), ["two"]);
  });

  it("know namespaces no more that went", async () => {
    await rules(one, [one.overlay[0] ?? ""]);
    await hooks.apply([place(one, two.overlay), place(three, two.overlay)]);
    hooks.forget(one.task);
    await hooks.apply([place(three, two.overlay)]);
    deepEqual(wordOf(await ask(tasks[0], vip, 20), 0), ["one"]);
  });
});
