/**
 * Committed changes as Docker's events of scope `swarm`. Pure.
 */
import type { Node, Service } from "../../common/api/generated/api.ts";
import type { ObjectChange } from "../ports.ts";
import { updateStateText } from "./service.ts";

/** One event; sent as it is. */
export interface EventMessage {
  /** Action, id and image once more, as clients of old read them; for containers and images only. */
  readonly status?: string;
  readonly id?: string;
  readonly from?: string;
  readonly Type: string;
  readonly Action: string;
  readonly Actor: {
    readonly ID: string;
    readonly Attributes: Readonly<Record<string, string>>;
  };
  readonly scope: "swarm" | "local";
  /** Seconds since the epoch. */
  readonly time: number;
  readonly timeNano: number;
}

/**
 * The event of a change; undefined for tables without events.
 * @param now Time of removals, which carry none.
 */
export function eventFromChange(change: ObjectChange, now: number): EventMessage | undefined {
  const attributes = attributesOf(change);
  if (attributes === undefined) return undefined;
  const { meta } = change.object;
  const stored = change.kind === "create" ? meta?.createdAtMs : meta?.updatedAtMs;
  const ms = change.kind === "remove" ? now : (stored ?? now);
  return {
    Type: change.table,
    Action: change.kind,
    Actor: { ID: change.object.id, Attributes: attributes },
    scope: "swarm",
    time: Math.floor(ms / 1000),
    timeNano: ms * 1e6,
  };
}

function attributesOf(change: ObjectChange): Readonly<Record<string, string>> | undefined {
  switch (change.table) {
    case "node":
      return nodeAttributes(change.object, change.old);
    case "service":
      return serviceAttributes(change.object, change.old);
    case "network":
    case "secret":
    case "config":
      return { name: change.object.spec?.annotations?.name ?? "" };
    case "task":
    case "cluster":
    case "volume":
      return undefined;
  }
}

function nodeAttributes(node: Node, old: Node | undefined): Readonly<Record<string, string>> {
  const name = node.spec?.annotations?.name || (node.description?.hostname ?? "");
  if (old === undefined) return { name };
  return {
    name,
    ...changed("availability", old.spec?.availability, node.spec?.availability),
    ...changed("role", old.role, node.role),
    ...changed("state", old.status?.state, node.status?.state),
  };
}

function serviceAttributes(
  service: Service,
  old: Service | undefined,
): Readonly<Record<string, string>> {
  const name = service.spec?.annotations?.name ?? "";
  if (old === undefined) return { name };
  const state = service.updateStatus && updateStateText(service.updateStatus.state);
  const oldState = old.updateStatus && updateStateText(old.updateStatus.state);
  return {
    name,
    ...changed("image", old.spec?.task?.container?.image, service.spec?.task?.container?.image),
    ...changed(
      "replicas",
      old.spec?.mode?.replicated?.replicas,
      service.spec?.mode?.replicated?.replicas,
    ),
    ...(state === undefined ? {} : changed("updatestate", oldState, state)),
  };
}

/** `name.old` (when there was one) and `name.new`; nothing when they are the same. */
function changed(
  name: string,
  before: string | number | undefined,
  after: string | number | undefined,
): Readonly<Record<string, string>> {
  if (before === after || after === undefined) return {};
  const next = { [`${name}.new`]: String(after) };
  return before === undefined ? next : { [`${name}.old`]: String(before), ...next };
}
