/**
 * Containers that people run by hand on attachable networks: each attachment is a task of its node, without a service and
 * without a container of its own, which the allocator gives its addresses.
 *
 * On the leader, which answers once the addresses are there: the node makes the container's end of the network then.
 */
import {
  Annotations,
  AttachNetworkReply,
  type AttachNetworkRequest,
  type DetachNetworkRequest,
  type Network,
  NetworkAttachmentConfig,
  NetworkAttachmentSpec,
  Task,
  TaskSpec,
  TaskStatus,
} from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { newId } from "../../src/common/ids/ids.ts";
import { attachWaitMs } from "../../src/common/limits/orchestrator.ts";
import type { Random } from "../../src/common/random/random.ts";
import { parseAddress } from "../../src/common/spec/cidr.ts";
import { nodeNetworkDrivers } from "../../src/common/spec/node-networks.ts";
import { isBefore } from "../../src/common/task/state.ts";
import type { Store } from "../state/store.ts";
import type { Tx } from "../state/transaction.ts";
import type { View } from "../state/view.ts";
import { invalid, notFound } from "./names.ts";

/** With what attachments are made. */
export interface AttachTools {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/**
 * Attaches a container of a node to a network, and waits for its addresses.
 *
 * @throws ClusterError not-found, permission-denied, invalid-argument; resource-exhausted when there is no address, and
 *   deadline-exceeded: nothing is left behind then.
 */
export async function attachNetwork(
  store: Store,
  request: AttachNetworkRequest,
  tools: AttachTools,
): Promise<AttachNetworkReply> {
  const { clock, random, signal } = tools;
  const id = newId(random);
  const taskId = await store.update((tx) => attach(tx, request, { id, now: clock.now() }), {
    signal,
  });
  try {
    return await allocated(store, taskId, tools);
  } catch (error) {
    await store.update((tx) => dropUnallocated(tx, taskId));
    throw error;
  }
}

/** Ends the attachments of a container of a node; fine when there are none. */
export async function detachNetwork(store: Store, request: DetachNetworkRequest): Promise<void> {
  const { nodeId, containerId, networkId } = request;
  await store.update((tx) => {
    for (const task of attachmentsOf(tx, nodeId, containerId))
      if (networkId === "" || isTo(task, networkId)) tx.remove("task", task.id);
  });
}

/** The task that stands for the attachment: the one there is, or a new one. */
export function attach(
  tx: Tx,
  request: AttachNetworkRequest,
  { id, now }: { readonly id: string; readonly now: number },
): string {
  const { nodeId, containerId, name, aliases, addresses } = request;
  const network = findNetwork(tx, request.network);
  for (const address of addresses)
    if (parseAddress(address) === undefined) throw invalid(`invalid address ${address}`);
  const present = attachmentsOf(tx, nodeId, containerId).find((task) => isTo(task, network.id));
  if (present !== undefined && isSame(present, request)) return present.id;
  if (present !== undefined) tx.remove("task", present.id);
  tx.require("network", network.id);
  const config = NetworkAttachmentConfig.create({ target: network.id, aliases, addresses });
  tx.create(
    "task",
    Task.create({
      id,
      nodeId,
      annotations: Annotations.create({ name }),
      spec: TaskSpec.create({
        attachment: NetworkAttachmentSpec.create({ containerId }),
        networks: [config],
      }),
      status: TaskStatus.create({ timestampMs: now, state: "new", message: "created" }),
      desiredState: "running",
    }),
  );
  return id;
}

/** @throws ClusterError with Docker's text. */
function findNetwork(view: View, reference: string): Network {
  const network =
    view.get("network", reference) ?? view.find("network", "name", reference.toLowerCase())[0];
  if (network === undefined) throw notFound("network", reference);
  if (!network.spec?.attachable)
    throw new ClusterError("permission-denied", `network ${reference} not manually attachable`);
  const driver = network.spec.driver?.name ?? "";
  if (nodeNetworkDrivers.includes(driver))
    throw new ClusterError(
      "unimplemented",
      `network ${reference} of driver ${driver} is for services: make one of this node for containers, with docker network create -d ${driver}`,
    );
  return network;
}

function attachmentsOf(view: View, nodeId: string, containerId: string): Task[] {
  return view
    .find("task", "node", nodeId)
    .filter((task) => task.spec?.attachment?.containerId === containerId);
}

function isTo(task: Task, networkId: string): boolean {
  return task.spec?.networks.some(({ target }) => target === networkId) === true;
}

/** Whether the attachment is one that was asked for in the same words before, and goes on. */
function isSame(task: Task, { name, aliases, addresses }: AttachNetworkRequest): boolean {
  const [config] = task.spec?.networks ?? [];
  const words = JSON.stringify([task.annotations?.name, config?.aliases, config?.addresses]);
  return (
    words === JSON.stringify([name, aliases, addresses]) &&
    isBefore(task.status?.state ?? "new", "complete") &&
    isBefore(task.desiredState, "shutdown")
  );
}

/** Waits until the allocator has given the task its addresses, or has said why it does not. */
async function allocated(
  store: Store,
  taskId: string,
  { clock, signal }: AttachTools,
): Promise<AttachNetworkReply> {
  const stop = new AbortController();
  const end = () => stop.abort(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  const watch = store.watch({ table: "task" }, { signal: stop.signal });
  const late = clock.sleep(attachWaitMs, stop.signal).then(
    () => watch.close(),
    () => {
      // Answered before.
    },
  );
  try {
    for (;;) {
      const reply = replyOf(store.view(), taskId);
      if (reply !== undefined) return reply;
      if ((await watch.next()) === undefined) break;
    }
  } finally {
    signal.removeEventListener("abort", end);
    stop.abort();
    await late;
  }
  throw new ClusterError("deadline-exceeded", "the network had no address in time; try again");
}

/** The answer; undefined while there is none. @throws ClusterError when there will be none. */
function replyOf(view: View, taskId: string): AttachNetworkReply | undefined {
  const task = view.get("task", taskId);
  if (task === undefined) throw notFound("task", taskId);
  const state = task.status?.state ?? "new";
  if (state === "new") {
    const reason = task.status?.error ?? "";
    if (reason === "") return undefined;
    throw new ClusterError("resource-exhausted", reason);
  }
  const [attachment] = task.networks;
  const network = attachment && view.get("network", attachment.networkId);
  if (network === undefined) throw notFound("network", attachment?.networkId ?? "");
  return AttachNetworkReply.create({ taskId, network, attachment });
}

/** Takes back an attachment that nobody waits for any more. */
function dropUnallocated(tx: Tx, taskId: string): void {
  if (tx.get("task", taskId)?.status?.state === "new") tx.remove("task", taskId);
}
