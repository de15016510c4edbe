/**
 * What a node with an expired certificate signs to show that it still holds its member key.
 */
import { createHash } from "node:crypto";

/** The bytes to sign: a purpose, whom it concerns, the leader's challenge and the request it is for. */
export function renewalProof(options: {
  readonly clusterId: string;
  readonly nodeId: string;
  readonly nonce: Uint8Array;
  readonly csr: Uint8Array;
}): Buffer {
  return Buffer.concat([
    Buffer.from(`skep renew expired v1${options.clusterId}${options.nodeId}`),
    options.nonce,
    createHash("sha256").update(options.csr).digest(),
  ]);
}
