/**
 * An explanation as text for a person at night: the verdict, what is wrong with what helps, then the way from the name to the
 * tasks, then the nodes. Pure.
 */
import { inColumns } from "./table.ts";

/** What the API answers, as far as it is shown. */
export interface Explanation {
  readonly Verdict: string;
  readonly Faults: number;
  readonly Findings: readonly {
    readonly Severity: string;
    readonly What: string;
    readonly Remedy: string;
  }[];
  readonly Service: {
    readonly Name: string;
    readonly Mode: string;
    readonly EndpointMode: string;
    readonly Wanted: number;
    readonly Ready: number;
  };
  readonly Networks: readonly {
    readonly Name: string;
    readonly Encrypted: boolean;
    readonly VirtualIPs: readonly string[];
    readonly Names: readonly { readonly Name: string; readonly Addresses: readonly string[] }[];
  }[];
  readonly Ports: readonly {
    readonly Protocol: string;
    readonly PublishedPort: number;
    readonly TargetPort: number;
    readonly PublishMode: string;
    readonly BoundTo: string;
  }[];
  readonly Tasks: readonly ExplainedTask[];
  readonly Nodes: readonly ExplainedNode[];
  readonly NodesLeftOut: number;
}

interface ExplainedTask {
  readonly ID: string;
  readonly Name: string;
  readonly Node: string;
  readonly State: string;
  readonly Ready: boolean;
  readonly Message: string;
  readonly Err: string;
  readonly Addresses: readonly { readonly Network: string; readonly Address: string }[];
  readonly MeshAddresses: readonly string[];
}

interface ExplainedNode {
  readonly Name: string;
  readonly Address: string;
  readonly State: string;
  readonly Entry: boolean;
  readonly Answered: boolean;
  readonly Err: string;
  readonly Compared: number;
  readonly Differences: readonly unknown[];
  readonly Listens: readonly string[];
  readonly LeadsTo: readonly {
    readonly Where: string;
    readonly What: string;
    readonly Addresses: readonly string[];
  }[];
  readonly Probes: readonly { readonly Outcome: string; readonly Lost: boolean }[];
}

/** The text, with a line break at its end. */
export function explanationText(e: Explanation): string {
  const sections = [
    [e.Verdict],
    findingLines(e),
    ["", "The way:", ...indented([...serviceLines(e), ...networkLines(e), ...portLines(e)])],
    ["", "Tasks:", ...indented(taskLines(e))],
    ["", "Nodes:", ...indented(nodeLines(e))],
  ];
  return `${sections.flat().join("\n")}\n`;
}

function findingLines({ Findings }: Explanation): string[] {
  return Findings.flatMap(({ Severity, What, Remedy }, position) => [
    "",
    `${position + 1}. ${Severity.toUpperCase()}: ${What}`,
    `   what helps: ${Remedy}`,
  ]);
}

function serviceLines({ Service: s }: Explanation): string[] {
  return [`service ${s.Name} (${s.Mode}): ${s.Ready} of ${s.Wanted} tasks ready`];
}

/** Names that lead to the service's address are followed to its tasks. */
function networkLines({ Networks, Tasks }: Explanation): string[] {
  return Networks.flatMap(({ Name: network, Encrypted, VirtualIPs, Names }) => {
    const how = Encrypted ? " (encrypted)" : "";
    const backends = Tasks.flatMap(({ Name, Ready, Addresses }) =>
      Addresses.flatMap(({ Network, Address }) =>
        Ready && Network === network ? [`${Address} (${Name})`] : [],
      ),
    );
    return Names.map(({ Name, Addresses }) => {
      const isOwn = VirtualIPs.length > 0 && Addresses.join() === VirtualIPs.join();
      const end = isOwn ? ` -> ${someOf(backends) || "nothing: refused"}` : "";
      return `network ${network}${how}: ${Name} -> ${someOf(Addresses) || "nothing"}${end}`;
    });
  });
}

function portLines({ Ports, Nodes, Tasks }: Explanation): string[] {
  return Ports.map(({ Protocol, PublishedPort, TargetPort, PublishMode, BoundTo }) => {
    const port = `port ${PublishedPort}/${Protocol}`;
    if (PublishMode === "host") {
      const on = Tasks.filter(({ Ready }) => Ready).map(({ Node }) => Node);
      return `${port}: on the nodes of its tasks only (${someOf(on) || "none"}) -> port ${TargetPort}`;
    }
    const name = `${PublishedPort}/${Protocol}`;
    const on = Nodes.filter(({ Listens }) => Listens.includes(name)).map(({ Name }) => Name);
    const where = BoundTo === "" ? "every address" : BoundTo;
    const to = Tasks.filter(({ Ready }) => Ready).flatMap(({ MeshAddresses, Name }) =>
      MeshAddresses.map((address) => `${address}:${TargetPort} (${Name})`),
    );
    return `${port}: ${where} of ${someOf(on) || "no node"} -> ${someOf(to) || "nothing: refused"}`;
  });
}

function taskLines({ Tasks }: Explanation): string[] {
  if (Tasks.length === 0) return ["none"];
  return table(
    Tasks.map(({ Name, Node, State, Ready, Err, Message }) => [
      Name,
      Node || "no node",
      State,
      Ready ? "ready" : `not ready: ${Err || Message}`,
    ]),
  );
}

function nodeLines({ Nodes, NodesLeftOut }: Explanation): string[] {
  const rows = Nodes.map((node) => {
    const { Name, Address, State, Answered, Err, Compared, Differences, Probes } = node;
    if (!Answered) return [Name, Address, Err === "" ? State : `NOT ANSWERING: ${Err}`];
    const made = Probes.filter(({ Outcome }) => Outcome !== "unmade");
    const lost = made.filter(({ Lost }) => Lost).length;
    const kernel =
      Differences.length === 0
        ? `kernel as planned (${Compared} compared)`
        : `KERNEL DIFFERS: ${Differences.length} of ${Compared}`;
    const probes =
      lost === 0 ? `${made.length} probes answered` : `${lost} OF ${made.length} PROBES LOST`;
    return [Name, Address, kernel, made.length === 0 ? "no probes" : probes];
  });
  const lines = Nodes.flatMap(({ LeadsTo }, position) => [
    table(rows)[position] ?? "",
    ...LeadsTo.map(
      ({ Where, What, Addresses }) => `    ${Where}: ${What} -> ${someOf(Addresses) || "refused"}`,
    ),
  ]);
  return NodesLeftOut === 0 ? lines : [...lines, `and ${NodesLeftOut} more, which were not asked`];
}

/** A list as far as it is read; `--json` has all of it. */
function someOf(words: readonly string[]): string {
  const more = words.length - listedMax;
  return `${words.slice(0, listedMax).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

const listedMax = 12;

/** Rows in columns of equal width. */
function table(rows: readonly (readonly string[])[]): string[] {
  return inColumns(rows, "  ");
}

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}
