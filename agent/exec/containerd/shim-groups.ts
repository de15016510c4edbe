/**
 * Which containers share a shim, the process of containerd's that stands between it and a container: two starts of a process
 * and 2.6 MB each otherwise, half of which the second container in one does not cost (`docs/decisions/0016-shared-shims.md`).
 *
 * Who shares a shim shares its fate, so only tasks of one service do, a few at a time, and only where a service has many on
 * one node. A group is a name in the spec of its containers, the id of the first of them; containerd derives the socket of
 * the shim from it. The shim ends with the last of them.
 */
import type { ContainerConfig } from "../../../src/common/container/types.ts";
import type { Volumes } from "../../../src/common/container/volumes.ts";
import type { Entry } from "./entry.ts";
import type { PlannedMount } from "./mounts.ts";
import type { ContainerTable } from "./table.ts";

/** By which the shim of containerd 1.4 and later knows its group. */
export const groupAnnotation = "io.containerd.runc.v2.group";
/** What a shim that is killed takes with it. */
const membersMax = 8;

/** What is looked at of a new container. */
export interface NewMember {
  readonly id: string;
  readonly config: Pick<ContainerConfig, "task" | "secretEnv" | "pidMode">;
  /** Its volumes are there. */
  readonly planned: readonly PlannedMount[];
}

/** What groups are made with. */
export interface ShimGroupsOptions {
  readonly table: Pick<ContainerTable, "get" | "list">;
  readonly volumes: Pick<Volumes, "find">;
  /**
   * Groups of a service that may be joined at a time: a shim makes one container after the other, so with fewer than are
   * started at once each start would wait for another. With 0 every new container has a shim of its own.
   */
  readonly openMax: number;
}

/** The groups of one node. */
export class ShimGroups {
  readonly #o: ShimGroupsOptions;
  /** Ids of the members of those that may be joined, by service. */
  readonly #open = new Map<string, string[][]>();
  /** Members that are not in the table yet. */
  readonly #making = new Set<string>();
  /** Containers that are being removed and have no shim any more. */
  readonly #gone = new WeakSet<Entry>();

  constructor(options: ShimGroupsOptions) {
    this.#o = options;
  }

  /** The group of a new container, until `made` one that is being made; undefined for a shim of its own. */
  join(member: NewMember): string | undefined {
    const service = member.config.task?.serviceId;
    if (service === undefined || service === "" || !this.#mayShare(member)) return undefined;
    const open = (this.#open.get(service) ?? []).filter((ids) => this.#isWhole(ids));
    this.#making.add(member.id);
    let group: string[] = [];
    if (open.length < this.#o.openMax) open.push(group);
    else group = open.reduce((least, ids) => (ids.length < least.length ? ids : least));
    group.push(member.id);
    const left = open.filter((ids) => ids.length < membersMax);
    if (left.length > 0) this.#open.set(service, left);
    else this.#open.delete(service);
    return group[0];
  }

  /** It is in the table now, or will never be. */
  made(id: string): void {
    this.#making.delete(id);
  }

  /** Nobody joins a shim that may be about to end, or where something went wrong. */
  #isWhole(ids: readonly string[]): boolean {
    return ids.every((id) => {
      if (this.#making.has(id)) return true;
      const entry = this.#o.table.get(id);
      if (entry === undefined || entry.removing || entry.life.stopped) return false;
      return entry.state.phase === "created" || entry.state.phase === "running";
    });
  }

  /** A container goes, its shim has let go of it. @returns The name of its group if nobody else is in that. */
  leave(id: string): string | undefined {
    const { table } = this.#o;
    const entry = table.get(id);
    if (entry !== undefined) this.#gone.add(entry);
    const group = entry?.facts.shimGroup ?? id;
    const isOther = (other: Entry) =>
      other.id !== id && groupOf(other) === group && !this.#gone.has(other);
    return table.list().some(isOther) ? undefined : group;
  }

  /**
   * Not where making one could hold the others up: what is bound, and a volume that is not a folder of this node, may be of a
   * server that does not answer. Nor one whose program is run in a way of its own.
   */
  #mayShare({ config, planned }: NewMember): boolean {
    if (this.#o.openMax === 0) return false;
    if ((config.secretEnv ?? []).length > 0 || config.pidMode !== "") return false;
    return planned.every(({ type, source }) => {
      if (type === "tmpfs") return true;
      return type === "volume" && Object.keys(this.#o.volumes.find(source).options).length === 0;
    });
  }
}

function groupOf({ id, facts }: Entry): string {
  return facts.shimGroup ?? id;
}
