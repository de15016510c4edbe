/**
 * Looks at the data path of this node for people: reads its kernel, compares it with the plan, and makes probes. Changes
 * nothing, so that what is found can be found again.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import type {
  Difference,
  LedTo,
  ListeningProgram,
  LookRequest,
  NameAnswer,
  NameQuestion,
  NodeLook,
  PortName,
  Probe,
  ProbeResult,
} from "../../../src/common/container/data-path.ts";
import {
  differencesMax,
  lookAgainMs,
  looksMax,
  probesMax,
} from "../../../src/common/limits/network.ts";
import type { ClusterState } from "../cluster-state.ts";
import { hostSpace, type Plan, swarmSpace } from "../model.ts";
import { overlayBridge, overlayTunnel, swarmDevices } from "../names.ts";
import { command } from "../namespace.ts";
import { indexState } from "../nft/from-state.ts";
import type { KernelThread } from "../nft/library.ts";
import { taskTableName } from "../nft/task-table.ts";
import { usedPorts } from "../nft/used-ports.ts";
import { meshTableName, type NodeRules, type RulesInput, type WantedTable } from "../node-rules.ts";
import { observe } from "../observe.ts";
import { hasMesh, plan } from "../plan.ts";
import { canonical } from "../pools.ts";
import type { Sandbox } from "../sandbox.ts";
import { askName } from "./ask-name.ts";
import { compareConnects } from "./connects.ts";
import { compareSpace, whoseIn } from "./differences.ts";
import { foreignChains } from "./foreign.ts";
import { probe } from "./probe.ts";
import { backendsIn, compareTable, type ListedTable, readTable } from "./tables.ts";
import { tunnelStates } from "./tunnel.ts";

/** What is looked with. */
export interface LookTools {
  /** What the node makes its kernel from just now; undefined until it knows. */
  readonly input: () => RulesInput | undefined;
  readonly cluster: () => ClusterState;
  /** Why the kernel could not be made so; empty when it could. */
  readonly trouble: () => string;
  readonly fileOf: (space: string) => string | undefined;
  readonly rules: Pick<NodeRules, "wanted" | "read" | "barriers" | "connects">;
  readonly thread: Pick<KernelThread, "look">;
  readonly clock: Clock;
}

/** Everything that was asked about. @throws ClusterError unavailable when the kernel cannot be read. */
export async function look(
  request: LookRequest,
  tools: LookTools,
  signal: AbortSignal,
): Promise<NodeLook> {
  const input = tools.input();
  const wantedProbes = request.probes.slice(0, probesMax);
  const sandboxes = input?.sandboxes ?? [];
  const probing = Promise.all(wantedProbes.map((one) => probeFrom(one, sandboxes, tools)));
  const asking = Promise.all(
    request.names.slice(0, probesMax).map((one) => nameFrom(one, sandboxes, tools)),
  );
  const [kernel, others, programs, probes, names] = await Promise.all([
    input === undefined ? undefined : kernelOf(request, tools, signal),
    input === undefined ? undefined : othersOf(tools),
    programsAt(request.ports),
    probing,
    asking,
  ]);
  const cluster = tools.cluster();
  return {
    knowsCluster: cluster.self !== undefined,
    trouble: tools.trouble(),
    compared: kernel?.compared ?? 0,
    differences: kernel?.differences.slice(0, differencesMax) ?? [],
    told: toldOf(request, cluster),
    ledTo: kernel?.ledTo ?? [],
    listens: kernel?.listens ?? [],
    programs,
    barriers: others?.barriers ?? [],
    foreign: others?.foreign ?? [],
    tunnels: kernel?.tunnels ?? [],
    names,
    probes,
  };
}

/** Where rules cannot lead, the daemon itself takes connections for containers. */
export async function programsAt(ports: readonly PortName[]): Promise<readonly ListeningProgram[]> {
  const found = await usedPorts(ports.flatMap(watched));
  return found.filter(({ program }) => !program.endsWith(` (${process.pid})`));
}

/** SCTP is left out: the kernel lists its listeners nowhere. */
function watched({ protocol, port }: PortName): { protocol: "tcp" | "udp"; port: number }[] {
  return protocol === "sctp" ? [] : [{ protocol, port }];
}

interface KernelLook extends Pick<NodeLook, "compared" | "ledTo" | "listens" | "tunnels"> {
  readonly differences: readonly Difference[];
}

/** What differs for a moment only is no difference: a change is under way. */
async function kernelOf(
  request: LookRequest,
  tools: LookTools,
  signal: AbortSignal,
): Promise<KernelLook | undefined> {
  const first = await kernelOnce(request, tools);
  if (first === undefined || first.differences.length === 0) return first;
  await tools.clock.sleep(lookAgainMs, signal);
  const second = await kernelOnce(request, tools);
  if (second === undefined) return second;
  const before = new Set(first.differences.map(keyOf));
  return { ...second, differences: second.differences.filter((one) => before.has(keyOf(one))) };
}

function keyOf({ where, what }: Difference): string {
  return `${where} ${what}`;
}

async function kernelOnce(request: LookRequest, tools: LookTools): Promise<KernelLook | undefined> {
  const input = tools.input();
  if (input === undefined) return undefined;
  const wanted = plan(input);
  if (wanted.size === 0)
    return { compared: 0, differences: [], ledTo: [], listens: [], tunnels: [] };
  const chosen = chosenSandboxes(input.sandboxes, request.networkIds);
  const spaces = new Map([
    [hostSpace, "host"],
    [swarmSpace, "swarm"],
    ...chosen.map(({ id, name }) => [id, name] as const),
  ]);
  const differences: Difference[] = [];
  let compared = 0;
  for (const [space, where] of spaces) {
    const found = await compareOne({ space, wanted, input, request, tools });
    compared += found.compared;
    differences.push(...found.differences.map((what) => ({ where, what })));
  }
  const tables = tools.rules.wanted(input, new Set(chosen.map(({ id }) => id)));
  const listed = await readTables(tables, tools);
  for (const [position, { space, table }] of tables.entries()) {
    const found = compareTable(table, listed[position]);
    compared += found.compared;
    const where = spaces.get(space) ?? space;
    differences.push(...found.differences.map((what) => ({ where, what })));
  }
  const connects = await tools.rules.connects();
  for (const { space, ...found } of compareConnects(tables, connects, tools.fileOf)) {
    compared += found.compared;
    const where = spaces.get(space) ?? space;
    differences.push(...found.differences.map((what) => ({ where, what })));
  }
  const tunnel = await tunnelOf(input, tools);
  differences.push(...tunnel.differences);
  const found = tables.map(({ space, table }, position) => {
    return { where: spaces.get(space) ?? space, name: table.name, listed: listed[position] };
  });
  return {
    compared,
    differences,
    tunnels: tunnel.tunnels,
    ledTo: ledToOf(request, input.cluster, found),
    listens: listensOf(request, found),
  };
}

/** Containers that are in these networks; a few of many are as good as all. */
function chosenSandboxes(
  sandboxes: readonly Sandbox[],
  networkIds: readonly string[],
): readonly Sandbox[] {
  const isIn = ({ overlays }: Sandbox) =>
    overlays.some(({ networkId }) => networkIds.includes(networkId));
  return sandboxes.filter(isIn).slice(0, looksMax);
}

async function compareOne(o: {
  readonly space: string;
  readonly wanted: Plan;
  readonly input: RulesInput;
  readonly request: LookRequest;
  readonly tools: LookTools;
}) {
  const { space, input, request, tools } = o;
  const file = tools.fileOf(space);
  const wanted = o.wanted.get(space);
  if (wanted === undefined) return { compared: 0, differences: [] };
  if (file !== undefined && !(await isThere(file))) {
    return { compared: 1, differences: ["the network namespace is missing"] };
  }
  const isSwarm = space === swarmSpace;
  const settings = [...wanted.settings.keys()];
  const seen = await observe(file, { everything: isSwarm, settings }, tools.thread);
  const devices = isSwarm ? swarmDevicesOf(input, request) : undefined;
  return compareSpace({
    wanted,
    seen,
    down: await downDevices(file),
    ...(devices === undefined ? {} : { devices }),
    strict: isSwarm,
    who: whoseIn(input.cluster, new Set(request.networkIds)),
  });
}

async function isThere(file: string): Promise<boolean> {
  const { code } = await command(["true"], { file }).catch(() => ({ code: 1 }));
  return code === 0;
}

/** Devices of the namespace `swarm` that the question is about: the rest is other networks'. */
function swarmDevicesOf(input: RulesInput, request: LookRequest): ReadonlySet<string> {
  const found = new Set<string>([swarmDevices.uplink, swarmDevices.gateway]);
  if (request.ports.length > 0 && hasMesh(input.cluster)) found.add(swarmDevices.mesh);
  for (const { overlays } of input.sandboxes) {
    for (const { networkId, vni } of overlays) {
      if (!request.networkIds.includes(networkId)) continue;
      found.add(overlayBridge(vni)).add(overlayTunnel(vni));
    }
  }
  return found;
}

async function downDevices(file: string | undefined): Promise<ReadonlySet<string>> {
  const { stdout } = await command(["ip", "-json", "link"], { file });
  const links = JSON.parse(stdout.trim() || "[]") as { ifname?: string; flags?: string[] }[];
  const down = links.filter(({ flags = [] }) => !flags.includes("UP"));
  return new Set(down.map(({ ifname = "" }) => ifname));
}

/** Listings in the order of the tables; undefined for those that are not there. */
async function readTables(
  tables: readonly WantedTable[],
  { rules, fileOf }: LookTools,
): Promise<readonly (ListedTable | undefined)[]> {
  const jobs = tables.map(({ space, table }) => {
    return { namespace: fileOf(space), text: `list table ${table.family} ${table.name}` };
  });
  const found: (ListedTable | undefined)[] = [];
  // One after the other: of one namespace there may be one at a time.
  for (const job of jobs) {
    const [answer] = await rules.read([job]);
    found.push(answer?.ok === true ? readTable(answer.output) : undefined);
  }
  return found;
}

interface FoundTable {
  readonly where: string;
  readonly name: string;
  readonly listed: ListedTable | undefined;
}

/** Where the rules of containers lead service addresses, and those of the mesh published ports. */
function ledToOf(
  { serviceIds, networkIds, ports }: LookRequest,
  { services }: ClusterState,
  tables: readonly FoundTable[],
): LedTo[] {
  const isAsked = (port: PortName) =>
    ports.some((one) => one.port === port.port && one.protocol === port.protocol);
  return tables.flatMap(({ where, name, listed }) =>
    serviceIds.flatMap((serviceId): LedTo[] => {
      const service = services.get(serviceId);
      if (listed === undefined || service === undefined) return [];
      if (name === taskTableName.name) {
        return service.virtualIps
          .filter(({ networkId, address }) => networkIds.includes(networkId) && address !== "")
          .map(({ address }) => canonical(address.split("/")[0] ?? address))
          .map((what) => ({ where, serviceId, what, addresses: addressLeadsTo(what, listed) }));
      }
      if (name !== meshTableName) return [];
      return service.ports
        .filter(({ protocol, publishedPort: port }) => isAsked({ protocol, port }))
        .map(({ protocol, publishedPort }) => {
          const found = listed.addresses.get(`${protocol}_${publishedPort}`) ?? [];
          // Those of IPv6 are the same tasks again.
          const addresses = [...found].filter((one) => !one.includes(":")).sort();
          return { where: "mesh", serviceId, what: `${publishedPort}/${protocol}`, addresses };
        });
    }),
  );
}

function addressLeadsTo(address: string, { elements, addresses }: ListedTable): readonly string[] {
  const slots = elements.get(address.includes(":") ? "slots6" : "slots") ?? new Map();
  const kept = addresses.get(`keep_${address.replaceAll(":", "_")}`) ?? [];
  return [...new Set([...(backendsIn(slots).get(address) ?? []), ...kept])].sort();
}

/** Ports that the rules of the node's own network lead to the mesh or to containers, at one address or at all. */
function listensOf({ ports }: LookRequest, tables: readonly FoundTable[]): PortName[] {
  const keys = tables
    .filter(({ where }) => where === "host")
    .flatMap(({ listed }) => [...(listed?.elements ?? [])])
    .filter(([set]) => set.startsWith("published") || set.startsWith("bound"))
    .flatMap(([, elements]) => [...elements.keys()]);
  return ports.filter(({ protocol, port }) =>
    keys.some((key) => key === `${protocol} . ${port}` || key.endsWith(` . ${protocol} . ${port}`)),
  );
}

async function tunnelOf(
  { secure, cluster }: RulesInput,
  { fileOf, clock }: LookTools,
): Promise<Pick<NodeLook, "tunnels"> & { readonly differences: Difference[] }> {
  if (secure === undefined) return { tunnels: [], differences: [] };
  const { code, stdout } = await command(["wg", "show", secure.device, "dump"], {
    file: fileOf(hostSpace),
  });
  if (code !== 0) {
    const what = `the WireGuard device ${secure.device} does not answer`;
    return { tunnels: [], differences: [{ where: "host", what }] };
  }
  const others = [...cluster.peers.values()].filter(
    (peer) => peer.nodeId !== cluster.self?.nodeId && peer.wireguardPublicKey.length > 0,
  );
  const tunnels = tunnelStates(stdout, others, clock.now());
  const known = new Set(tunnels.map(({ nodeId }) => nodeId));
  const missing = others.filter(({ nodeId }) => !known.has(nodeId));
  return {
    tunnels,
    differences: missing.map(({ hostname, nodeId }) => ({
      where: "host",
      what: `the WireGuard device ${secure.device} does not have node ${hostname || nodeId}`,
    })),
  };
}

async function othersOf({ rules, fileOf }: LookTools) {
  const [answer] = await rules.read([{ namespace: fileOf(hostSpace), text: "list ruleset" }]);
  return {
    barriers: await rules.barriers(),
    foreign: answer?.ok === true ? foreignChains(answer.output) : [],
  };
}

function toldOf({ serviceIds, networkIds }: LookRequest, cluster: ClusterState): NodeLook["told"] {
  const { ready, ingressId } = indexState(cluster);
  const networks = [...networkIds, ...(ingressId === undefined ? [] : [ingressId])];
  return networks.flatMap((networkId) =>
    serviceIds.map((serviceId) => ({
      serviceId,
      networkId,
      addresses: [...(ready.get(networkId)?.get(serviceId) ?? [])].map(canonical).sort(),
    })),
  );
}

async function probeFrom(
  wanted: Probe,
  sandboxes: readonly Sandbox[],
  { fileOf }: LookTools,
): Promise<ProbeResult> {
  const unmade = (error: string): ProbeResult => ({ ...wanted, outcome: "unmade", ms: 0, error });
  if (wanted.from === "host") return probe(fileOf(hostSpace), wanted);
  if (wanted.from === "mesh") return probe(fileOf(swarmSpace), wanted);
  const from = sandboxAt(sandboxes, wanted);
  return from === undefined ? unmade(notHere(wanted)) : probe(fileOf(from.id), wanted);
}

async function nameFrom(
  question: NameQuestion,
  sandboxes: readonly Sandbox[],
  { fileOf }: LookTools,
): Promise<NameAnswer> {
  const from = sandboxAt(sandboxes, question);
  const file = from === undefined ? undefined : fileOf(from.id);
  if (file === undefined) return { ...question, addresses: [], error: notHere(question) };
  return askName(file, question);
}

/** The container with an address in a network. */
function sandboxAt(
  sandboxes: readonly Sandbox[],
  { networkId, from }: { readonly networkId: string; readonly from: string },
): Sandbox | undefined {
  return sandboxes.find(({ overlays }) =>
    overlays.some(
      (place) =>
        place.networkId === networkId && place.addresses.some(({ address }) => address === from),
    ),
  );
}

function notHere({ from }: { readonly from: string }): string {
  return `no container here has the address ${from}`;
}
