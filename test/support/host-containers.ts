/**
 * Which containers live on simulated hosts: as each host's containerd has them, and its kernel; whatever the daemons say.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { nameLabel } from "../../agent/exec/containerd/record.ts";
import { type ContainerdClient, dialContainerd } from "../../src/common/containerd/client.ts";
import { ContainersService, TasksService } from "../../src/common/containerd/generated/protocol.ts";
import type { Playground } from "../../src/playground/playground.ts";

/** A container whose process runs. */
export interface LivingContainer {
  readonly host: string;
  readonly name: string;
  /** Of its first process, as the host counts. */
  readonly pid: number;
  /** Folder of that process below /proc of this machine. */
  readonly proc: string;
  /** Of its network namespace, IPv4. */
  readonly addresses: readonly string[];
}

/** The containers of one playground. */
export class HostContainers {
  readonly #playground: Playground;
  readonly #clients = new Map<number, ContainerdClient>();

  constructor(playground: Playground) {
    this.#playground = playground;
  }

  /**
   * Those that containerd calls running and the kernel has a process of. Undefined while the two do not say the same:
   * there is a process in a network namespace of a container that containerd knows nothing of, or none where it knows one.
   *
   * @throws ClusterError unavailable while a containerd does not answer.
   */
  async on(host: string): Promise<readonly LivingContainer[] | undefined> {
    const { hostPid } = this.#playground.node(host);
    if (hostPid === undefined) return [];
    const root = `/proc/${hostPid}/root`;
    const client = this.#client(hostPid);
    const [{ tasks }, { containers }] = await Promise.all([
      client.call(TasksService.list, {}),
      client.call(ContainersService.list, {}),
    ]);
    const names = new Map(containers.map(({ id, labels }) => [id, labels[nameLabel] ?? id]));
    const living = tasks
      .filter(({ status }) => status === "running")
      .map(({ containerId, id, pid }) => {
        const proc = `${root}/proc/${pid}`;
        const name = names.get(containerId || id) ?? id;
        return { host, name, pid, proc, addresses: addressesOf(proc) };
      });
    const known = new Set(living.map(({ proc }) => namespaceOf(proc)));
    const found = namespacesOf(`${root}/proc`);
    const isSame = found.size === known.size && [...found].every((one) => known.has(one));
    return isSame ? living : undefined;
  }

  /** Of several hosts; undefined when it is so of one of them. */
  async all(hosts: readonly string[]): Promise<readonly LivingContainer[] | undefined> {
    const found = await Promise.all(hosts.map((host) => this.on(host)));
    const whole = found.filter((one) => one !== undefined);
    return whole.length === found.length ? whole.flat() : undefined;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  #client(hostPid: number): ContainerdClient {
    const folder = `/proc/${hostPid}/root/run/skep`;
    const known = this.#clients.get(hostPid);
    if (known !== undefined) return known;
    const socket = readdirSync(folder).find((name) => /^containerd-\w+\.sock$/.test(name));
    const client = dialContainerd(`${folder}/${socket}`);
    this.#clients.set(hostPid, client);
    return client;
  }
}

/** Addresses of a process's network namespace but loopback; none when it has ended. */
function addressesOf(proc: string): string[] {
  try {
    const routes = readFileSync(`${proc}/net/fib_trie`, "utf8");
    const local = [...routes.matchAll(/\|-- ([\d.]+)\n\s+\/32 host LOCAL/g)].map(([, a = ""]) => a);
    return [...new Set(local)].filter((address) => !address.startsWith("127."));
  } catch {
    return [];
  }
}

/** Network namespaces in which processes of a host are, but its own. */
function namespacesOf(folder: string): ReadonlySet<string> {
  const own = namespaceOf(`${folder}/1`);
  const found = readdirSync(folder).flatMap((name) =>
    /^\d+$/.test(name) ? namespaceOf(`${folder}/${name}`) : [],
  );
  return new Set(found.filter((one) => one !== own && one !== ""));
}

function namespaceOf(proc: string): string {
  try {
    return readlinkSync(`${proc}/ns/net`);
  } catch {
    return ""; // It has ended meanwhile.
  }
}
