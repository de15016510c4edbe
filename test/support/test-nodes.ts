/**
 * Whole nodes in this process, on loopback addresses: the swarm part of a daemon without its Engine API.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { NetworkState } from "../../agent/network/state.ts";
import { ClusterSpec, NodeDescription } from "../../src/common/api/generated/api.ts";
import { systemClock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { newLog, silentLog } from "../../src/common/log/log.ts";
import { systemRandom } from "../../src/common/random/random.ts";
import type { InitRequest, JoinRequest } from "../../src/engine/ports.ts";
import type { InterfaceAddress } from "../../src/node/address.ts";
import { loadConfig } from "../../src/node/config.ts";
import { type NodeOptions, SwarmNode } from "../../src/node/node.ts";
import { FakeExecutor } from "./fake-executor.ts";

/** A machine with one network card. */
export function oneCard(address: string): InterfaceAddress[] {
  return [{ interfaceName: "eth0", address, family: "IPv4", internal: false }];
}

/** Nodes of one test, below one folder. */
export class TestNodes {
  /** What all of them logged. */
  readonly lines: string[] = [];
  /** Takes what managers send to the node of this name. */
  serveTunnel: (name: string, stream: Duplex) => void = (_, stream) => stream.destroy();
  /** What the nodes made from now on say of themselves, by name. */
  describe: (name: string) => Partial<NodeDescription> = () => ({});
  /** The registries of the nodes made from now on. */
  registry: NodeOptions["registry"] = noRegistry;
  readonly #nodes: SwarmNode[] = [];
  #folder = "";

  async open(): Promise<void> {
    this.#folder = await mkdtemp(join(tmpdir(), "skep-nodes-"));
  }

  async close(): Promise<void> {
    for (const node of this.#nodes.splice(0).reverse()) await node.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Path below the data root of a node. */
  path(name: string, ...parts: readonly string[]): string {
    return join(this.#folder, name, ...parts);
  }

  /** A daemon that is not started; another one of the same name has the same data root. */
  node(name: string, interfaces: () => readonly InterfaceAddress[] = () => []): SwarmNode {
    const executor = new FakeExecutor();
    executor.description = NodeDescription.create({ hostname: name, ...this.describe(name) });
    const node = new SwarmNode({
      config: loadConfig(["--data-root", this.path(name), "--exec-root", this.#folder]),
      interfaces,
      executor,
      network: new NetworkState({ clock: systemClock, log: silentLog }),
      registry: this.registry,
      serveTunnel: (stream) => this.serveTunnel(name, stream),
      clock: systemClock,
      random: systemRandom,
      log: newLog((line) => this.lines.push(`${name} ${line}`), { level: "info" }),
    });
    this.#nodes.push(node);
    return node;
  }
}

/** Registries that do not answer. */
export const noRegistry = {
  resolve: () => Promise.reject(new ClusterError("unavailable", "there is no registry")),
};

/** A request to make a cluster that is reached on this port of 127.0.0.1. */
export function initRequest(port: number, change: Partial<InitRequest> = {}): InitRequest {
  return {
    listenAddress: `127.0.0.1:${port}`,
    advertiseAddress: "",
    dataPathAddress: "",
    dataPathPort: 0,
    forceNewCluster: false,
    spec: ClusterSpec.create({}),
    availability: "active",
    defaultAddressPool: [],
    subnetSize: 24,
    ...change,
  };
}

/** A request to join the cluster of `manager`, with its token for the role. */
export function joinRequest(
  manager: SwarmNode,
  role: "manager" | "worker",
  change: Partial<JoinRequest>,
): JoinRequest {
  const [cluster] = manager.manager()?.view().list("cluster") ?? [];
  return {
    listenAddress: "",
    advertiseAddress: "",
    dataPathAddress: "",
    remoteAddresses: [],
    joinToken: cluster?.rootCa?.joinTokens?.[role] ?? "",
    availability: "active",
    ...change,
  };
}
