/**
 * `skep playground …`: the playground for people. Parses the words, calls `Playground`, prints what a person wants to see.
 */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import { formSwarm } from "./engine-client.ts";
import { type NodeView, Playground, shiftedClock } from "./playground.ts";

/** What `skep playground help` prints. */
export const playgroundUsage = `Usage: skep playground COMMAND [--name NAME] [--dir DIR]

Several full nodes on this machine, as simulated hosts in a network of their own.

Commands:
  up [--nodes N]                    Start N nodes (3 when not given), or those missing of a playground that is there
  up --managers M [--workers W]     Start M + W nodes and form a swarm of them
     --platform NODE=PLATFORM       Have a node pretend to be of another platform, such as linux/arm/v7
  down                              End the nodes and remove everything the playground made
  ls                                List the nodes
  exec NODE COMMAND [ARG...]        Run a command on a node; docker talks to the node's daemon
  kill NODE...                      Cut the power of nodes: everything on them ends at once
  kill --daemon NODE...             Kill only the daemon of nodes
  stop NODE...                      End the daemon of nodes in order
  start [--clock SHIFT] NODE...     Start whatever is missing; SHIFT moves the daemon's clock, such as +200d
  partition NODE...                 Cut nodes off from all others
  heal                              End the partition
  readdress NODE ADDRESS            Give a node another address

Options:
  --name NAME   Name of the playground (playground)
  --dir DIR     Folder of the playground (/var/lib/skep-playground/NAME)
`;

/** Where playgrounds live unless told otherwise. */
const defaultParent = "/var/lib/skep-playground";
const defaultNodes = 3;

const optionKinds = {
  name: { type: "string" },
  dir: { type: "string" },
  nodes: { type: "string" },
  managers: { type: "string" },
  workers: { type: "string" },
  platform: { type: "string", multiple: true },
  daemon: { type: "boolean" },
  clock: { type: "string" },
  help: { type: "boolean", short: "h" },
} as const;

type Options = ReturnType<typeof parse>["options"];

/**
 * Runs one playground command; resolves with the exit code.
 *
 * @throws ClusterError with the message for the user.
 */
export async function runPlayground(argv: readonly string[]): Promise<number> {
  const { options, words, command } = parse(argv);
  if (options.help === true || command === undefined || command === "help") {
    process.stdout.write(playgroundUsage);
    return 0;
  }
  const dir = resolve(options.dir ?? join(defaultParent, options.name ?? "playground"));
  if (command === "up") return up(dir, options);
  const playground = Playground.open(dir);
  if (command === "exec") return exec(playground, words);
  await change(playground, command, words, options);
  return 0;
}

async function change(
  playground: Playground,
  command: string,
  words: readonly string[],
  options: Options,
): Promise<void> {
  const each = async (act: (name: string) => Promise<void>) => {
    if (words.length === 0) throw new ClusterError("invalid-argument", `${command}: name a node`);
    for (const name of words) await act(name);
  };
  switch (command) {
    case "down":
      return playground.down();
    case "ls":
      return list(playground);
    case "kill":
      if (options.daemon === true) return each((name) => playground.killDaemon(name));
      return each((name) => playground.killNode(name));
    case "stop":
      return each((name) => playground.stopDaemon(name));
    case "start": {
      const env = options.clock === undefined ? {} : { env: shiftedClock(options.clock) };
      return each((name) => playground.startNode(name, env));
    }
    case "partition":
      await each(async (name) => void playground.node(name));
      return playground.partition(words);
    case "heal":
      return playground.heal();
    case "readdress":
      if (words.length !== 2) throw new ClusterError("invalid-argument", "readdress NODE ADDRESS");
      return playground.readdress(words[0] ?? "", words[1] ?? "");
    default:
      throw new ClusterError("invalid-argument", `skep playground has no command ${command}`);
  }
}

async function up(dir: string, options: Options): Promise<number> {
  const managers = count(options.managers, "--managers") ?? 0;
  const workers = count(options.workers, "--workers") ?? 0;
  const form = managers + workers > 0;
  if (form && (managers === 0 || options.nodes !== undefined)) {
    throw new ClusterError("invalid-argument", "give --managers with --workers, or --nodes alone");
  }
  const names = form
    ? [...numbered("m", managers), ...numbered("w", workers)]
    : numbered("node", count(options.nodes, "--nodes") ?? defaultNodes);
  const playground = openOrCreate(dir, names, options);
  await playground.up();
  if (form) await formSwarm(playground.nodes().map((node) => ({ ...node, role: roleOf(node) })));
  list(playground);
  return 0;
}

function roleOf(node: NodeView): "manager" | "worker" {
  return node.name.startsWith("m") ? "manager" : "worker";
}

/** A playground that is there is opened when no size is given; with one, `create` says that it is in the way. */
function openOrCreate(dir: string, names: readonly string[], options: Options): Playground {
  const sized = options.nodes ?? options.managers;
  try {
    if (sized === undefined) return Playground.open(dir);
  } catch (error) {
    if (!hasCode(error, "not-found")) throw error;
  }
  const platforms = platformsByNode(options.platform ?? [], names);
  return Playground.create({ dir, nodes: names, name: options.name ?? "playground", platforms });
}

/** @throws ClusterError `invalid-argument` naming the word that is no NODE=PLATFORM. */
function platformsByNode(
  words: readonly string[],
  names: readonly string[],
): Readonly<Record<string, string>> {
  const pairs = words.map((word): [string, string] => {
    const [name = "", platform = ""] = word.split("=");
    if (!names.includes(name) || platform === "") {
      throw new ClusterError(
        "invalid-argument",
        `--platform ${word}: give NODE=PLATFORM with one of ${names.join(", ")}`,
      );
    }
    return [name, platform];
  });
  return Object.fromEntries(pairs);
}

async function exec(playground: Playground, words: readonly string[]): Promise<number> {
  const [name, ...command] = words;
  if (name === undefined || command.length === 0) {
    throw new ClusterError("invalid-argument", "exec NODE COMMAND [ARG...]");
  }
  const result = await playground.exec(name, command, { terminal: true });
  return result.code;
}

function list(playground: Playground): void {
  const rows = [
    ["NODE", "ADDRESS", "HOST", "DAEMON", "DOCKER_HOST"],
    ...playground.nodes().map(row),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((r) => r[column]?.length ?? 0)));
  for (const cells of rows) {
    const line = cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("   ");
    process.stdout.write(`${line.trimEnd()}\n`);
  }
}

function row(node: NodeView): string[] {
  const host = node.hostPid === undefined ? "off" : `${node.hostPid}`;
  return [
    node.name,
    node.address,
    node.cut && node.hostPid !== undefined ? `${host} (cut off)` : host,
    node.daemonPid === undefined ? "off" : `${node.daemonPid}`,
    `unix://${node.socket}`,
  ];
}

function numbered(stem: string, amount: number): string[] {
  return Array.from({ length: amount }, (_, index) => `${stem}${index + 1}`);
}

function count(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,3}$/.test(text)) {
    throw new ClusterError("invalid-argument", `${option} takes a number, not ${text}`);
  }
  return Number(text);
}

/** Options may stand before and after the command, but what follows `exec NODE` is not ours. */
function parse(argv: readonly string[]) {
  const own = argv.slice(0, ownCount(argv));
  try {
    const { values, positionals } = parseArgs({
      args: [...own],
      options: optionKinds,
      allowPositionals: true,
    });
    const [command, ...words] = positionals;
    return { options: values, command, words: [...words, ...argv.slice(own.length)] };
  } catch (error) {
    throw new ClusterError("invalid-argument", (error as Error).message, { cause: error });
  }
}

/** How many of the words are ours: what follows `exec` and its flags is somebody else's command. */
function ownCount(argv: readonly string[]): number {
  let at = argv.indexOf("exec") + 1;
  if (at === 0) return argv.length;
  for (let word = argv[at]; word?.startsWith("-"); word = argv[at])
    at += ["--name", "--dir"].includes(word) ? 2 : 1;
  return at;
}
