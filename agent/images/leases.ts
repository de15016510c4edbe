/**
 * Leases: what holds content and snapshots while nothing else refers to them yet.
 *
 * Their ids begin with a word of ours, so that those a former life of the daemon left are known for what they are.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import type { ContainerdClient } from "../../src/common/containerd/client.ts";
import { snapshotterName } from "../../src/common/containerd/client.ts";
import { type LeaseRecord, LeasesService } from "../../src/common/containerd/generated/protocol.ts";
import { hasCode } from "../../src/common/errors/cluster-error.ts";
import { imageLeaseMs } from "../../src/common/limits/runtime.ts";
import type { Random } from "../../src/common/random/random.ts";

const prefix = "skep-image-";

/** Id of the lease of this name. */
export function leaseId(name: string): string {
  return `${prefix}${name}`;
}

/** Leases of work that goes on in this daemon, however long it takes: others end by themselves. */
export class BusyLeases {
  readonly #users = new Map<string, number>();

  has(id: string): boolean {
    return this.#users.has(id);
  }

  begin(id: string): void {
    this.#users.set(id, (this.#users.get(id) ?? 0) + 1);
  }

  /** @returns Whether other work uses it still. */
  end(id: string): boolean {
    const others = (this.#users.get(id) ?? 1) - 1;
    if (others > 0) this.#users.set(id, others);
    else this.#users.delete(id);
    return others > 0;
  }
}

/** What work under a lease is done with. */
export interface LeaseTools {
  readonly client: ContainerdClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly busy: BusyLeases;
}

/** A lease that is there for one piece of work. */
export interface LeasePlace {
  readonly lease: string;
  /** Nobody else's, for what is begun under it. */
  readonly name: string;
  /** Aborts with the end of the work. */
  readonly signal: AbortSignal;
}

/** Does something under a lease of its own, which ends with it. @param kind Begins its name. */
export async function underLease<T>(
  { client, clock, random, busy }: LeaseTools,
  kind: string,
  work: (place: LeasePlace) => Promise<T>,
): Promise<T> {
  const name = `${kind}-${Buffer.from(random.bytes(12)).toString("hex")}`;
  const lease = leaseId(name);
  const stop = new AbortController();
  busy.begin(lease);
  try {
    await takeLease(client, { name, nowMs: clock.now() });
    return await work({ lease, name, signal: stop.signal });
  } finally {
    stop.abort();
    busy.end(lease);
    await endLease(client, lease, { sync: false });
  }
}

/** Makes a lease, or finds the one with this name from before. Resolves with its id. */
export async function takeLease(
  client: ContainerdClient,
  o: { readonly name: string; readonly nowMs: number },
): Promise<string> {
  const id = leaseId(o.name);
  // Should nobody ever end it, containerd does.
  const end = new Date(o.nowMs + imageLeaseMs).toISOString();
  try {
    await client.call(LeasesService.create, { id, labels: { "containerd.io/gc.expire": end } });
  } catch (error) {
    if (!hasCode(error, "already-exists")) throw error;
  }
  return id;
}

/** Ends a lease; with `sync` when the collector has been through. */
export async function endLease(
  client: ContainerdClient,
  id: string,
  o: { readonly sync: boolean },
): Promise<void> {
  try {
    await client.call(LeasesService.delete, { id, sync: o.sync });
  } catch (error) {
    if (!hasCode(error, "not-found")) throw error;
  }
}

/** The leases of images there are. */
export async function imageLeases(client: ContainerdClient): Promise<readonly LeaseRecord[]> {
  const { leases } = await client.call(LeasesService.list, {});
  return leases.filter(({ id }) => id.startsWith(prefix));
}

/** Puts a blob or a committed snapshot that is there under the lease too. */
export async function holdFor(
  client: ContainerdClient,
  lease: string,
  resource: { readonly kind: "content" | "snapshot"; readonly id: string },
): Promise<void> {
  const type = resource.kind === "content" ? "content" : `snapshots/${snapshotterName}`;
  await client.call(LeasesService.addResource, { id: lease, resource: { id: resource.id, type } });
}
