/**
 * Nodes: the Engine API's `Node` and `NodeSpec` ↔ the schema's. Pure.
 *
 * Who leads and who is reachable is no part of the stored node; it comes from the Raft group and is handed in.
 */
import {
  type Node,
  NodeAvailabilityValues,
  type NodeDescription,
  NodeRoleValues,
  NodeSpec,
} from "../../common/api/generated/api.ts";
import type { ManagerMember } from "../ports.ts";
import {
  annotationsFromJson,
  annotationsToJson,
  flagOrNothing,
  type Json,
  listOrNothing,
  mapOrNothing,
  metaToJson,
  platformToJson,
  textOrNothing,
} from "./common.ts";
import type { JsonObject } from "./reader.ts";
import { resourceSetToJson } from "./task-spec.ts";

/** @throws ClusterError `invalid-argument`: a node spec needs both Role and Availability. */
export function nodeSpecFromJson(json: JsonObject): NodeSpec {
  const role = json.string("Role");
  const desiredRole = NodeRoleValues.find((value) => value === role.toLowerCase());
  if (desiredRole === undefined) throw json.invalid(`invalid Role: ${JSON.stringify(role)}`);
  const wanted = json.string("Availability");
  const availability = NodeAvailabilityValues.find((value) => value === wanted.toLowerCase());
  if (availability === undefined)
    throw json.invalid(`invalid Availability: ${JSON.stringify(wanted)}`);
  return NodeSpec.create({ annotations: annotationsFromJson(json), desiredRole, availability });
}

/** A node as the API shows it. */
export function nodeToJson(node: Node, manager: ManagerMember | undefined): Json {
  return {
    ID: node.id,
    ...metaToJson(node.meta),
    Spec: {
      ...annotationsToJson(node.spec?.annotations),
      Role: node.spec?.desiredRole ?? "worker",
      Availability: node.spec?.availability ?? "active",
    },
    Description: descriptionToJson(node.description),
    Status: {
      State: node.status?.state ?? "unknown",
      Message: textOrNothing(node.status?.message ?? ""),
      Addr: textOrNothing(node.status?.address ?? ""),
    },
    ManagerStatus: manager && {
      Leader: flagOrNothing(manager.leader),
      Reachability: manager.reachable ? "reachable" : "unreachable",
      Addr: textOrNothing(manager.address),
    },
  };
}

function descriptionToJson(description: NodeDescription | undefined): Json {
  if (description === undefined) return { Platform: {}, Resources: {}, Engine: {}, TLSInfo: {} };
  const { engine, resources, tlsInfo } = description;
  return {
    Hostname: textOrNothing(description.hostname),
    Platform: platformToJson(description.platform),
    Resources: resources === undefined ? {} : resourceSetToJson(resources),
    Engine: {
      EngineVersion: textOrNothing(engine?.engineVersion ?? ""),
      Labels: mapOrNothing(engine?.labels ?? {}),
      Plugins: listOrNothing((engine?.plugins ?? []).map((p) => ({ Type: p.type, Name: p.name }))),
    },
    TLSInfo:
      tlsInfo === undefined
        ? {}
        : tlsInfoToJson(tlsInfo.trustRoot, tlsInfo.issuerSubject, tlsInfo.issuerPublicKey),
  };
}

/** Root certificate (PEM text), and subject and public key of the issuer (DER in base64). */
export function tlsInfoToJson(root: Uint8Array, subject: Uint8Array, key: Uint8Array): Json {
  return {
    TrustRoot: textOrNothing(Buffer.from(root).toString("utf8")),
    CertIssuerSubject: textOrNothing(Buffer.from(subject).toString("base64")),
    CertIssuerPublicKey: textOrNothing(Buffer.from(key).toString("base64")),
  };
}
