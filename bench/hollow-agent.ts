/**
 * A hollow agent: a whole agent with an executor that runs nothing, with its own certificate and connection. Benchmarks have
 * as many of them as a cluster has nodes that do not fit on one machine.
 */
import { Agent } from "../agent/agent.ts";
import { NetworkState } from "../agent/network/state.ts";
import { memoryStorage } from "../agent/storage.ts";
import { DispatcherService, NodeDescription, Platform } from "../src/common/api/generated/api.ts";
import { systemClock } from "../src/common/clock/clock.ts";
import { type Issuer, issueNodeCertificate } from "../src/common/identity/certificate.ts";
import { publicKeyOf } from "../src/common/identity/key.ts";
import { rpcProbeMs } from "../src/common/limits/limits.ts";
import { silentLog } from "../src/common/log/log.ts";
import { systemRandom } from "../src/common/random/random.ts";
import { openDirect } from "../src/common/rpc/direct-client.ts";
import { isReached } from "../src/common/rpc/probe.ts";
import { FakeExecutor } from "../test/support/fake-executor.ts";

/** The manager hollow agents connect to. */
export interface HollowManager {
  readonly address: string;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly root: Issuer;
}

/** Who an agent is. */
export interface HollowNode {
  readonly nodeId: string;
  /** Its private key; agents may share one, as making thousands takes long. */
  readonly key: string;
  readonly hostname?: string;
  /** Where it says that its data path is. */
  readonly dataPathAddress?: string;
}

/** An agent that is not started yet. */
export function hollowAgent(node: HollowNode, manager: HollowManager): Agent {
  const { nodeId, key, dataPathAddress = "" } = node;
  const tls = { key, certificate: certificateOf(node, manager), roots: manager.root.certificate };
  const executor = new FakeExecutor();
  const platform = Platform.create({ os: "linux", architecture: "x86_64", variant: "v3" });
  executor.description = NodeDescription.create({
    hostname: node.hostname ?? `hollow-${nodeId.slice(0, 6)}`,
    platform,
    platforms: [platform],
    resources: { nanoCpus: 4e9, memoryBytes: 8e9, pids: 0, generic: [] },
    engine: { engineVersion: "bench", labels: {}, plugins: [] },
  });
  return new Agent({
    identity: () => ({ nodeId, advertiseAddress: dataPathAddress, dataPathAddress }),
    managers: [{ nodeId: manager.nodeId, address: manager.address }],
    executor,
    network: new NetworkState({ clock: systemClock, log: silentLog }),
    openStorage: async () => memoryStorage(),
    connect: async ({ address }, signal) => {
      const expected = { role: "manager", clusterId: manager.clusterId } as const;
      const stream = openDirect(DispatcherService.session, { address, tls, expected, signal });
      return {
        messages: stream,
        send: (message) => {
          stream.write(message).catch(() => {
            // The reading side of the stream reports why it ended.
          });
        },
        close: () => stream.cancel(),
      };
    },
    probe: ({ address }, signal) => isReached(address, { withinMs: rpcProbeMs, signal }),
    onManagers: () => {},
    onNode: () => {},
    onRemoved: () => {},
    onRoots: () => {},
    tunnels: {
      dial: () => {
        throw new Error("hollow agents have no tunnels");
      },
      serve: () => {},
    },
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
}

function certificateOf({ nodeId, key }: HollowNode, manager: HollowManager): string {
  return issueNodeCertificate({
    issuer: manager.root,
    publicKey: publicKeyOf(key),
    nodeId,
    role: "worker",
    clusterId: manager.clusterId,
    nowMs: Date.now(),
    lifeMs: 24 * 3600_000,
    serial: systemRandom.bytes(16),
  }).certificate;
}
