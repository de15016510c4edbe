/**
 * Measures the CA: certificates issued from requests, and keys made.
 *
 * One issue is what the leader does for a node: parse the request, check its signature, build the certificate, sign it.
 */
import { signRequest } from "../manager/ca/signer.ts";
import { Cluster, RootCa } from "../src/common/api/generated/api.ts";
import { createKey } from "../src/common/identity/key.ts";
import { createRequest } from "../src/common/identity/request.ts";
import { createRootCa, rootDigest } from "../src/common/identity/root.ts";
import { newId } from "../src/common/ids/ids.ts";
import { systemRandom } from "../src/common/random/random.ts";
import { median } from "./median.ts";

/** What to measure. */
export interface CaBenchOptions {
  /** Rounds, of which the median counts; 7 unless told. */
  readonly rounds?: number;
  /** Length of a round; 400 unless told. */
  readonly roundMs?: number;
}

/** Requests signed in turn, so that no single one stays warm. */
const requestsMax = 64;

/** Certificates and keys a second, medians over the rounds. */
export async function run(options: CaBenchOptions = {}): Promise<Record<string, number>> {
  const rounds = options.rounds ?? 7;
  const roundMs = options.roundMs ?? 400;
  const cluster = await makeCluster();
  const requests: Buffer[] = [];
  for (let i = 0; i < requestsMax; i++) requests.push(createRequest(await createKey()));
  const issued: number[] = [];
  const made: number[] = [];
  for (let round = 0; round < rounds; round++) {
    issued.push(
      await perSecond(roundMs, (i) => {
        signRequest({
          cluster,
          csr: requests[i % requestsMax] ?? Buffer.alloc(0),
          subject: { nodeId: newId(systemRandom), role: "worker" },
          nowMs: Date.now(),
          serial: systemRandom.bytes(16),
        });
      }),
    );
    made.push(await perSecond(roundMs, async () => void (await createKey())));
  }
  return { ca_issue_per_s: Math.round(median(issued)), ca_keygen_per_s: Math.round(median(made)) };
}

async function makeCluster(): Promise<Cluster> {
  const root = await createRootCa({ nowMs: Date.now(), random: systemRandom });
  return Cluster.create({
    id: newId(systemRandom),
    rootCa: RootCa.create({
      caKey: Buffer.from(root.key),
      caCert: Buffer.from(root.certificate),
      caCertDigest: rootDigest(root.certificate),
    }),
  });
}

async function perSecond(
  roundMs: number,
  once: (i: number) => void | Promise<void>,
): Promise<number> {
  const begin = performance.now();
  let count = 0;
  while (performance.now() - begin < roundMs) await once(count++);
  return (count * 1000) / (performance.now() - begin);
}
