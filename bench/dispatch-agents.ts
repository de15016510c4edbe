/**
 * Hollow agents of `dispatch.ts`: whole agents with an executor that runs nothing, many in one process, each with its own
 * certificate and connection.
 */
import { Agent } from "../agent/agent.ts";
import { NetworkState } from "../agent/network/state.ts";
import { memoryStorage } from "../agent/storage.ts";
import { DispatcherService, NodeDescription, Platform } from "../src/common/api/generated/api.ts";
import { systemClock } from "../src/common/clock/clock.ts";
import { issueNodeCertificate } from "../src/common/identity/certificate.ts";
import { createKey, publicKeyOf } from "../src/common/identity/key.ts";
import type { TlsMaterial } from "../src/common/identity/types.ts";
import { rpcProbeMs } from "../src/common/limits/limits.ts";
import { silentLog } from "../src/common/log/log.ts";
import { systemRandom } from "../src/common/random/random.ts";
import { dial } from "../src/common/rpc/client.ts";
import { isReached } from "../src/common/rpc/probe.ts";
import { FakeExecutor } from "../test/support/fake-executor.ts";
import type { StartedManager } from "./dispatch-manager.ts";

/** What the agents are asked; `open` resolves once every one of them is registered. */
export type AgentsRequest = {
  readonly type: "open";
  readonly manager: StartedManager;
  readonly nodeIds: readonly string[];
};

/** Agents that connect at a time: a node of its own each, they would not wait for each other. */
const openingMax = 32;

async function open({ manager, nodeIds }: AgentsRequest): Promise<number> {
  // One key for all: making thousands is no part of what is measured.
  const key = await createKey();
  const waiting = [...nodeIds];
  const begin = performance.now();
  const worker = async () => {
    for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
      const tls = {
        key,
        certificate: certificateOf(id, key, manager),
        roots: manager.root.certificate,
      };
      const agent = hollowAgent(id, tls, manager);
      agent.run(new AbortController().signal).catch((error: unknown) => {
        process.stderr.write(`agent ended: ${error}\n`);
      });
      await agent.registered(AbortSignal.timeout(60_000));
    }
  };
  await Promise.all(Array.from({ length: openingMax }, worker));
  return performance.now() - begin;
}

function certificateOf(nodeId: string, key: string, manager: StartedManager): string {
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

function hollowAgent(nodeId: string, tls: TlsMaterial, manager: StartedManager): Agent {
  const executor = new FakeExecutor();
  const platform = Platform.create({ os: "linux", architecture: "x86_64", variant: "v3" });
  executor.description = NodeDescription.create({
    hostname: `hollow-${nodeId.slice(0, 6)}`,
    platform,
    platforms: [platform],
    resources: { nanoCpus: 4e9, memoryBytes: 8e9, pids: 0, generic: [] },
    engine: { engineVersion: "bench", labels: {}, plugins: [] },
  });
  return new Agent({
    identity: () => ({ nodeId, advertiseAddress: "", dataPathAddress: "" }),
    managers: [{ nodeId: manager.nodeId, address: manager.address }],
    executor,
    network: new NetworkState({ clock: systemClock, log: silentLog }),
    openStorage: async () => memoryStorage(),
    connect: async ({ address }, signal) => {
      const expected = { role: "manager", clusterId: manager.clusterId } as const;
      const client = dial({ address, tls, expected });
      const stream = client.stream(DispatcherService.session, { signal });
      return {
        messages: stream,
        send: (message) => {
          stream.write(message).catch(() => {
            // The reading side of the stream reports why it ended.
          });
        },
        close: () => {
          stream.cancel();
          client.close();
        },
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

process.on("message", ({ id, request }: { id: number; request: AgentsRequest }) => {
  open(request).then(
    (answer) => process.send?.({ id, answer }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  );
});
