/**
 * Connections to several managers, each made when it is first wanted and kept for the next call.
 *
 * The server closes those on which nobody calls; what is kept then is a few objects, and the next call connects anew.
 */
import type { TlsMaterial } from "../identity/types.ts";
import { rpcClientsKeptMax } from "../limits/tunnel.ts";
import { dial, type RpcClient } from "./client.ts";

/** Whom to connect to. */
export interface ManagerAddress {
  readonly nodeId: string;
  /** `host:port` */
  readonly address: string;
}

/** The connections of one node. */
export class RpcClients {
  readonly #clusterId: string;
  #tls: TlsMaterial;
  /** Least recently used first. */
  readonly #clients = new Map<string, RpcClient>();

  constructor(tls: TlsMaterial, clusterId: string) {
    this.#tls = tls;
    this.#clusterId = clusterId;
  }

  /** The connection to a manager, which must show the certificate of this very node. */
  to({ nodeId, address }: ManagerAddress): RpcClient {
    const key = `${nodeId} ${address}`;
    const kept = this.#clients.get(key);
    this.#clients.delete(key);
    const client =
      kept ??
      dial({
        address,
        tls: this.#tls,
        expected: { role: "manager", nodeId, clusterId: this.#clusterId },
      });
    this.#clients.set(key, client);
    for (const [oldKey, old] of this.#clients) {
      if (this.#clients.size <= rpcClientsKeptMax) break;
      this.#clients.delete(oldKey);
      old.close();
    }
    return client;
  }

  /** Forgets a connection that failed: the next call need not wait until it is tried again. */
  drop({ nodeId, address }: ManagerAddress): void {
    const key = `${nodeId} ${address}`;
    this.#clients.get(key)?.close();
    this.#clients.delete(key);
  }

  updateTls(tls: TlsMaterial): void {
    this.#tls = tls;
    for (const client of this.#clients.values()) client.updateTls(tls);
  }

  /** Lets running calls end, takes no more. */
  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }
}
