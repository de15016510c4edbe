/**
 * What a service spec must satisfy before it is stored: by itself, and against the other objects. Pure.
 */
import type {
  EndpointSpec,
  PortConfig,
  Service,
  ServiceMode,
  ServiceSpec,
  UpdateConfig,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { cronLabel, cronSettingsOf } from "../../src/common/job/cron-labels.ts";
import { macAddressIn, macAddressOption } from "../../src/common/spec/mac-address.ts";
import { payloadReferences } from "../../src/common/spec/payload-revision.ts";
import { hasPayload } from "../state/payload.ts";
import type { Tx } from "../state/transaction.ts";
import { checkDataPathLabels, checkFixedAddresses } from "./data-path-labels.ts";
import { checkDnsName, invalid, notFound } from "./names.ts";
import { isIngress } from "./networks.ts";
import { checkTaskSpec } from "./task-spec.ts";

/** The one mode of a service. */
export type ModeName = "replicated" | "global" | "replicatedJob" | "globalJob";

const modeNames: readonly ModeName[] = ["replicated", "global", "replicatedJob", "globalJob"];

/** Checks a spec by itself. @throws ClusterError with Docker's text. */
export function checkServiceSpec(spec: ServiceSpec): void {
  checkDnsName(spec.annotations);
  checkTaskSpec(spec.task, spec.annotations);
  const mode = modeOf(spec.mode);
  if (mode === undefined) throw invalid("Unrecognized service mode");
  if (isJob(mode)) {
    if (spec.update !== undefined) throw invalid("Jobs may not have an update config");
    if (spec.rollback !== undefined) throw invalid("Jobs may not have a rollback config");
  } else {
    checkUpdate(spec.update, "update");
    checkUpdate(spec.rollback, "rollback");
  }
  const isCron = cronSettingsOf(spec.annotations?.labels) !== undefined;
  if (isCron && !isJob(mode))
    throw invalid(
      `label ${cronLabel} needs a job: make the service with --mode replicated-job or global-job`,
    );
  checkEndpoint(spec.endpoint);
  checkOneAddress(spec);
  checkDataPathLabels(spec);
}

/** The mode that is set; undefined when none or several are. */
export function modeOf(mode: ServiceMode | undefined): ModeName | undefined {
  const set = modeNames.filter((name) => mode?.[name] !== undefined);
  return set.length === 1 ? set[0] : undefined;
}

/** Whether tasks of the mode end by themselves. */
export function isJob(mode: ModeName | undefined): boolean {
  return mode === "replicatedJob" || mode === "globalJob";
}

/** Docker's swarm checks that of updates alone, and finds the rest out when it rolls back. */
function checkUpdate(config: UpdateConfig | undefined, what: "update" | "rollback"): void {
  if (config === undefined) return;
  if (config.delayNs < 0) throw invalid(`TaskSpec: ${what}-delay cannot be negative`);
  if ((config.monitorNs ?? 0) < 0) throw invalid(`TaskSpec: ${what}-monitor cannot be negative`);
  if (!(config.maxFailureRatio >= 0 && config.maxFailureRatio <= 1))
    throw invalid(`TaskSpec: ${what}-maxfailureratio cannot be less than 0 or bigger than 1`);
}

function checkEndpoint(endpoint: EndpointSpec | undefined): void {
  const taken = new Set<string>();
  for (const port of endpoint?.ports ?? []) {
    if (endpoint?.mode === "dnsrr" && port.publishMode === "ingress")
      throw invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
    // Ports that are to be chosen by the cluster collide with nothing.
    if (port.publishedPort === 0) continue;
    if (taken.has(keyOf(port))) throw invalid("EndpointSpec: duplicate published ports provided");
    taken.add(keyOf(port));
  }
}

/** What is the address of one device cannot be that of the devices of several tasks. */
function checkOneAddress({ task, mode, update, rollback }: ServiceSpec): void {
  const at = task?.networks.findIndex(({ driverOptions }) => macAddressIn(driverOptions) !== "");
  if (at === undefined || at < 0) return;
  const tasks =
    mode?.replicated?.replicas ??
    mode?.replicatedJob?.maxConcurrent ??
    (mode?.global !== undefined || mode?.globalJob !== undefined ? undefined : 1);
  const option = `Networks[${at}].DriverOpts ${macAddressOption}`;
  if (tasks === undefined || tasks > 1)
    throw invalid(
      `${option}: several tasks cannot have one MAC address; run one replica, or leave the option out`,
    );
  if (update?.order === "start-first" || rollback?.order === "start-first")
    throw invalid(
      `${option} needs the update and rollback order stop-first: two tasks of a slot cannot have one MAC address`,
    );
}

function keyOf(port: PortConfig): string {
  return `${port.protocol}/${port.publishedPort}`;
}

/**
 * Checks a spec against the other objects: networks, ports, secrets, configs. What it refers to must still be there when
 * the transaction is applied.
 *
 * @param id The service itself, whose own ports do not count; "" for a new one.
 * @throws ClusterError with Docker's text.
 */
export function checkSurroundings(tx: Tx, spec: ServiceSpec, id: string): void {
  checkNetworks(tx, spec);
  checkFixedAddresses(spec, (networkId) => tx.get("network", networkId));
  checkPorts(tx, spec.endpoint, id);
  checkPayloads(tx, spec, "secret");
  checkPayloads(tx, spec, "config");
}

function checkNetworks(tx: Tx, spec: ServiceSpec): void {
  const seen = new Set<string>();
  for (const { target } of spec.task?.networks ?? []) {
    const network = tx.get("network", target);
    if (network === undefined) throw notFound("network", target);
    if (seen.has(target))
      throw invalid(
        `network ${network.spec?.annotations?.name ?? target} is given more than once; name each network once`,
      );
    seen.add(target);
    if (isIngress(network))
      throw invalid(
        `Service cannot be explicitly attached to the ingress network ${JSON.stringify(network.spec?.annotations?.name)}`,
      );
    tx.require("network", target);
  }
  if (needsIngress(spec) && ![...tx.each("network")].some(isIngress))
    throw new ClusterError(
      "failed-precondition",
      "service needs ingress network, but no ingress network is present",
    );
}

/** Whether the routing mesh serves a port of the service. */
export function needsIngress(spec: ServiceSpec | undefined): boolean {
  return (spec?.endpoint?.ports ?? []).some((port) => port.publishMode === "ingress");
}

/** Ports of the mesh belong to one service; host ports may be shared, the scheduler keeps their tasks apart. */
function checkPorts(tx: Tx, endpoint: EndpointSpec | undefined, id: string): void {
  const wanted = (endpoint?.ports ?? []).filter((port) => port.publishedPort !== 0);
  if (wanted.length === 0) return;
  const all = new Set(wanted.map(keyOf));
  const ingress = new Set(wanted.filter((p) => p.publishMode === "ingress").map(keyOf));
  for (const service of tx.each("service")) {
    if (service.id === id) continue;
    for (const port of portsOf(service)) {
      if (port.publishMode === "ingress" && all.has(keyOf(port)))
        throw portTaken(port, service, "an ingress port");
      if (port.publishMode === "host" && ingress.has(keyOf(port)))
        throw portTaken(port, service, "a host-published port");
    }
  }
}

function portsOf(service: Service): readonly PortConfig[] {
  const ports = [...(service.spec?.endpoint?.ports ?? []), ...(service.endpoint?.ports ?? [])];
  return ports.filter((port) => port.publishedPort !== 0);
}

function portTaken(port: PortConfig, service: Service, what: string): ClusterError {
  const name = service.spec?.annotations?.name ?? "";
  return invalid(
    `port '${port.publishedPort}' is already in use by service '${name}' (${service.id}) as ${what}`,
  );
}

function checkPayloads(tx: Tx, spec: ServiceSpec, kind: "secret" | "config"): void {
  const references = payloadReferences(spec.task).filter((reference) => reference.kind === kind);
  const missing: string[] = [];
  for (const { id, name, revision } of references) {
    if (tx.get(kind, id)?.spec?.annotations?.name !== name) {
      missing.push(name);
      continue;
    }
    tx.require(kind, id);
    if (!hasPayload(tx, kind, id, revision))
      throw new ClusterError(
        "failed-precondition",
        `revision ${revision} of ${kind} ${name} is not kept any more: update the ${kind} with the data wanted`,
      );
  }
  if (missing.length > 0)
    throw invalid(`${kind}${missing.length > 1 ? "s" : ""} not found: ${missing.join(", ")}`);
}
