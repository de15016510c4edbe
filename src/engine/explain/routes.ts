/**
 * `GET /skep/explain/{service,task,port}/…`: where the traffic of a service goes and what is in its way. Any manager answers,
 * whichever of them or of the nodes is in trouble; Docker has no such routes.
 */
import type { PortConfig, PortProtocol, Service } from "../../common/api/generated/api.ts";
import { aborting } from "../../common/clock/aborting.ts";
import type { LookRequest } from "../../common/container/data-path.ts";
import { ClusterError, hasCode } from "../../common/errors/cluster-error.ts";
import { noLeader } from "../../common/errors/no-leader.ts";
import { explainAgainMs, explainLeaderMs } from "../../common/limits/limits.ts";
import { type EngineContext, readView } from "../context.ts";
import { findTask } from "../far-lookup.ts";
import type { ObjectView } from "../ports.ts";
import { json, type Reply } from "../reply.ts";
import { type EngineRequest, param } from "../request.ts";
import type { Route } from "../router.ts";
import { taskName } from "../translate/task.ts";
import { askNodes, lookPath, lookRequestOf } from "./ask.ts";
import { findingsOf } from "./findings.ts";
import { explanationToJson } from "./json.ts";
import type { Known } from "./known.ts";
import { plannedNames } from "./names.ts";
import { type Picture, pictureOf, type Question } from "./picture.ts";
import { plannedProbes } from "./probes.ts";

/** Routes of managers. */
export function explainRoutes(context: EngineContext): readonly Route[] {
  const route = (
    kind: string,
    question: (request: EngineRequest, view: ObjectView) => Question,
  ): Route => ({
    method: "GET",
    pattern: `/skep/explain/${kind}/{id...}`,
    handler: (request) => explain(context, request, question),
  });
  return [
    route("service", serviceQuestion),
    route("task", taskQuestion),
    route("port", portQuestion),
  ];
}

/** What nodes answer managers that explain: of themselves only. */
export function lookRoutes({ ports }: EngineContext): readonly Route[] {
  return [
    {
      method: "POST",
      pattern: lookPath,
      handler: async (request) =>
        json(await ports.runtime.dataPath.look(await lookRequestOf(request), request.signal)),
    },
  ];
}

function serviceQuestion(request: EngineRequest, view: ObjectView): Question {
  const service = view.lookup("service", param(request, "id"));
  const name = service.spec?.annotations?.name ?? "";
  return { subject: { kind: "service", name, id: service.id }, service };
}

function taskQuestion(request: EngineRequest, view: ObjectView): Question {
  const reference = param(request, "id");
  const task = findTask(view, reference)?.task ?? view.lookup("task", reference);
  const service = view.get("service", task.serviceId);
  if (service === undefined) {
    throw new ClusterError("invalid-argument", `task ${reference} is of no service`);
  }
  return { subject: { kind: "task", name: taskName(task), id: task.id }, service, task };
}

function portQuestion(request: EngineRequest, view: ObjectView): Question {
  const { number, protocol } = portOf(param(request, "id"));
  const found: { readonly service: Service; readonly port: PortConfig }[] = [];
  for (const service of view.list("service")) {
    for (const port of service.endpoint?.ports ?? []) {
      const isIt = port.publishedPort === number && (protocol ?? port.protocol) === port.protocol;
      if (isIt) found.push({ service, port });
    }
  }
  const best = found.find(({ port }) => port.protocol === "tcp") ?? found[0];
  if (best === undefined) {
    const name = protocol === undefined ? String(number) : `${number}/${protocol}`;
    throw new ClusterError("not-found", `port ${name} not found: no service publishes it`);
  }
  const name = `${number}/${best.port.protocol}`;
  return { ...best, subject: { kind: "port", name, id: "" } };
}

/** @throws ClusterError invalid-argument for what is no port. */
function portOf(text: string): { readonly number: number; readonly protocol?: PortProtocol } {
  const [, digits = "", word] = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/.exec(text) ?? [];
  const number = Number(digits);
  if (digits === "" || number < 1 || number > 65_535) {
    const text2 = `invalid port ${text}: a number from 1 to 65535, with /tcp, /udp or /sctp if need be`;
    throw new ClusterError("invalid-argument", text2);
  }
  return word === undefined ? { number } : { number, protocol: word as PortProtocol };
}

async function explain(
  context: EngineContext,
  request: EngineRequest,
  questionOf: (request: EngineRequest, view: ObjectView) => Question,
): Promise<Reply> {
  let known = await knownNow(context, request, questionOf);
  let findings = findingsOf(known);
  if (findings.some(({ mayPass }) => mayPass)) {
    await context.clock.sleep(explainAgainMs, request.signal);
    known = await knownNow(context, request, questionOf);
    findings = findingsOf(known);
  }
  return json(explanationToJson(known, findings));
}

async function knownNow(
  context: EngineContext,
  request: EngineRequest,
  questionOf: (request: EngineRequest, view: ObjectView) => Question,
): Promise<Known> {
  const { view, isBehind } = await viewOf(context, request);
  const picture = pictureOf({ ...questionOf(request, view), isBehind }, view);
  const probes = plannedProbes(picture);
  const names = plannedNames(picture);
  const asked = picture.nodes.filter(({ isReady }) => isReady);
  const questions = new Map(
    asked.map(({ id }) => {
      const plan = { probes: probes.get(id) ?? [], names: names.get(id) ?? [] };
      return [id, lookRequest(picture, id, plan)] as const;
    }),
  );
  return { picture, probes, names, answers: await askNodes(context, questions, request.signal) };
}

/** Without a leader the tables as they are: then above all somebody wants to know. */
async function viewOf(
  context: EngineContext,
  request: EngineRequest,
): Promise<{ readonly view: ObjectView; readonly isBehind: boolean }> {
  const { ports, clock } = context;
  const stop = new AbortController();
  const end = () => stop.abort(request.signal.reason);
  request.signal.addEventListener("abort", end, { once: true });
  const late = clock.sleep(explainLeaderMs, stop.signal).then(
    () => stop.abort(noLeader()),
    () => undefined, // There is a view, or the client has left.
  );
  try {
    const view = readView(context, { ...request, signal: stop.signal });
    return { view: await aborting(view, stop.signal), isBehind: false };
  } catch (error) {
    const isManager = ports.swarm.status().controlAvailable;
    const present = isManager ? ports.objects.present() : undefined;
    if (request.signal.aborted || present === undefined || !hasCode(error, "unavailable"))
      throw error;
    return { view: present, isBehind: true };
  } finally {
    request.signal.removeEventListener("abort", end);
    stop.abort();
    await late;
  }
}

function lookRequest(
  picture: Picture,
  nodeId: string,
  plan: Pick<LookRequest, "probes" | "names">,
): LookRequest {
  const hasTasks = picture.tasks.some((task) => task.nodeId === nodeId && task.ready);
  return {
    networkIds: picture.networks.map(({ id }) => id),
    serviceIds: [picture.serviceId],
    ports: picture.ports
      .filter(({ publishMode }) => publishMode === "ingress" || hasTasks)
      .map(({ protocol, publishedPort }) => ({ protocol, port: publishedPort })),
    names: plan.names.map(({ from, networkId, name }) => ({ from, networkId, name })),
    // Without what they are for.
    probes: plan.probes.map(({ from, networkId, address, port }) => {
      return { from, networkId, address, port };
    }),
  };
}
