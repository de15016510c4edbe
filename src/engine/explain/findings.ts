/**
 * What is wrong with the way to a service, and what helps: from the tables and from what the nodes told. Pure.
 *
 * The first finding is the one to act on: what the managers know comes first, then nodes that do not answer, then what nodes
 * found in their kernels, then probes.
 */
import type { NodeLook, PortName } from "../../common/container/data-path.ts";
import type { NodeAnswer } from "./ask.ts";
import { type Finding, fault, warning } from "./finding.ts";
import type { Known } from "./known.ts";
import { nameFindings } from "./name-findings.ts";
import {
  addressesIn,
  type NodeFacts,
  type Picture,
  type TaskFacts,
  tasksInQuestion,
} from "./picture.ts";
import { probeFindings } from "./probe-findings.ts";

/** All findings, the one to act on first. */
export function findingsOf(known: Known): Finding[] {
  const { picture, answers } = known;
  const perNode = picture.nodes.map((node) => ({ node, look: lookOf(answers.get(node.id)) }));
  const all = [
    ...serviceFindings(picture),
    ...tasksInQuestion(picture).flatMap((task) => taskFindings(task, picture)),
    ...picture.nodes.flatMap((node) => silentFindings(node, known)),
    ...perNode.flatMap(({ node, look }) =>
      look === undefined ? [] : kernelFindings(node, look, picture),
    ),
    ...perNode.flatMap(({ node, look }) =>
      look === undefined ? [] : portFindings(node, look, picture),
    ),
    ...probeFindings(known),
    ...nameFindings(known),
  ];
  return [
    ...all.filter(({ severity }) => severity === "fault"),
    ...all.filter(({ severity }) => severity === "warning"),
  ];
}

function lookOf(answer: NodeAnswer | undefined): NodeLook | undefined {
  return answer?.kind === "look" ? answer.look : undefined;
}

function serviceFindings(picture: Picture): Finding[] {
  const { serviceName, mode, wanted, networks, ports, tasks, subject } = picture;
  const found: Finding[] = [];
  const ready = tasks.filter((task) => task.ready);
  if (picture.isBehind) {
    const what =
      "the managers have no leader: nothing is changed or repaired, and what follows may be behind";
    found.push(
      fault(
        "",
        what,
        "docker node ls: switch on managers until more than half of them are Reachable",
      ),
    );
  }
  // A job serves nobody, and has tasks while it runs alone.
  if (mode.endsWith("-job")) return found;
  if (wanted === 0 && subject.kind !== "task") {
    const text = `service ${serviceName} is to have no tasks: whoever calls it is refused`;
    const remedy =
      mode === "replicated"
        ? `docker service scale ${serviceName}=1`
        : `docker service ps --no-trunc ${serviceName}`;
    found.push(warning("", text, remedy));
  } else if (ready.length === 0 && wanted > 0) {
    const what = `no task of service ${serviceName} is ready, ${wanted} should be: whoever calls it is refused`;
    found.push(fault("", what, `docker service ps --no-trunc ${serviceName}`));
  }
  if (networks.length === 0 && ports.length === 0) {
    const what = `service ${serviceName} is in no network between nodes and publishes no port: nobody reaches it`;
    const remedy = `docker service update --network-add NETWORK ${serviceName}, or --publish-add PORT`;
    found.push(warning("", what, remedy));
  }
  return found;
}

function taskFindings(task: TaskFacts, { nodes, serviceName }: Picture): Finding[] {
  const { name, node, state, error, message, before } = task;
  const said = error || message;
  const why = said === "" ? "" : `: ${said}`;
  const earlier = before === "" ? "" : `; the one before it ${before}`;
  const ps = `docker service ps --no-trunc ${serviceName}`;
  if (task.ready) {
    const on = nodes.find(({ id }) => id === task.nodeId);
    if (on === undefined || on.isReady) return [];
    const what = `task ${name} counts as running, but its node ${node} is ${on.state}: connections to it are lost`;
    return [
      fault(node, what, `switch ${node} on, or: docker node update --availability drain ${node}`),
    ];
  }
  switch (state) {
    case "new":
    case "pending":
      return [fault("", `task ${name} has no node yet${why}${earlier}`, pendingRemedy(error))];
    case "assigned":
    case "accepted":
    case "preparing":
    case "ready":
    case "starting": {
      const what = `task ${name} on ${node} is ${state}, not running yet${why}${earlier}`;
      // One whose predecessors failed goes round in a circle.
      const remedy = before === "" ? "wait; it is led to once it is healthy" : ps;
      return [before === "" ? warning(node, what, remedy) : fault(node, what, remedy)];
    }
    case "running":
      return [warning(node, `task ${name} on ${node} is being stopped`, "nothing is to be done")];
    default:
      return [fault(node, `task ${name} on ${node || "no node"} is ${state}${why}${earlier}`, ps)];
  }
}

function pendingRemedy(error: string): string {
  if (/resources/.test(error)) return "lower the reservations of the service, or add a node";
  if (/constraint/.test(error)) return "change the constraints of the service, or labels of a node";
  if (/platform/.test(error)) return "use an image for the platforms of the nodes";
  return "docker node ls: is there an active node that fits?";
}

function silentFindings(node: NodeFacts, { picture, answers }: Known): Finding[] {
  const { name, state, message, id, isReady } = node;
  const answer = answers.get(id);
  if (answer?.kind === "look") return [];
  const tasks = picture.tasks.filter((task) => task.nodeId === id && task.ready);
  const lost = tasks.length === 0 ? "" : `; connections to ${namesOf(tasks)} there are lost`;
  if (!isReady) {
    if (tasks.length > 0) return []; // Told with the tasks.
    const what = `node ${name} is ${state}${message === "" ? "" : ` (${message})`} and was not asked`;
    return [warning(name, what, `switch it on, or: docker node rm --force ${name}`)];
  }
  const reason = answer?.reason ?? "it was not asked";
  const what = `node ${name} (${node.address}) does not answer: ${reason}${lost}`;
  const remedy = `on ${name}: is the machine up, does "skep daemon" run, does it reach a manager at port 2377?`;
  return [fault(name, what, remedy)];
}

function namesOf(list: readonly { readonly name: string }[]): string {
  return list.map(({ name }) => name).join(", ");
}

function kernelFindings(node: NodeFacts, look: NodeLook, picture: Picture): Finding[] {
  const { name } = node;
  const found: Finding[] = [];
  if (!look.knowsCluster) {
    const what = `node ${name} was told nothing of the cluster's networks yet`;
    return [{ ...fault(name, what, `on ${name}: see the log of "skep daemon"`), mayPass: true }];
  }
  if (look.trouble !== "") {
    const what = `node ${name} cannot make its kernel what it should be: ${look.trouble}`;
    found.push(
      fault(name, what, `on ${name}: see the log of "skep daemon"; it tries on by itself`),
    );
  }
  for (const { where, what } of look.differences) {
    found.push(fault(name, `on ${name}, ${placeText(where)}: ${what}`, repairRemedy));
  }
  for (const barrier of look.barriers) {
    const [what = barrier, ...rest] = barrier.split("; let it pass with: ");
    found.push(
      fault(name, `on ${name}: ${what}`, rest.join("") || `on ${name}: iptables -S FORWARD`),
    );
  }
  return [...found, ...staleFindings(node, look, picture)];
}

const repairRemedy =
  "the node repairs it within 30 s; if it comes again, another program of the node removes it: look for firewall scripts";

function placeText(where: string): string {
  if (where === "host") return "in its own network";
  return where === "swarm" ? "in the namespace of the data path" : `in container ${where}`;
}

/** What a node was told of ready tasks against what the managers know. */
function staleFindings(node: NodeFacts, look: NodeLook, picture: Picture): Finding[] {
  const inNetwork = (id: string) => node.standpoints.some(({ networkId }) => networkId === id);
  const ids = [
    ...picture.networks.map(({ id }) => id).filter(inNetwork),
    ...(node.isEntry ? [picture.meshId] : []),
  ];
  return ids.flatMap((networkId) => {
    const should = picture.tasks
      .filter((task) => task.ready)
      .flatMap((task) => addressesIn(task, networkId));
    const told = look.told
      .filter((one) => one.networkId === networkId && one.serviceId === picture.serviceId)
      .flatMap(({ addresses }) => addresses);
    const [known, right] = [new Set(told), new Set(should)];
    const missing = should.filter((address) => !known.has(address));
    const extra = told.filter((address) => !right.has(address));
    if (missing.length + extra.length === 0) return [];
    const network = picture.networks.find(({ id }) => id === networkId)?.name ?? "the routing mesh";
    const parts = [
      ...(missing.length > 0 ? [`does not know of ${someOf(missing)}`] : []),
      ...(extra.length > 0 ? [`still leads to ${someOf(extra)}`] : []),
    ];
    const what = `node ${node.name} is behind in ${network}: it ${parts.join(" and ")}`;
    const remedy = `on ${node.name}: restart "skep daemon"; containers run on`;
    return [{ ...fault(node.name, what, remedy), mayPass: true }];
  });
}

function someOf(addresses: readonly string[]): string {
  const more = addresses.length - namedMax;
  return `${addresses.slice(0, namedMax).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/** More addresses help nobody. */
const namedMax = 5;

function portFindings(node: NodeFacts, look: NodeLook, picture: Picture): Finding[] {
  const { name, isEntry, id } = node;
  const { serviceName } = picture;
  const hasTasks = picture.tasks.some((task) => task.nodeId === id && task.ready);
  const ports = picture.ports.filter(({ publishMode }) =>
    publishMode === "ingress" ? isEntry : hasTasks,
  );
  const found: Finding[] = [];
  for (const { protocol, publishedPort: port } of ports) {
    if (port === 0 || has(look.listens, { protocol, port })) continue;
    const what = `node ${name} does not take connections to published port ${port}/${protocol}`;
    found.push({ ...fault(name, what, repairRemedy), mayPass: true });
  }
  for (const { protocol, port, address, program } of look.programs) {
    const what = `on ${name}, ${program} listens at ${address}, port ${port}/${protocol}, which service ${serviceName} publishes: whoever calls it from outside gets the service`;
    const remedy = `stop ${program} on ${name}, or: docker service update --publish-rm ${port} ${serviceName}, and publish another port`;
    found.push(fault(name, what, remedy));
  }
  return found;
}

function has(ports: readonly PortName[], { protocol, port }: PortName): boolean {
  return ports.some((one) => one.protocol === protocol && one.port === port);
}
