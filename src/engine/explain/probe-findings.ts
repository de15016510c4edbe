/**
 * What probes that were lost say. One cause loses many: they are told together by the nodes between which they went, and what
 * follows from another loss is left out. Pure.
 */
import type { ForeignChain } from "../../common/container/data-path.ts";
import { type Finding, fault } from "./finding.ts";
import { isLost, type Known, lookOf, type MadeProbe, madeProbes } from "./known.ts";
import type { NodeFacts, Picture } from "./picture.ts";

/** Findings of all probes. */
export function probeFindings(known: Known): Finding[] {
  const made = known.picture.nodes
    .flatMap(({ id }) => madeProbes(known, id))
    .filter((one) => isWorthTelling(one, known));
  const lost = made.filter(isLost);
  const silent = lost.filter(({ result }) => result.outcome !== "refused");
  const refused = lost.filter(({ result }) => result.outcome === "refused");
  return [
    ...betweenFindings(silent, made, known),
    ...localFindings(silent, known),
    ...addressFindings(silent, known),
    ...entryFindings(silent, lost, known),
    ...refusedFindings(refused, known),
  ];
}

/** What leads to a node that does not answer is told with that node. */
function isWorthTelling({ planned }: MadeProbe, known: Known): boolean {
  const { toNodeId, fromNodeId } = planned;
  if (toNodeId === "" || toNodeId === fromNodeId) return true;
  return lookOf(known, toNodeId) !== undefined;
}

/** Whether the probe went through a tunnel between two nodes. */
function isBetween({ planned: { way, fromNodeId, toNodeId } }: MadeProbe): boolean {
  return (way === "task" || way === "back" || way === "mesh") && fromNodeId !== toNodeId;
}

/** Pairs of nodes; those that have one node in common are told with it. */
function betweenFindings(
  silent: readonly MadeProbe[],
  made: readonly MadeProbe[],
  known: Known,
): Finding[] {
  let left = silent.filter(isBetween);
  const found: Finding[] = [];
  while (left.length > 0) {
    const centre = mostConcerned(left);
    const own = left.filter((one) => concerns(one, centre));
    left = left.filter((one) => !concerns(one, centre));
    found.push(betweenFinding(centre, { own, made: made.filter(isBetween), known }));
  }
  return found;
}

function concerns({ planned }: MadeProbe, nodeId: string): boolean {
  return planned.fromNodeId === nodeId || planned.toNodeId === nodeId;
}

function farEnd({ planned }: MadeProbe, nodeId: string): string {
  return planned.fromNodeId === nodeId ? planned.toNodeId : planned.fromNodeId;
}

/** The node with most others at the far end of lost probes. */
function mostConcerned(lost: readonly MadeProbe[]): string {
  const ends = new Map<string, Set<string>>();
  for (const one of lost) {
    for (const id of [one.planned.toNodeId, one.planned.fromNodeId]) {
      ends.set(id, (ends.get(id) ?? new Set()).add(farEnd(one, id)));
    }
  }
  const [best] = [...ends].sort(([, a], [, b]) => b.size - a.size);
  return best?.[0] ?? "";
}

function betweenFinding(
  centreId: string,
  o: {
    readonly own: readonly MadeProbe[];
    readonly made: readonly MadeProbe[];
    readonly known: Known;
  },
): Finding {
  const { own, made, known } = o;
  const { picture } = known;
  const others = new Set(own.map((one) => farEnd(one, centreId)));
  const all = made.filter((one) => concerns(one, centreId) && others.has(farEnd(one, centreId)));
  const centre = nodeOf(picture, centreId);
  const nodes = [...others].map((id) => nodeOf(picture, id)).filter((node) => node !== undefined);
  const port = portsBetween(own, picture);
  const [first] = own;
  const example = first === undefined ? "" : `, such as from ${exampleText(first, picture)}`;
  const heard =
    port === tunnelPortSecure && centre !== undefined ? handshakeText(centre, nodes, known) : "";
  const what = `${own.length} of ${all.length} probes between containers of ${centre?.name} and those of ${namesOf(nodes)} (${port}) had no answer${example}${heard}`;
  const hooks = ["prerouting", "input", "output", "postrouting"];
  const ends = centre === undefined ? nodes : [centre, ...nodes];
  const suspects = suspectsOf(ends, { hooks, port, known });
  const remedy = `is ${port} let through between ${centre?.name} (${centre?.address}) and ${nodes
    .map(({ name, address }) => `${name} (${address})`)
    .join(", ")}, both ways? Look at firewalls and security groups between them`;
  return fault(centre?.name ?? "", what, suspects || remedy);
}

/** Within one node no other has a part. */
function localFindings(silent: readonly MadeProbe[], { picture }: Known): Finding[] {
  const local = silent.filter(
    (one) => !isBetween(one) && one.planned.way !== "address" && one.planned.way !== "entry",
  );
  return grouped(local, ({ planned }) => planned.toName).flatMap(([first, ...rest]) => {
    if (first === undefined) return [];
    const { toName, toNodeId } = first.planned;
    const node = nodeOf(picture, toNodeId)?.name ?? "";
    const what = `task ${toName} has no answer for its own node ${node}: ${rest.length + 1} probes were lost, such as from ${exampleText(first, picture)}`;
    const remedy = `docker exec into ${toName}: does a firewall in the container, or a program that does not accept, keep connections?`;
    return [fault(node, what, remedy)];
  });
}

/** Where tasks answer and the service's own address does not, the rules of the container are to blame. */
function addressFindings(silent: readonly MadeProbe[], { picture }: Known): Finding[] {
  const direct = new Set(
    silent.filter(({ planned }) => planned.way === "task").map(({ planned }) => planned.from),
  );
  return silent.flatMap((one) => {
    const { planned } = one;
    if (planned.way !== "address" || direct.has(planned.from)) return [];
    const node = nodeOf(picture, planned.fromNodeId)?.name ?? "";
    const what = `the address ${planned.address} of service ${planned.toName} has no answer in container ${planned.fromName} on ${node}, though its tasks have`;
    return [
      fault(node, what, `on ${node}: nsenter into the container and: nft list table inet skep`),
    ];
  });
}

/** Where the mesh of a node reaches the tasks and its published port does not answer, it is that node's own network. */
function entryFindings(
  silent: readonly MadeProbe[],
  lost: readonly MadeProbe[],
  known: Known,
): Finding[] {
  const { picture } = known;
  const lostMeshes = new Set(
    lost.filter(({ planned }) => planned.way === "mesh").map(({ planned }) => planned.fromNodeId),
  );
  const entries = silent.filter(
    ({ planned }) => planned.way === "entry" && !lostMeshes.has(planned.toNodeId),
  );
  return grouped(entries, ({ planned }) => planned.toNodeId).flatMap((group) => {
    const [first] = group;
    const to = nodeOf(picture, first?.planned.toNodeId ?? "");
    if (first === undefined || to === undefined) return [];
    const from = group
      .map(({ planned }) => nodeOf(picture, planned.fromNodeId))
      .filter((node) => node !== undefined);
    const port = `${first.planned.port}/tcp`;
    const what = `published port ${port} of node ${to.name} (${to.address}) has no answer from ${namesOf(from)}`;
    const hooks = ["prerouting", "forward"];
    const suspects = suspectsOf([to], { hooks, port, known });
    const others = suspectsOf(
      from.filter(({ id }) => id !== to.id),
      { hooks: ["output", "postrouting"], port, known },
    );
    const remedy = `is ${port} let through to ${to.name}? Look at firewalls and security groups before it`;
    return [fault(to.name, what, suspects || others || remedy)];
  });
}

function refusedFindings(refused: readonly MadeProbe[], { picture }: Known): Finding[] {
  const direct = refused.filter(({ planned }) => planned.way === "task" || planned.way === "mesh");
  const tasks = grouped(direct, ({ planned }) => `${planned.toName} ${planned.port}`);
  // What leads to several tasks is refused by one of them.
  const rest = refused.filter(
    ({ planned }) => planned.way === "entry" || planned.way === "address",
  );
  const found = tasks.flatMap(([first]) => {
    if (first === undefined) return [];
    const { toName, toNodeId, port } = first.planned;
    const node = nodeOf(picture, toNodeId)?.name ?? "";
    const what = `task ${toName} on ${node} refuses connections at port ${port}: nothing listens there in the container`;
    const remedy = `have the program listen on 0.0.0.0:${port}, or publish the port at which it does`;
    return [fault(node, what, remedy)];
  });
  if (found.length > 0) return found;
  return grouped(rest, ({ planned }) => `${planned.way} ${planned.toName}`).flatMap(([first]) => {
    if (first === undefined) return [];
    const { way, toName, address, port, toNodeId, fromNodeId } = first.planned;
    const node = nodeOf(picture, way === "entry" ? toNodeId : fromNodeId)?.name ?? "";
    const who = way === "entry" ? `node ${node}` : `the address ${address} of service ${toName}`;
    const what = `${who} refuses connections at port ${port}, though tasks take them`;
    return [fault(node, what, `on ${node}: nft list ruleset: which rule refuses them?`)];
  });
}

function grouped(
  list: readonly MadeProbe[],
  keyOf: (one: MadeProbe) => string,
): (readonly MadeProbe[])[] {
  const groups = new Map<string, MadeProbe[]>();
  for (const one of list) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return [...groups.values()];
}

function exampleText({ planned, result }: MadeProbe, picture: Picture): string {
  const { way, fromName, fromNodeId, toName, toNodeId, address, port, network } = planned;
  const node = nodeOf(picture, fromNodeId)?.name ?? "";
  const begin = way === "mesh" ? `the routing mesh of ${node}` : `${fromName} on ${node}`;
  const where = network === "" ? "" : ` in network ${network}`;
  const why = result.error === "" ? "" : ` (${result.error})`;
  return `${begin} to ${toName} on ${nodeOf(picture, toNodeId)?.name ?? ""}, ${address}:${port}${where}${why}`;
}

/** UDP ports of the tunnels that the probes went through. */
function portsBetween(probes: readonly MadeProbe[], picture: Picture): string {
  const secure = new Set(
    picture.networks.filter(({ encrypted }) => encrypted).map(({ name }) => name),
  );
  const isSecure = ({ planned: { way, network } }: MadeProbe) =>
    way === "mesh" ? picture.meshEncrypted : secure.has(network);
  return probes.every(isSecure) ? tunnelPortSecure : `${picture.tunnelPort}/udp`;
}

/** That of WireGuard. */
const tunnelPortSecure = "51820/udp";

/** When WireGuard last heard of these nodes; empty where it has no part. */
function handshakeText(centre: NodeFacts, others: readonly NodeFacts[], known: Known): string {
  const tunnels = lookOf(known, centre.id)?.tunnels ?? [];
  const ages = others.map(({ id, name }) => {
    const age = tunnels.find(({ nodeId }) => nodeId === id)?.handshakeAgeS;
    return age === undefined ? `${name} was never heard of` : `${name} ${age} s ago`;
  });
  return `; WireGuard on ${centre.name}: last handshake: ${ages.join(", ")}`;
}

/** Chains of others on these nodes that may be what keeps packets back, with what lets them pass. */
function suspectsOf(
  nodes: readonly NodeFacts[],
  o: { readonly hooks: readonly string[]; readonly port: string; readonly known: Known },
): string {
  return nodes
    .flatMap((node) =>
      (lookOf(o.known, node.id)?.foreign ?? [])
        .filter(({ hook }) => o.hooks.includes(hook))
        .map((chain) => suspectText(node, chain, o.port)),
    )
    .slice(0, suspectsMax)
    .join("; ");
}

/** More would hide the first. */
const suspectsMax = 3;

function suspectText({ name: node }: NodeFacts, found: ForeignChain, port: string): string {
  const { family, table, chain, drops, hook } = found;
  const [number, protocol] = port.split("/");
  const what = drops === "rest" ? "everything that it does not name" : "some packets";
  const isOfIptables = table === "filter" && chain === chain.toUpperCase() && family !== "inet";
  const program = family === "ip6" ? "ip6tables" : "iptables";
  const command = isOfIptables
    ? `${program} -I ${chain} -p ${protocol} --dport ${number} -j ACCEPT`
    : `nft insert rule ${family} ${table} ${chain} ${protocol} dport ${number} accept`;
  return `on ${node}, chain ${chain} of table ${family} ${table} (${hook}) drops ${what}; to let ${port} pass: ${command}`;
}

function namesOf(nodes: readonly NodeFacts[]): string {
  return nodes.map(({ name }) => name).join(", ");
}

function nodeOf({ nodes }: Picture, nodeId: string): NodeFacts | undefined {
  return nodes.find(({ id }) => id === nodeId);
}
