/**
 * Published ports: which the services have, and free ones for those that leave the choice to the cluster. Pure.
 */
import type { EndpointSpec, PortConfig } from "../../src/common/api/generated/api.ts";

/** First port the cluster chooses from, as in Docker's swarm ... */
export const dynamicPortFirst = 30_000;
/** ... and the last. */
export const dynamicPortLast = 32_767;

/** Which services publish which ports, in whatever mode. */
export class PublishedPorts {
  /** By `protocol/port`: ids of services. */
  readonly #holders = new Map<string, Set<string>>();
  readonly #keys = new Map<string, readonly string[]>();
  /** Last port that was chosen, by protocol. */
  readonly #last = new Map<string, number>();

  /** The service publishes these ports, and no others. */
  note(serviceId: string, ports: readonly PortConfig[]): void {
    this.release(serviceId);
    const keys = [...new Set(ports.filter(({ publishedPort }) => publishedPort !== 0).map(keyOf))];
    if (keys.length === 0) return;
    this.#keys.set(serviceId, keys);
    for (const key of keys) {
      const holders = this.#holders.get(key);
      if (holders === undefined) this.#holders.set(key, new Set([serviceId]));
      else holders.add(serviceId);
    }
  }

  /** The service publishes nothing any more; true when it did. */
  release(serviceId: string): boolean {
    const keys = this.#keys.get(serviceId);
    if (keys === undefined) return false;
    this.#keys.delete(serviceId);
    for (const key of keys) {
      const holders = this.#holders.get(key);
      holders?.delete(serviceId);
      if (holders?.size === 0) this.#holders.delete(key);
    }
    return true;
  }

  /**
   * The ports of a service with those filled in that the cluster is to choose; undefined when there is none left.
   *
   * @param present What it publishes now: a port that was chosen before stays what it is.
   */
  fill(
    serviceId: string,
    spec: EndpointSpec | undefined,
    present: readonly PortConfig[],
  ): readonly PortConfig[] | undefined {
    const ports = spec?.ports ?? [];
    const own = new Set(ports.filter((port) => port.publishedPort !== 0).map(keyOf));
    const filled: PortConfig[] = [];
    for (const port of ports) {
      if (port.publishMode !== "ingress" || port.publishedPort !== 0) {
        filled.push(port);
        continue;
      }
      const chosen = this.#kept(serviceId, port, { present, own }) ?? this.#choose(port, own);
      if (chosen === undefined) return undefined;
      own.add(keyOf(chosen));
      filled.push(chosen);
    }
    return filled;
  }

  #kept(
    serviceId: string,
    port: PortConfig,
    taken: { readonly present: readonly PortConfig[]; readonly own: ReadonlySet<string> },
  ): PortConfig | undefined {
    return taken.present.find(
      (before) =>
        before.publishMode === "ingress" &&
        before.protocol === port.protocol &&
        before.targetPort === port.targetPort &&
        before.name === port.name &&
        before.publishedPort >= dynamicPortFirst &&
        before.publishedPort <= dynamicPortLast &&
        !taken.own.has(keyOf(before)) &&
        !this.#isOthers(serviceId, keyOf(before)),
    );
  }

  #isOthers(serviceId: string, key: string): boolean {
    for (const holder of this.#holders.get(key) ?? []) if (holder !== serviceId) return true;
    return false;
  }

  #choose(port: PortConfig, own: ReadonlySet<string>): PortConfig | undefined {
    const count = dynamicPortLast - dynamicPortFirst + 1;
    const last = this.#last.get(port.protocol) ?? dynamicPortFirst - 1;
    for (let step = 1; step <= count; step++) {
      const publishedPort = dynamicPortFirst + ((last - dynamicPortFirst + step) % count);
      const chosen = { ...port, publishedPort };
      if (this.#holders.has(keyOf(chosen)) || own.has(keyOf(chosen))) continue;
      this.#last.set(port.protocol, publishedPort);
      return chosen;
    }
    return undefined;
  }
}

/** What must not be published twice. */
function keyOf({ protocol, publishedPort }: PortConfig): string {
  return `${protocol}/${publishedPort}`;
}
