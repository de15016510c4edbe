/**
 * An explanation as the API shows it. Pure.
 */
import type { LedTo, ProbeResult } from "../../common/container/data-path.ts";
import type { Json } from "../translate/common.ts";
import type { Finding } from "./finding.ts";
import { isLost, type Known, lookOf, madeProbes } from "./known.ts";
import { namesIn } from "./names.ts";
import {
  addressesIn,
  type NodeFacts,
  type Picture,
  type TaskFacts,
  tasksInQuestion,
} from "./picture.ts";

/** The whole of it; `Verdict` is what a person reads first. */
export function explanationToJson(known: Known, findings: readonly Finding[]): Json {
  const { picture } = known;
  const { subject } = picture;
  const faults = findings.filter(({ severity }) => severity === "fault").length;
  return {
    Subject: { Kind: subject.kind, Name: subject.name, ID: subject.id },
    Verdict: verdict(known, findings),
    Faults: faults,
    Warnings: findings.length - faults,
    Findings: findings.map(({ severity, node, what, remedy }) => ({
      Severity: severity,
      Node: node,
      What: what,
      Remedy: remedy,
    })),
    Service: {
      ID: picture.serviceId,
      Name: picture.serviceName,
      Mode: picture.mode,
      EndpointMode: picture.endpointMode,
      Wanted: picture.wanted,
      Ready: picture.tasks.filter(({ ready }) => ready).length,
    },
    Networks: picture.networks.map((network) => ({
      ID: network.id,
      Name: network.name,
      Encrypted: network.encrypted,
      VirtualIPs: network.virtualIps,
      Names: namesIn(network, picture).map(({ name, addresses }) => ({
        Name: name,
        Addresses: addresses,
      })),
    })),
    Ports: picture.ports.map((port) => ({
      Protocol: port.protocol,
      PublishedPort: port.publishedPort,
      TargetPort: port.targetPort,
      PublishMode: port.publishMode,
      BoundTo: picture.boundTo,
    })),
    Tasks: tasksInQuestion(picture).map((task) => taskToJson(task, picture)),
    Nodes: picture.nodes.map((node) => nodeToJson(node, known)),
    NodesLeftOut: picture.nodesLeftOut,
  };
}

function verdict(known: Known, findings: readonly Finding[]): string {
  const { picture } = known;
  const { subject, focusId } = picture;
  const tasks = tasksInQuestion(picture);
  const wanted = focusId === "" ? picture.wanted : 1;
  const title = `${subject.kind} ${subject.name}`;
  const faults = findings.filter(({ severity }) => severity === "fault");
  const [first] = faults;
  if (first !== undefined) {
    const more = faults.length === 1 ? "1 fault" : `${faults.length} faults, the first`;
    return `${title}: ${more}: ${first.what}`;
  }
  const ready = tasks.filter((task) => task.ready).length;
  const nodes = picture.nodes.filter(({ id }) => lookOf(known, id) !== undefined);
  const probes = nodes.flatMap(({ id }) => madeProbes(known, id));
  const answered = probes.filter(({ result }) => result.outcome !== "unmade").length;
  const names = nodes.flatMap(({ id }) => lookOf(known, id)?.names ?? []).length;
  const asked = names === 0 ? "" : `, ${counted(names, "name")} right`;
  const warnings = findings.length === 0 ? "" : `, ${counted(findings.length, "warning")}`;
  return `${title}: no fault found: ${ready} of ${counted(wanted, "task")} ready, ${counted(nodes.length, "node")} as planned, ${counted(answered, "probe")} answered${asked}${warnings}`;
}

function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

function taskToJson(task: TaskFacts, { networks, meshId }: Picture): Json {
  return {
    ID: task.id,
    Name: task.name,
    Container: task.fullName,
    NodeID: task.nodeId,
    Node: task.node,
    State: task.state,
    DesiredState: task.desiredState,
    Ready: task.ready,
    Message: task.message,
    Err: task.error,
    Before: task.before,
    Addresses: networks.flatMap(({ id, name }) =>
      addressesIn(task, id).map((address) => ({ Network: name, Address: address })),
    ),
    MeshAddresses: addressesIn(task, meshId),
  };
}

function nodeToJson(node: NodeFacts, known: Known): Json {
  const look = lookOf(known, node.id);
  const answer = known.answers.get(node.id);
  return {
    ID: node.id,
    Name: node.name,
    Address: node.address,
    State: node.state,
    Entry: node.isEntry,
    Answered: look !== undefined,
    Err: answer?.kind === "silent" ? answer.reason : "",
    Compared: look?.compared ?? 0,
    Differences: (look?.differences ?? []).map(({ where, what }) => ({ Where: where, What: what })),
    LeadsTo: (look?.ledTo ?? []).map(ledToJson),
    Listens: (look?.listens ?? []).map(({ protocol, port }) => `${port}/${protocol}`),
    Programs: (look?.programs ?? []).map(({ protocol, port, address, program }) => ({
      Port: `${port}/${protocol}`,
      Address: address,
      Program: program,
    })),
    Barriers: look?.barriers ?? [],
    ChainsOfOthers: (look?.foreign ?? []).map((chain) => ({
      Family: chain.family,
      Table: chain.table,
      Chain: chain.chain,
      Hook: chain.hook,
      Drops: chain.drops,
    })),
    Tunnels: (look?.tunnels ?? []).map(({ nodeId, endpoint, handshakeAgeS }) => ({
      NodeID: nodeId,
      Endpoint: endpoint,
      HandshakeAgeSeconds: handshakeAgeS ?? -1,
    })),
    Names: (look?.names ?? []).map(({ from, name, addresses, error }) => ({
      From: from,
      Name: name,
      Addresses: addresses,
      Err: error,
    })),
    Probes: madeProbes(known, node.id).map((made) => ({
      Way: made.planned.way,
      From: made.planned.fromName || made.planned.from,
      To: made.planned.toName,
      ToNodeID: made.planned.toNodeId,
      Network: made.planned.network,
      ...probeToJson(made.result),
      Lost: isLost(made),
    })),
  };
}

function ledToJson({ where, what, addresses }: LedTo): Json {
  return { Where: where, What: what, Addresses: addresses };
}

function probeToJson({ address, port, outcome, ms, error }: ProbeResult): Json {
  return { Address: address, Port: port, Outcome: outcome, Milliseconds: ms, Err: error };
}
