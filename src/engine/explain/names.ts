/**
 * Which names are asked for in which container, and what they should lead to. Pure.
 *
 * In each network a container of each node asks for the names of the service, for those of its tasks together, and for that of
 * the task in question.
 */
import type { NameQuestion } from "../../common/container/data-path.ts";
import {
  addressesIn,
  type NetworkFacts,
  type NodeFacts,
  type Picture,
  tasksInQuestion,
} from "./picture.ts";
import { speakerOf } from "./probes.ts";

/** A question, and what it is for. */
export interface PlannedName extends NameQuestion {
  readonly nodeId: string;
  /** Container that asks. */
  readonly fromName: string;
  /** Name of the network. */
  readonly network: string;
  /** Ascending. */
  readonly expected: readonly string[];
}

/** Aliases asked for; others lead to the same. */
const namesMax = 3;

/** By node. */
export function plannedNames(picture: Picture): ReadonlyMap<string, readonly PlannedName[]> {
  return new Map(
    picture.nodes
      .filter(({ isReady }) => isReady)
      .map((node) => [node.id, picture.networks.flatMap((one) => namesOn(node, one, picture))]),
  );
}

function namesOn(node: NodeFacts, network: NetworkFacts, picture: Picture): PlannedName[] {
  const speaker = speakerOf(node, network.id);
  if (speaker === undefined) return [];
  return namesIn(network, picture).map(({ name, addresses }) => ({
    from: speaker.address,
    networkId: network.id,
    name,
    nodeId: node.id,
    fromName: speaker.name,
    network: network.name,
    expected: addresses.filter((address) => !address.includes(":")).sort(),
  }));
}

/** Names that lead to what is in question in a network, and where they lead. */
export function namesIn(
  { id, virtualIps, names }: NetworkFacts,
  picture: Picture,
): readonly { readonly name: string; readonly addresses: readonly string[] }[] {
  const ready = picture.tasks.filter((task) => task.ready);
  const ofTasks = ready.flatMap((task) => addressesIn(task, id));
  const own = picture.endpointMode === "dnsrr" || virtualIps.length === 0 ? ofTasks : virtualIps;
  const focus = picture.focusId === "" ? [] : tasksInQuestion(picture);
  return [
    ...names.slice(0, namesMax).map((name) => ({ name, addresses: own })),
    { name: `tasks.${picture.serviceName}`, addresses: ofTasks },
    ...focus.map((task) => ({
      name: task.fullName,
      addresses: task.ready ? addressesIn(task, id) : [],
    })),
  ];
}
