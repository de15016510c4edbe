/**
 * `skep stack ls`, `services`, `ps`, `config` and `rm`.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { projectText } from "../../stack/print.ts";
import { namespaceLabel } from "../../stack/translate/context.ts";
import { agoText, quotedText, tableText } from "../table.ts";
import type { ApiObject, Json } from "./client.ts";
import { type StackRun, say } from "./io.ts";
import { taskPlace } from "./task-place.ts";

const none = (stack: string) => new ClusterError("not-found", `nothing found in stack: ${stack}`);

/** `ls`: the stacks, and how many services each has. */
export async function list({ client, io, options }: StackRun): Promise<void> {
  const counts = new Map<string, number>();
  for (const { labels } of await client.stackServices()) {
    const stack = labels[namespaceLabel] ?? "";
    counts.set(stack, (counts.get(stack) ?? 0) + 1);
  }
  const stacks = [...counts].sort(([one], [other]) => (one < other ? -1 : 1));
  if (options.json) {
    io.out(
      `${JSON.stringify(
        stacks.map(([Name, Services]) => ({ Name, Services })),
        null,
        2,
      )}\n`,
    );
    return;
  }
  io.out(
    tableText(
      ["NAME", "SERVICES"],
      stacks.map(([name, count]) => [name, `${count}`]),
    ),
  );
}

/** `services`: the services of a stack. */
export async function services({ client, io, options }: StackRun, stack: string): Promise<void> {
  const found = await client.servicesWithStatus(stack);
  if (found.length === 0) throw none(stack);
  if (options.json) {
    io.out(
      `${JSON.stringify(
        found.map(({ raw }) => raw),
        null,
        2,
      )}\n`,
    );
    return;
  }
  const rows = [...found].sort((one, other) => (one.name < other.name ? -1 : 1)).map(serviceRow);
  io.out(tableText(["ID", "NAME", "MODE", "REPLICAS", "IMAGE", "PORTS"], rows));
}

function serviceRow({ id, name, spec, raw }: ApiObject): readonly string[] {
  const status = (raw["ServiceStatus"] ?? {}) as {
    readonly RunningTasks?: number;
    readonly DesiredTasks?: number;
    readonly CompletedTasks?: number;
  };
  const mode = (spec["Mode"] ?? {}) as Readonly<Record<string, Json | undefined>>;
  const [kind = "Replicated"] = Object.keys(mode);
  const words: Readonly<Record<string, string>> = {
    Replicated: "replicated",
    Global: "global",
    ReplicatedJob: "replicated job",
    GlobalJob: "global job",
  };
  const total = Number(mode["ReplicatedJob"]?.["TotalCompletions"] ?? status.DesiredTasks ?? 0);
  const count = `${status.RunningTasks ?? 0}/${status.DesiredTasks ?? 0}`;
  const replicas = kind.endsWith("Job")
    ? `${count} (${status.CompletedTasks ?? 0}/${total} completed)`
    : count;
  const image = String(containerOf(spec)["Image"] ?? "").replace(/@.*$/, "");
  return [id.slice(0, 12), name, words[kind] ?? kind, replicas, image, portsText(raw)];
}

function containerOf(spec: Json): Json {
  return ((spec["TaskTemplate"] as Json | undefined)?.["ContainerSpec"] ?? {}) as Json;
}

function portsText(raw: Json): string {
  const endpoint = (raw["Endpoint"] ?? {}) as { readonly Ports?: readonly Json[] };
  return (endpoint.Ports ?? [])
    .filter((port) => port["PublishMode"] === "ingress" && port["PublishedPort"] !== undefined)
    .map(
      (port) =>
        `*:${String(port["PublishedPort"])}->${String(port["TargetPort"])}/${String(port["Protocol"])}`,
    )
    .join(", ");
}

/** `ps`: the tasks of a stack. */
export async function tasks({ client, io, options }: StackRun, stack: string): Promise<void> {
  const [found, all, nodes] = await Promise.all([
    client.ofStack("services", stack),
    client.tasks({ label: { [`${namespaceLabel}=${stack}`]: true } }),
    client.nodes(),
  ]);
  if (all.length === 0) throw none(stack);
  if (options.json) {
    io.out(`${JSON.stringify(all, null, 2)}\n`);
    return;
  }
  const byId = new Map(found.map((service) => [service.id, service]));
  const nodeNames = new Map(
    nodes.map((node) => [
      String(node["ID"]),
      String((node["Description"] as Json | undefined)?.["Hostname"] ?? node["ID"]),
    ]),
  );
  const nameOf = (task: Json) => {
    const service = byId.get(String(task["ServiceID"]))?.name ?? String(task["ServiceID"]);
    return `${service}.${taskPlace(task, byId.get(String(task["ServiceID"])))}`;
  };
  const sorted = [...all].sort((one, other) =>
    nameOf(one) === nameOf(other)
      ? String(other["CreatedAt"]) < String(one["CreatedAt"])
        ? -1
        : 1
      : nameOf(one) < nameOf(other)
        ? -1
        : 1,
  );
  let last = "";
  const rows = sorted.map((task) => {
    const name = nameOf(task);
    const shown = name === last ? ` \\_ ${name}` : name;
    last = name;
    return taskRow(task, shown, nodeNames.get(String(task["NodeID"])) ?? "");
  });
  io.out(
    tableText(["ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE", "ERROR"], rows),
  );
}

function taskRow(task: Json, name: string, node: string): readonly string[] {
  const status = (task["Status"] ?? {}) as {
    readonly State?: string;
    readonly Timestamp?: string;
    readonly Err?: string;
  };
  const since =
    status.Timestamp === undefined ? "" : ` ${agoText(Date.now() - Date.parse(status.Timestamp))}`;
  const container = ((task["Spec"] as Json | undefined)?.["ContainerSpec"] ?? {}) as Json;
  return [
    String(task["ID"]).slice(0, 12),
    name,
    String(container["Image"] ?? "").replace(/@.*$/, ""),
    node,
    title(String(task["DesiredState"] ?? "")),
    `${title(status.State ?? "")}${since}`,
    status.Err === undefined || status.Err === "" ? "" : quotedText(status.Err),
  ];
}

function title(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

/** `config`: the files as one, checked. */
export function config(run: StackRun, name: string | undefined): void {
  const project = run.project(name);
  say(run, project.warnings);
  run.io.out(
    run.options.json ? `${JSON.stringify(project.model, null, 2)}\n` : projectText(project.model),
  );
}

/** `rm`: services, then secrets, configs and networks of stacks. */
export async function remove({ client, io }: StackRun, stacks: readonly string[]): Promise<void> {
  for (const stack of stacks) {
    let count = 0;
    for (const kind of ["services", "secrets", "configs", "networks"] as const)
      for (const { id, name } of await client.ofStack(kind, stack)) {
        io.out(`Removing ${kind.slice(0, -1)} ${name}\n`);
        await client.remove(kind, id);
        count++;
      }
    if (count === 0) io.fail(`Nothing found in stack: ${stack}\n`);
  }
}
