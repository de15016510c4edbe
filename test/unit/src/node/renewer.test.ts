/**
 * When a node asks for its next certificate, whom, with what, and what it does when it gets none.
 */
import assert from "node:assert/strict";
import type { NodeRole } from "../../../../src/common/api/generated/api.ts";
import { type Clock, FakeClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { identityOf, parseCertificate } from "../../../../src/common/identity/certificate.ts";
import type { Identity, TlsMaterial } from "../../../../src/common/identity/types.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import type { Random } from "../../../../src/common/random/random.ts";
import type { ReceivedIdentity } from "../../../../src/common/rpc/ca-client.ts";
import { type CaCall, isValidAt, Renewer } from "../../../../src/node/renewer.ts";
import { type TestCluster, testCluster } from "../../../support/test-cluster.ts";

const hour = 3600_000;
/** Always draws the least: renewal at half of the time, retries after half of the pause. */
const random: Random = { float: () => 0, int: () => 0, bytes: (length) => new Uint8Array(length) };

function identity(tls: TlsMaterial): Identity {
  return identityOf(parseCertificate(tls.certificate));
}

/** Lets everything run that does not wait for time. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** One request that waits for the test's answer. */
interface Asked extends CaCall {
  readonly kind: "renew" | "renew-expired";
  give(tls: TlsMaterial): void;
  fail(error: unknown): void;
}

/** A node with its renewer, and the test as its CA. */
class Bench {
  readonly fake = new FakeClock();
  /** How far the wall clock was set on. */
  jumpMs = 0;
  readonly clock: Clock = {
    now: () => this.fake.now() + this.jumpMs,
    monotonic: () => this.fake.monotonic(),
    sleep: (ms, signal) => this.fake.sleep(ms, signal),
  };
  readonly stop = new AbortController();
  readonly stored: TlsMaterial[] = [];
  readonly removals: ClusterError[] = [];
  managers: string[] = ["a:1", "b:1"];
  selfIssued: (() => TlsMaterial) | undefined;
  storeFailure: Error | undefined;
  asked = 0;
  readonly renewer: Renewer;
  present: TlsMaterial;
  #requests: Asked[] = [];
  #waiting: ((asked: Asked) => void)[] = [];

  constructor(present: TlsMaterial) {
    this.present = present;
    this.renewer = new Renewer(
      {
        present: () => this.present,
        managers: () => this.managers,
        renewed: async ({ tls }) => {
          if (this.storeFailure !== undefined) throw this.storeFailure;
          this.present = tls;
          this.stored.push(tls);
        },
        selfIssue: () => this.selfIssued?.(),
        removed: (error) => this.removals.push(error),
      },
      { clock: this.clock, random, log: silentLog },
      {
        renew: (call) => this.#ask("renew", call),
        renewExpired: (call) => this.#ask("renew-expired", call),
      },
    );
  }

  run(): Promise<void> {
    return this.renewer.run(this.stop.signal);
  }

  /** The next request, which may have come already. */
  request(): Promise<Asked> {
    const known = this.#requests.shift();
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Milliseconds until half of the certificate's time is over. */
  dueInMs(): number {
    const { notBeforeMs, notAfterMs } = identity(this.present);
    return (notBeforeMs + notAfterMs) / 2 - this.clock.now();
  }

  #ask(kind: Asked["kind"], call: CaCall): Promise<ReceivedIdentity> {
    this.asked += 1;
    return new Promise((resolve, reject) => {
      if (call.signal.aborted) return reject(call.signal.reason);
      const give = (tls: TlsMaterial) => resolve({ tls, identity: identity(tls) });
      call.signal.addEventListener("abort", () => reject(call.signal.reason), { once: true });
      const asked = { ...call, kind, give, fail: reject };
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#requests.push(asked);
      else waiting(asked);
    });
  }
}

describe("src/node/renewer", () => {
  let cluster: TestCluster;
  let bench: Bench;
  before(async () => {
    cluster = await testCluster();
  });
  afterEach(() => bench.stop.abort());

  async function certificate(role: NodeRole, nowMs: number, key?: string): Promise<TlsMaterial> {
    const options = { nodeId: "n", nowMs, lifeMs: 9 * hour };
    return (await cluster.node(role, key === undefined ? options : { ...options, key })).tls;
  }

  async function started(role: NodeRole = "worker"): Promise<{ run: Promise<void> }> {
    bench = new Bench(await certificate(role, new FakeClock().now()));
    const run = bench.run();
    await settled();
    return { run };
  }

  /** Answers a request as a CA would. */
  async function grant(asked: Asked, role: NodeRole = "worker"): Promise<void> {
    asked.give(await certificate(role, bench.clock.now(), asked.key));
    await settled();
  }

  const unavailable = new ClusterError("unavailable", "nobody is there");
  const removed = new ClusterError("permission-denied", "removed", { fields: { removed: true } });

  it("takes a certificate that was issued while the clock was ahead for none", async () => {
    await started();
    const { tls } = await cluster.node("manager");
    const found = identity(tls);
    assert.equal(isValidAt(found, found.notBeforeMs - 1), false);
    assert.equal(isValidAt(found, found.notBeforeMs), true);
    assert.equal(isValidAt(found, found.notAfterMs + 1), false);
  });

  it("asks when half of the time is over, not before", async () => {
    await started();
    const dueInMs = bench.dueInMs();
    await bench.fake.advance(dueInMs - 1);
    assert.equal(bench.asked, 0);
    await bench.fake.advance(1);
    const asked = await bench.request();
    assert.equal(asked.kind, "renew");
    assert.equal(asked.address, "a:1");
    assert.equal(asked.present, bench.present);
    await grant(asked);
    assert.deepEqual(
      bench.stored.map((tls) => tls.key),
      [asked.key],
    );
  });

  it("counts from the new certificate then, and takes a new key", async () => {
    await started();
    await bench.fake.advance(bench.dueInMs());
    const first = await bench.request();
    await grant(first);
    await bench.fake.advance(bench.dueInMs() - 1);
    assert.equal(bench.asked, 1);
    await bench.fake.advance(1);
    assert.notEqual((await bench.request()).key, first.key);
  });

  it("asks at once when told to", async () => {
    await started();
    bench.renewer.now();
    await grant(await bench.request(), "manager");
    assert.equal(identity(bench.present).role, "manager");
    await bench.fake.advance(60_000);
    assert.equal(bench.asked, 1);
  });

  it("asks once more when it was told to while it was asking", async () => {
    await started();
    bench.renewer.now();
    const first = await bench.request();
    bench.renewer.now();
    await grant(first);
    await grant(await bench.request(), "manager");
    assert.equal(bench.stored.length, 2);
  });

  it("tries the managers in turn with one key, after growing pauses, and keeps the old one", async () => {
    await started();
    const { present } = bench;
    bench.renewer.now();
    const addresses: string[] = [];
    const keys = new Set<string>();
    for (const pauseMs of [500, 1000, 2000, 4000]) {
      const asked = await bench.request();
      addresses.push(asked.address);
      keys.add(asked.key);
      asked.fail(unavailable);
      await settled();
      await bench.fake.advance(pauseMs - 1);
      assert.equal(bench.asked, addresses.length);
      await bench.fake.advance(1);
    }
    assert.deepEqual(addresses, ["a:1", "b:1", "a:1", "b:1"]);
    assert.equal(keys.size, 1);
    assert.equal(bench.present, present);
  });

  it("asks at once when told to in the pause after a failure", async () => {
    await started();
    bench.renewer.now();
    (await bench.request()).fail(unavailable);
    await settled();
    bench.renewer.now();
    await grant(await bench.request(), "manager");
    assert.equal(bench.asked, 2);
  });

  it("waits until a manager is known", async () => {
    await started();
    bench.managers = [];
    bench.renewer.now();
    // The first key is made on another thread; nothing else tells that the attempt has failed.
    while (bench.asked === 0) {
      await bench.fake.advance(1000);
      bench.managers = ["c:1"];
    }
    assert.equal((await bench.request()).address, "c:1");
  });

  it("tries again with the same key when the new certificate could not be stored", async () => {
    await started();
    bench.renewer.now();
    bench.storeFailure = new Error("no space left on device");
    const first = await bench.request();
    await grant(first);
    bench.storeFailure = undefined;
    await bench.fake.advance(500);
    const second = await bench.request();
    assert.equal(second.key, first.key);
    await grant(second);
    assert.equal(bench.stored.length, 1);
  });

  it("asks without a client certificate once the present one has expired", async () => {
    await started();
    bench.jumpMs = 200 * 24 * hour;
    await bench.fake.advance(30_000);
    const asked = await bench.request();
    assert.equal(asked.kind, "renew-expired");
    assert.equal(asked.nowMs, bench.clock.now());
    await grant(asked);
    assert.equal(bench.stored.length, 1);
  });

  it("issues one itself when it has expired and nobody answers", async () => {
    await started("manager");
    bench.jumpMs = 200 * 24 * hour;
    const own = await certificate("manager", bench.clock.now(), bench.present.key);
    bench.selfIssued = () => own;
    await bench.fake.advance(30_000);
    (await bench.request()).fail(unavailable);
    await settled();
    assert.deepEqual(bench.stored, [own]);
  });

  it("issues none itself while the present one is valid", async () => {
    await started("manager");
    bench.selfIssued = () => assert.fail("asked for one");
    bench.renewer.now();
    (await bench.request()).fail(unavailable);
    await settled();
    assert.deepEqual(bench.stored, []);
    assert.deepEqual(bench.removals, []);
  });

  it("gives up when the node was removed", async () => {
    const { run } = await started();
    bench.renewer.now();
    (await bench.request()).fail(removed);
    await run;
    assert.deepEqual(bench.removals, [removed]);
    assert.deepEqual(bench.stored, []);
  });

  it("does not bring a removed manager back with its own copy of the CA key", async () => {
    const { run } = await started("manager");
    bench.selfIssued = () => assert.fail("asked for one");
    bench.jumpMs = 200 * 24 * hour;
    await bench.fake.advance(30_000);
    (await bench.request()).fail(removed);
    await run;
    assert.deepEqual(bench.removals, [removed]);
    assert.deepEqual(bench.stored, []);
  });

  it("ends while it waits for the time to come", async () => {
    const { run } = await started();
    bench.stop.abort();
    await run;
  });

  it("ends while it asks, and issues nothing then", async () => {
    const { run } = await started("manager");
    bench.selfIssued = () => assert.fail("asked for one");
    bench.jumpMs = 200 * 24 * hour;
    await bench.fake.advance(30_000);
    await bench.request();
    bench.stop.abort();
    await run;
    assert.deepEqual(bench.removals, []);
  });

  it("ends while it waits to try again", async () => {
    const { run } = await started();
    bench.renewer.now();
    (await bench.request()).fail(unavailable);
    await settled();
    bench.stop.abort();
    await run;
  });
});
