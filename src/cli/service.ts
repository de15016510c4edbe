/**
 * `skep service history|rollback|rebalance NAME`: the specs a service had, the way back to any of them, and its tasks spread
 * over the nodes anew.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { errorText } from "../common/errors/cluster-error.ts";
import { type ApiHost, ask, defaultHost, goodText } from "./api.ts";
import type { CommandIo } from "./io.ts";
import { tableText } from "./table.ts";

const usage = `Usage: skep service history [--json] NAME
       skep service rollback [--to REVISION] NAME
       skep service rebalance [--detach] NAME

history lists the last specs of a service, the present one first: when and why it got each, the image, and the revisions of
the secrets and configs it runs with; "1 of 2" is one that it was taken back to, though there is a newer one. rollback takes
the service back to one of them, or to the one before the present, by the service's own rollback policy; docker service ps
shows how far it is. rebalance moves tasks of a replicated service to nodes that have fewer of them, as many at a time and in
the order its updates go, and waits until that is over; tasks with local volumes stay. The label skep.rebalance=auto on the
service does it when a node joins or returns; skep swarm rebalance auto does for all services that do not say off.

Flags:
  -H, --host HOST      Daemon to ask (DOCKER_HOST, else ${defaultHost})
  -d, --detach         Do not wait until the tasks have moved
      --json           Print everything there is, as JSON
      --to REVISION    Number of the revision, as history has it
`;

/** How often the daemon is asked how far it is, milliseconds. */
const rebalanceLookMs = 500;

/** One spec, as the daemon tells of it. */
export interface HistoryRow {
  readonly Revision: number;
  readonly CreatedAt: string;
  readonly Cause: string;
  readonly Current: boolean;
  readonly Secrets: readonly PayloadRow[];
  readonly Configs: readonly PayloadRow[];
  readonly Spec: {
    readonly Mode?: { readonly Replicated?: { readonly Replicas?: number } };
    readonly TaskTemplate?: { readonly ContainerSpec?: { readonly Image?: string } };
  };
}

interface PayloadRow {
  readonly Name: string;
  readonly Revision: number;
  /** Where the service stays with an earlier one. */
  readonly Newest?: number;
}

/** Runs the command; resolves with its exit code. Never rejects. */
export async function runService(argv: readonly string[], io: CommandIo): Promise<number> {
  const { environment, out, fail } = io;
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        host: { type: "string", short: "H" },
        detach: { type: "boolean", short: "d" },
        json: { type: "boolean" },
        to: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
    const [verb = "", name = "", ...rest] = positionals;
    if (values.help === true) {
      out(usage);
      return 0;
    }
    const isKnown = ["history", "rollback", "rebalance"].includes(verb);
    const isOdd =
      (values.to !== undefined && verb !== "rollback") ||
      (values.json === true && verb !== "history") ||
      (values.detach === true && verb !== "rebalance");
    if (!isKnown || isOdd || name === "" || rest.length > 0) {
      fail(usage);
      return 2;
    }
    const host = values.host ?? (environment["DOCKER_HOST"] || defaultHost);
    const at = { host, environment };
    if (verb === "rollback") out(await rollBack(at, name, values.to));
    else if (verb === "rebalance") out(await rebalance(at, name, values.detach === true));
    else {
      const rows = JSON.parse(
        goodText(await ask(at, { method: "GET", path: `/skep/services/${part(name)}/history` })),
      ) as HistoryRow[];
      out(values.json === true ? `${JSON.stringify(rows, null, 2)}\n` : historyText(rows));
    }
    return 0;
  } catch (error) {
    fail(`skep service: ${errorText(error)}\n`);
    return 1;
  }
}

async function rollBack(at: ApiHost, name: string, to: string | undefined): Promise<string> {
  if (to !== undefined && !/^[1-9]\d*$/.test(to))
    throw new Error(`--to ${to}: give the number of a revision, as skep service history has it`);
  const answer = goodText(await ask(at, { method: "GET", path: `/services/${part(name)}` }));
  const service = JSON.parse(answer) as { ID: string; Version: { Index: number }; Spec: object };
  const where = to === undefined ? "rollback=previous" : `rollbackTo=${to}`;
  const path = `/services/${service.ID}/update?version=${service.Version.Index}&${where}`;
  goodText(await ask(at, { method: "POST", path, body: service.Spec }));
  return `${name}: going back to ${to === undefined ? "the previous spec" : `revision ${to}`}\n`;
}

/** Asks for it, and waits until it is over. */
async function rebalance(at: ApiHost, name: string, isDetached: boolean): Promise<string> {
  const path = `/skep/services/${part(name)}/rebalance`;
  goodText(await ask(at, { method: "POST", path }));
  while (!isDetached) {
    const answer = goodText(await ask(at, { method: "GET", path }));
    const { CompletedAt, Moved } = JSON.parse(answer) as { CompletedAt: string; Moved: number };
    if (CompletedAt !== "") return `${name}: ${Moved} ${Moved === 1 ? "task" : "tasks"} moved\n`;
    await sleep(rebalanceLookMs);
  }
  return `${name}: being rebalanced\n`;
}

/** `config page 2` each; `config page 1 of 2` for one that the service was taken back to. Pure. */
export function payloadTexts({ Secrets, Configs }: HistoryRow): readonly string[] {
  const texts = (kind: string, list: readonly PayloadRow[]) =>
    list.map(({ Name, Revision, Newest }) => {
      return `${kind} ${Name} ${Revision}${Newest === undefined ? "" : ` of ${Newest}`}`;
    });
  return [...texts("secret", Secrets), ...texts("config", Configs)];
}

/** A table of a history. Pure. */
export function historyText(rows: readonly HistoryRow[]): string {
  const cells = rows.map((row) => [
    `${row.Revision}${row.Current ? " *" : ""}`,
    row.CreatedAt.replace(/\.\d+Z$/, "Z"),
    row.Spec.TaskTemplate?.ContainerSpec?.Image?.replace(/@sha256:[0-9a-f]+$/, "") ?? "",
    `${row.Spec.Mode?.Replicated?.Replicas ?? "-"}`,
    payloadTexts(row).join(", ") || "-",
    row.Cause,
  ]);
  return tableText(
    ["REVISION", "SINCE", "IMAGE", "REPLICAS", "SECRETS AND CONFIGS", "CAUSE"],
    cells,
  );
}

function part(name: string): string {
  return encodeURIComponent(name);
}
