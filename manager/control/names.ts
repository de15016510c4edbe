/**
 * Rules for names (docker-facts 1.4) and the check that a name is free. Pure.
 */
import type { Annotations } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Tx } from "../state/transaction.ts";

const dnsName = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9])*$/;
/** Longest label of a DNS name (RFC 1035 section 2.3.4). */
const dnsNameLengthMax = 63;
const payloadName = /^[a-zA-Z0-9](?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$/;
const payloadNameLengthMax = 64;

/** Services and networks. @throws ClusterError `invalid-argument` */
export function checkDnsName(annotations: Annotations | undefined): string {
  const name = annotations?.name ?? "";
  if (name === "") throw invalid("meta: name must be provided");
  // The length first: the pattern is never run on text of any length.
  if (name.length > dnsNameLengthMax)
    throw invalid(`name must be ${dnsNameLengthMax} characters or fewer`);
  if (!dnsName.test(name)) throw invalid("name must be valid as a DNS name component");
  return name;
}

/** Secrets and configs. @throws ClusterError `invalid-argument` */
export function checkPayloadName(annotations: Annotations | undefined): string {
  const name = annotations?.name ?? "";
  if (name === "") throw invalid("name must be provided");
  if (name.length > payloadNameLengthMax || !payloadName.test(name))
    throw invalid(
      `invalid name, only ${payloadNameLengthMax} [a-zA-Z0-9-_.] characters allowed, ` +
        "and the start and end character must be [a-zA-Z0-9]",
    );
  return name;
}

/** Whether an object of the table has the name, compared without case. */
export function isNameTaken(
  tx: Tx,
  table: "service" | "network" | "secret" | "config",
  name: string,
): boolean {
  return tx.find(table, "name", name.toLowerCase()).length > 0;
}

/** An `invalid-argument` error. */
export function invalid(message: string): ClusterError {
  return new ClusterError("invalid-argument", message);
}

/** A `not-found` error in the words of Docker's manager. */
export function notFound(table: string, id: string): ClusterError {
  return new ClusterError("not-found", `${table} ${id} not found`, { fields: { id } });
}
