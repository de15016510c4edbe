/**
 * The requests that a deployment would send, tried together by the managers (`POST /skep/plan`), and what they say would come of it.
 */
import type { PlannedChange } from "../../stack/plan.ts";
import type { Body } from "../../stack/translate/context.ts";
import type { StackSpecs } from "../../stack/translate/stack.ts";
import { plainText } from "../api.ts";
import type { ApiObject, Json } from "./client.ts";
import type { StackRun } from "./io.ts";
import { namedReferences, withIds } from "./references.ts";

/** A node as plans name it. */
export interface PlanNode {
  readonly ID: string;
  readonly Hostname: string;
}

/** What the managers answer. */
export interface ManagersPlan {
  readonly Index: number;
  readonly Objects: readonly {
    readonly Kind: PlannedChange["kind"];
    readonly Name: string;
    readonly Action: PlannedChange["action"];
    readonly Waits?: string;
  }[];
  readonly Services: readonly PlannedService[];
  readonly Images: readonly {
    readonly Image: string;
    readonly Node: PlanNode;
    readonly TotalBytes?: number;
    readonly PullBytes?: number;
    readonly Unknown?: string;
  }[];
  /** Images that are taken without what their registries say of them. */
  readonly Unresolved: readonly { readonly Image: string; readonly Reason: string }[];
  readonly MissingPaths: readonly {
    readonly Node: PlanNode;
    readonly Service: string;
    readonly Path: string;
  }[];
  readonly SilentNodes: readonly { readonly Node: PlanNode; readonly Reason: string }[];
  readonly NodesNotAsked: number;
  readonly Refused: readonly {
    readonly Request: number;
    readonly Message: string;
  }[];
}

/** What happens to the tasks of a service. */
export interface PlannedService {
  readonly Name: string;
  /** Empty for one that is removed. */
  readonly Image: string;
  readonly Removed: boolean;
  readonly Order: string;
  readonly Parallelism: number;
  readonly Kept: number;
  readonly Tasks: readonly PlannedTask[];
  readonly MoreTasks: number;
  readonly Refusing: number;
  readonly Refusals: readonly { readonly Node: PlanNode; readonly Reason: string }[];
  readonly Conflicts: readonly PlannedConflict[];
  readonly Absence: { readonly Running: number; readonly Away: number; readonly Lost: number };
}

/** A port or a volume that is in the way. */
export interface PlannedConflict {
  readonly Kind: "port" | "volume";
  readonly Name: string;
  readonly Nodes: readonly PlanNode[];
  readonly Services: readonly string[];
  readonly Effect: "waits" | "empty" | "rejected";
  readonly To?: PlanNode;
  readonly Reason?: string;
}

/** What happens in one place. */
export interface PlannedTask {
  readonly Action: "start" | "replace" | "stop";
  readonly Slot?: number;
  /** Of a place that is a node. */
  readonly Node?: PlanNode;
  readonly TaskID?: string;
  readonly From?: PlanNode;
  readonly To?: PlanNode;
  readonly Error?: string;
}

/** What there is of a stack. */
export interface Present {
  readonly services: readonly ApiObject[];
  readonly networks: readonly ApiObject[];
  readonly secrets: readonly ApiObject[];
  readonly configs: readonly ApiObject[];
}

interface TriedRequest {
  readonly Method: "POST" | "DELETE";
  readonly Path: string;
  /** What the object is called in requests that follow. */
  readonly ID?: string;
  readonly Body?: Json;
  readonly RegistryAuth?: string;
  /** For people: what it is about. */
  readonly what: string;
}

/** A service as it would be sent; undefined when nothing would be. */
export interface SentService {
  readonly name: string;
  readonly body: Body;
  readonly before: ApiObject | undefined;
  readonly headers: Readonly<Record<string, string>> | undefined;
}

/** The managers' plan, and the refusals in words. @throws ClusterError with the daemon's message. */
export async function askManagers(
  run: Pick<StackRun, "client" | "options" | "io">,
  specs: StackSpecs,
  o: {
    readonly present: Present;
    readonly sent: readonly SentService[];
    /** Images whose registries were waited for in vain, with the reason: the managers need not do that again. */
    readonly silent: ReadonlyMap<string, string>;
  },
): Promise<{ readonly plan: ManagersPlan; readonly refusals: readonly string[] }> {
  const { present, silent } = o;
  const requests = await requestsOf(run, specs, o);
  const all = [...present.services, ...present.networks, ...present.secrets, ...present.configs];
  const body = {
    Requests: requests.map(({ what: _, ...request }) => request),
    Objects: all.map(({ id }) => id),
    Registries: run.options.resolveImage === "never" ? "never" : "ask",
    Unresolved: [...silent].map(([Image, Reason]) => ({ Image, Reason })),
  };
  const answer = await run.client.call({ method: "POST", path: "/skep/plan", body });
  const plan = whole(answer as ToldPlan);
  const refusals = plan.Refused.map(
    ({ Request, Message }) => `${requests[Request]?.what ?? "a request"}: ${plainText(Message)}`,
  );
  return { plan, refusals };
}

/** The answer of any daemon. */
type ToldPlan = Omit<ManagersPlan, "Services" | "Unresolved"> & {
  readonly Unresolved?: ManagersPlan["Unresolved"];
  readonly Services: readonly (Omit<PlannedService, "Conflicts"> &
    Partial<Pick<PlannedService, "Conflicts">>)[];
};

/** Daemons of earlier versions do not tell of conflicts and unresolved images, and during an upgrade any may be asked. */
function whole(told: ToldPlan): ManagersPlan {
  const services = told.Services.map((one) => ({ ...one, Conflicts: one.Conflicts ?? [] }));
  return { ...told, Services: services, Unresolved: told.Unresolved ?? [] };
}

/** In the order of a deployment. */
async function requestsOf(
  { client, options }: Pick<StackRun, "client" | "options">,
  specs: StackSpecs,
  { present, sent }: { readonly present: Present; readonly sent: readonly SentService[] },
): Promise<readonly TriedRequest[]> {
  const requests: TriedRequest[] = [];
  const wanted = new Set(specs.services.map(({ name }) => name));
  if (options.prune)
    for (const { id, name } of present.services.filter((one) => !wanted.has(one.name)))
      requests.push({ Method: "DELETE", Path: `/services/${id}`, what: `service ${name}` });
  const known = new Set(present.networks.map(({ name }) => name));
  for (const { name, body } of specs.networks)
    if (!known.has(name)) requests.push(creation("networks", name, body));
  const made = { secrets: new Map<string, string>(), configs: new Map<string, string>() };
  for (const kind of ["secrets", "configs"] as const)
    for (const { name, body } of specs[kind]) {
      const before = await client.find(kind, name);
      if (before !== undefined) {
        const Path = `/${kind}/${before.id}/update?version=${before.version}`;
        requests.push({ Method: "POST", Path, Body: body, what: `${kind.slice(0, -1)} ${name}` });
        continue;
      }
      const request = creation(kind, name, body);
      made[kind].set(name, request.ID ?? "");
      requests.push(request);
    }
  const ids = {
    secrets: await idsOf(client, "secrets", { specs, made: made.secrets }),
    configs: await idsOf(client, "configs", { specs, made: made.configs }),
  };
  for (const { name, body, before, headers } of sent) {
    const auth = headers?.["X-Registry-Auth"];
    const whole = {
      Body: withIds(body, ids),
      ...(auth !== undefined && { RegistryAuth: auth }),
    };
    if (before === undefined) requests.push({ ...creation("services", name, {}), ...whole });
    else {
      const Path = `/services/${before.id}/update?version=${before.version}`;
      requests.push({ Method: "POST", Path, what: `service ${name}`, ...whole });
    }
  }
  return requests;
}

function creation(
  kind: "services" | "networks" | "secrets" | "configs",
  name: string,
  Body: Json,
): TriedRequest {
  const what = kind.slice(0, -1);
  // Letters and digits only, as an id has them, and none that an object could have.
  const ID = `planned-${what}-${Buffer.from(name).toString("hex")}`;
  return { Method: "POST", Path: `/${kind}/create`, ID, Body, what: `${what} ${name}` };
}

async function idsOf(
  client: StackRun["client"],
  kind: "secrets" | "configs",
  { specs, made }: { readonly specs: StackSpecs; readonly made: ReadonlyMap<string, string> },
): Promise<ReadonlyMap<string, string>> {
  const names = namedReferences(
    specs.services.map(({ body }) => body),
    kind,
  );
  const there = await client.byName(
    kind,
    names.filter((name) => !made.has(name)),
  );
  return new Map([...made, ...[...there].map(([name, { id }]) => [name, id] as const)]);
}
