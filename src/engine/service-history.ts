/**
 * `GET /skep/services/{id}/history`: the specs a service had and has, newest first, with the revisions of the secrets and
 * configs they run with. Docker has no such route; back to one leads `POST /services/{id}/update?rollbackTo=N`.
 */
import type { Service } from "../common/api/generated/api.ts";
import { payloadReferences } from "../common/spec/payload-revision.ts";
import { firstNote } from "../common/spec/service-revisions.ts";
import { type EngineContext, readView } from "./context.ts";
import type { ObjectView } from "./ports.ts";
import { json } from "./reply.ts";
import { param } from "./request.ts";
import type { Route } from "./router.ts";
import { type Json, timeToJson } from "./translate/common.ts";
import { serviceSpecToJson } from "./translate/service.ts";

/** Routes of managers. */
export function serviceHistoryRoutes(context: EngineContext): readonly Route[] {
  return [
    {
      method: "GET",
      pattern: "/skep/services/{id}/history",
      handler: async (request) => {
        const view = await readView(context, request);
        return json(historyToJson(view.lookup("service", param(request, "id")), view));
      },
    },
  ];
}

/** The present spec first; it says where there is newer data than it runs with. */
export function historyToJson(service: Service, view: ObjectView): readonly Json[] {
  const { spec, revision, meta, revisions } = service;
  const present = { spec, note: revision ?? firstNote(meta?.createdAtMs ?? 0) };
  return [present, ...[...revisions].reverse()].map((one, at) => {
    const references = payloadReferences(one.spec?.task);
    const named = (kind: "secret" | "config") =>
      references
        .filter((reference) => reference.kind === kind)
        .map(({ id, name, revision: number }) => {
          const newest = at === 0 ? newestOf(view, kind, id) : number;
          const row = { ID: id, Name: name, Revision: number };
          return newest > number ? { ...row, Newest: newest } : row;
        });
    return {
      Revision: one.note?.number ?? 0,
      CreatedAt: timeToJson(one.note?.atMs ?? 0),
      Cause: one.note?.cause ?? "",
      Current: at === 0,
      Secrets: named("secret"),
      Configs: named("config"),
      Spec: serviceSpecToJson(one.spec),
    };
  });
}

function newestOf(view: ObjectView, kind: "secret" | "config", id: string): number {
  const { revision = 0 } = view.get(kind, id) ?? {};
  // The first is written as 0, too.
  return Math.max(1, revision);
}
