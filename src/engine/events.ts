/**
 * `GET /events`: past and coming events as an endless stream of JSON values.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import type { EngineContext } from "./context.ts";
import { type Filters, matchesExactly, matchesLabels, parseFilters, valuesFor } from "./filters.ts";
import type { EngineRequest } from "./request.ts";
import type { Route } from "./router.ts";
import type { EventMessage } from "./translate/event.ts";

/** Kinds of objects an event filter can name. */
const kinds = [
  "container",
  "image",
  "plugin",
  "volume",
  "network",
  "daemon",
  "service",
  "node",
  "secret",
  "config",
];
const accepted = ["type", "event", "scope", "label", ...kinds];

/** Routes of events. */
export function eventRoutes(context: EngineContext): readonly Route[] {
  return [
    {
      method: "GET",
      pattern: "/events",
      unlimited: true,
      handler: (request) => ({ kind: "stream", items: stream(context, request) }),
    },
  ];
}

/** Parameters are checked before the first byte is sent. */
function stream(context: EngineContext, request: EngineRequest): AsyncIterable<EventMessage> {
  const filters = parseFilters(request.query.get("filters"), accepted);
  const since = timeFrom(request, "since");
  const until = timeFrom(request, "until");
  if (since !== undefined && until !== undefined && until < since)
    throw new ClusterError("invalid-argument", "`since` time cannot be after `until` time");
  return run(context, request.signal, { filters, since, until });
}

async function* run(
  context: EngineContext,
  untilGone: AbortSignal,
  wanted: {
    readonly filters: Filters;
    readonly since: number | undefined;
    readonly until: number | undefined;
  },
): AsyncIterable<EventMessage> {
  const { filters, since, until } = wanted;
  const ended = new AbortController();
  const end = () => ended.abort();
  untilGone.addEventListener("abort", end, { once: true });
  try {
    const coming = context.events.follow(ended.signal);
    const past = since === undefined && until === undefined ? [] : context.events.kept();
    for (const event of past) {
      const ms = event.timeNano / 1e6;
      if (ms >= (since ?? 0) && ms <= (until ?? Infinity) && isWanted(event, filters)) yield event;
    }
    if (until !== undefined) {
      const left = until - context.clock.now();
      if (left <= 0) return;
      // The wait ends early when the client leaves; there is nothing to do then.
      context.clock.sleep(left, ended.signal).then(end, () => {});
    }
    for await (const event of coming) if (isWanted(event, filters)) yield event;
  } finally {
    end();
    untilGone.removeEventListener("abort", end);
  }
}

/** Whether an event passes the filters; names of objects match from their beginning, or by id. Pure. */
export function isWanted(event: EventMessage, filters: Filters): boolean {
  if (!matchesAction(event, filters)) return false;
  if (!matchesExactly(filters, "type", event.Type)) return false;
  if (!matchesExactly(filters, "scope", event.scope)) return false;
  if (!matchesLabels(filters, "label", event.Actor.Attributes)) return false;
  return kinds.every((kind) => {
    const values = valuesFor(filters, kind);
    if (values.length === 0) return true;
    const names = namesOf(event, kind);
    return values.some((value) => names.some((name) => name.startsWith(value)));
  });
}

/** `exec_start` also means `exec_start: sh -c …`. */
function matchesAction(event: EventMessage, filters: Filters): boolean {
  const values = valuesFor(filters, "event");
  const [word] = event.Action.split(":");
  return values.length === 0 || values.includes(event.Action) || values.includes(word ?? "");
}

/** What an object of this kind is called in the event; an image also stands in events of its containers. */
function namesOf(event: EventMessage, kind: string): readonly string[] {
  const { ID, Attributes } = event.Actor;
  if (event.Type === kind) return [ID, Attributes["name"] ?? ""];
  if (kind === "image" && event.Type === "container") return [Attributes["image"] ?? ""];
  return [];
}

/** Milliseconds: from Unix seconds with fraction, or a date. */
function timeFrom(request: EngineRequest, name: string): number | undefined {
  const text = request.query.get(name) ?? "";
  if (text === "" || text === "0") return undefined;
  if (/^\d+(\.\d{1,9})?$/.test(text)) return Number(text) * 1000;
  const ms = Date.parse(text);
  if (Number.isNaN(ms))
    throw new ClusterError("invalid-argument", `invalid value for ${name}: ${text}`);
  return ms;
}
