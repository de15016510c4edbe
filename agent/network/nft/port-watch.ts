/**
 * Tells whom it may concern that a program of this node listens at a port that a service publishes, once per program.
 */
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { ClusterState } from "../cluster-state.ts";
import { type PortUse, type UsedPort, usedPorts } from "./used-ports.ts";

/** Looks, when told to, at the ports of one node. */
export class PortWatch {
  readonly #log: Log;
  readonly #find: (ports: readonly PortUse[]) => Promise<readonly UsedPort[]>;
  #told = new Set<string>();
  #looked = "";

  /** @param o `find` is that of the machine unless a test says otherwise. */
  constructor(o: { readonly log: Log; readonly find?: typeof usedPorts }) {
    this.#log = o.log;
    this.#find = o.find ?? usedPorts;
  }

  /** Never rejects. @param again Also when the ports are those of the last look. */
  async look(state: ClusterState, again: boolean): Promise<void> {
    const services = servicesByPort(state);
    const key = [...services.keys()].join(" ");
    if (key === this.#looked && !again) return;
    this.#looked = key;
    try {
      const ports = [...services.values()].map(({ use }) => use);
      this.#tell(await this.#find(ports), services);
    } catch (error) {
      this.#log.debug("listeners of this node not read", { err: errorText(error) });
    }
  }

  #tell(used: readonly UsedPort[], services: ReadonlyMap<string, PublishedUse>): void {
    const told = new Set<string>();
    for (const { protocol, port, address, program } of used) {
      // It leads to the service, too.
      if (program.endsWith(`(${process.pid})`)) continue;
      const key = `${protocol}/${port} ${address} ${program}`;
      told.add(key);
      if (this.#told.has(key)) continue;
      this.#log.warn("another program listens at a published port, connections go to the service", {
        port: `${port}/${protocol}`,
        program,
        address,
        service: services.get(`${protocol} ${port}`)?.service,
      });
    }
    this.#told = told;
  }
}

interface PublishedUse {
  readonly use: PortUse;
  readonly service: string;
}

/** SCTP is left out: the kernel lists its listeners nowhere. */
function servicesByPort(state: ClusterState): Map<string, PublishedUse> {
  const found = new Map<string, PublishedUse>();
  for (const { name, ports } of state.services.values()) {
    for (const { protocol, publishedPort: port, publishMode } of ports) {
      if (protocol === "sctp" || publishMode !== "ingress" || port === 0) continue;
      found.set(`${protocol} ${port}`, { use: { protocol, port }, service: name });
    }
  }
  return found;
}
