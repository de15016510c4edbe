/**
 * The Engine API on TCP: plain, and with mutual TLS.
 */
import assert from "node:assert/strict";
import { request } from "node:https";
import { systemClock } from "../../../../src/common/clock/clock.ts";
import { issueNodeCertificate } from "../../../../src/common/identity/certificate.ts";
import { createKey, publicKeyOf } from "../../../../src/common/identity/key.ts";
import { createRootCa } from "../../../../src/common/identity/root.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { systemRandom } from "../../../../src/common/random/random.ts";
import { EngineServer, type EngineTls } from "../../../../src/engine/server.ts";
import { managerStatus, testFacts } from "../../../support/engine.ts";

type Authority = Awaited<ReturnType<typeof createRootCa>>;

async function keyAndCertificate(
  authority: Authority,
): Promise<{ key: string; certificate: string }> {
  const key = await createKey();
  const { certificate } = issueNodeCertificate({
    issuer: authority,
    publicKey: publicKeyOf(key),
    nodeId: "n",
    role: "manager",
    clusterId: "c",
    nowMs: Date.now(),
    lifeMs: 3_600_000,
    serial: systemRandom.bytes(16),
  });
  return { key, certificate };
}

describe("engine over TLS", () => {
  let port: number;
  let authority: Authority;
  let own: { key: string; certificate: string };
  const stop = new AbortController();
  let running: Promise<void>;
  before(async () => {
    authority = await createRootCa({ nowMs: Date.now(), random: systemRandom });
    own = await keyAndCertificate(authority);
    const server = new EngineServer({
      ports: {
        facts: testFacts,
        swarm: { status: () => managerStatus("n") },
        events: { changes: async function* () {} },
      } as never,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    const tls: EngineTls = { ...own, clientAuthority: authority.certificate };
    port = await server.listenTcp({ host: "127.0.0.1", port: 0, tls });
    running = server.run(stop.signal);
  });
  after(async () => {
    stop.abort();
    await running;
  });

  /** Status of a ping, or the error of the connection. */
  function ping(identity?: { key: string; certificate: string }): Promise<number> {
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          host: "127.0.0.1",
          port,
          path: "/_ping",
          ca: authority.certificate,
          checkServerIdentity: () => undefined,
          agent: false,
          ...(identity && { key: identity.key, cert: identity.certificate }),
        },
        (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        },
      );
      sent.on("error", reject);
      sent.end();
    });
  }

  it("serves clients with a certificate of its authority", async () => {
    assert.equal(await ping(await keyAndCertificate(authority)), 200);
  });

  it("refuses clients without one, or with one of another authority", async () => {
    await assert.rejects(ping());
    const other = await createRootCa({ nowMs: Date.now(), random: systemRandom });
    await assert.rejects(ping(await keyAndCertificate(other)));
  });
});
