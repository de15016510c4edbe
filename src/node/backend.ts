/**
 * The back ends of the Engine API: its ports, implemented over whatever manager runs on this node just now.
 */

import type { Manager } from "../../manager/manager.ts";
import { managerView } from "../../manager/manager-view.ts";
import type { MethodDescriptor } from "../common/api/generated/api.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import type {
  EventsPort,
  ObjectChange,
  ObjectsPort,
  ObjectTable,
  ObjectTypes,
  ObjectView,
  RehearsalPort,
  TunnelsPort,
} from "../engine/ports.ts";

/** The manager that runs on this node, and word of its coming and going. */
export interface ManagerSource {
  manager(): Manager | undefined;
  /** Resolves when the manager may have changed; rejects with the signal's reason. */
  changed(signal: AbortSignal): Promise<void>;
}

const tables: ReadonlySet<string> = new Set<ObjectTable>([
  "node",
  "service",
  "task",
  "network",
  "secret",
  "config",
  "cluster",
  "volume",
]);

/** Reads and writes through the manager of this node. */
export function objectsPort(source: ManagerSource): ObjectsPort {
  return {
    async view(signal: AbortSignal): Promise<ObjectView> {
      const manager = required(source);
      await manager.readBarrier(signal);
      return objectView(manager.view());
    },
    present(): ObjectView | undefined {
      const manager = source.manager();
      return manager === undefined ? undefined : objectView(manager.view());
    },
    call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal): Promise<R> {
      return required(source).call(method, request, signal);
    },
    async rehearse(signal: AbortSignal): Promise<RehearsalPort> {
      const rehearsal = await required(source).rehearse(signal);
      return {
        view: () => objectView(managerView(rehearsal.view())),
        call: (method, request) => rehearsal.call(method, request),
        services: () => rehearsal.services(),
        plan: (o) => rehearsal.plan(o),
      };
    },
  };
}

/** Streams to other nodes through the manager of this node. */
export function tunnelsPort(source: ManagerSource): TunnelsPort {
  return { open: async (nodeId, signal) => required(source).openTunnel(nodeId, signal) };
}

/** Committed changes, over the lives of several managers. */
export function eventsPort(source: ManagerSource): EventsPort {
  return {
    async *changes(signal: AbortSignal): AsyncIterable<readonly ObjectChange[]> {
      let seen: Manager | undefined;
      while (!signal.aborted) {
        const manager = source.manager();
        if (manager !== undefined && manager !== seen) {
          seen = manager;
          for await (const item of manager.watch(signal)) {
            if (item.resync) continue;
            const told = item.changes.filter((change) => tables.has(change.table));
            if (told.length > 0) yield told as unknown as readonly ObjectChange[];
          }
          // It has stopped, and the next one may be there already.
          continue;
        }
        try {
          await source.changed(signal);
        } catch {
          // Aborted: nobody listens any more.
          return;
        }
      }
    },
  };
}

function required(source: ManagerSource): Manager {
  const manager = source.manager();
  if (manager === undefined) {
    throw new ClusterError("unavailable", "the manager of this node is not running");
  }
  return manager;
}

function objectView(view: ReturnType<Manager["view"]>): ObjectView {
  return {
    get: <T extends ObjectTable>(table: T, id: string) =>
      view.get(table, id) as ObjectTypes[T] | undefined,
    byName: <T extends ObjectTable>(table: T, name: string) =>
      view.byName(table, name) as unknown as Iterable<ObjectTypes[T]>,
    lookup: <T extends ObjectTable>(table: T, reference: string) =>
      view.lookup(table, reference) as unknown as ObjectTypes[T],
    list: <T extends ObjectTable>(table: T) =>
      view.list(table) as unknown as Iterable<ObjectTypes[T]>,
    tasksOfService: (serviceId) => view.tasksOfService(serviceId),
    tasksOfNode: (nodeId) => view.tasksOfNode(nodeId),
  };
}
