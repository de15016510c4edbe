/**
 * A cluster's identity for tests: a root CA and as many nodes as wanted, without any of the cluster behind it.
 */
import type { NodeRole } from "../../src/common/api/generated/api.ts";
import { type Issuer, issueNodeCertificate } from "../../src/common/identity/certificate.ts";
import { createKey, publicKeyOf } from "../../src/common/identity/key.ts";
import { createRootCa } from "../../src/common/identity/root.ts";
import type { TlsMaterial } from "../../src/common/identity/types.ts";
import { newId } from "../../src/common/ids/ids.ts";
import { systemRandom } from "../../src/common/random/random.ts";

/** A node of a test cluster. */
export interface TestNode {
  readonly nodeId: string;
  readonly tls: TlsMaterial;
}

/** A root and a maker of nodes. */
export interface TestCluster {
  readonly clusterId: string;
  readonly root: Issuer;
  node(
    role: NodeRole,
    options?: { nodeId?: string; nowMs?: number; lifeMs?: number; key?: string },
  ): Promise<TestNode>;
}

/** A new cluster; every call makes another one. */
export async function testCluster(): Promise<TestCluster> {
  const root = await createRootCa({
    nowMs: Date.now() - 365 * 24 * 3600_000,
    random: systemRandom,
  });
  const clusterId = newId(systemRandom);
  return {
    clusterId,
    root,
    node: async (role, options = {}) => {
      const nodeId = options.nodeId ?? newId(systemRandom);
      const key = options.key ?? (await createKey());
      const { certificate } = issueNodeCertificate({
        issuer: root,
        publicKey: publicKeyOf(key),
        nodeId,
        role,
        clusterId,
        nowMs: options.nowMs ?? Date.now(),
        lifeMs: options.lifeMs ?? 24 * 3600_000,
        serial: systemRandom.bytes(16),
      });
      return { nodeId, tls: { key, certificate, roots: root.certificate } };
    },
  };
}
