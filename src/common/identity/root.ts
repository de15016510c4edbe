/**
 * The cluster's root CA: made once at `swarm init`, known to every node, its key held by managers only.
 */
import { createHash } from "node:crypto";
import type { Random } from "../random/random.ts";
import { certificatesFromPem } from "./algorithms.ts";
import { backdateMs, type Issuer, issueCaCertificate } from "./certificate.ts";
import { createKey, publicKeyOf } from "./key.ts";

/** Common name and unit of the root, as Docker's. */
export const rootName = "swarm-ca";
/** Life of the root: 20 years, as Docker's. */
export const rootLifeMs = 630_720_000 * 1000;

/** A new self-signed root. */
export async function createRootCa(options: {
  readonly nowMs: number;
  readonly random: Random;
}): Promise<Issuer> {
  const key = await createKey();
  const certificate = issueCaCertificate({
    subject: { commonName: rootName, organization: "", unit: "" },
    key,
    publicKey: publicKeyOf(key),
    notBeforeMs: options.nowMs - backdateMs,
    notAfterMs: options.nowMs + rootLifeMs,
    serial: options.random.bytes(16),
  });
  return { key, certificate };
}

/** Lower-case hex SHA-256 of the DER of the first certificate of a bundle: the root's fingerprint in tokens and objects. */
export function rootDigest(certificatePem: string): string {
  const [der] = certificatesFromPem(certificatePem);
  return createHash("sha256")
    .update(der ?? Buffer.alloc(0))
    .digest("hex");
}
