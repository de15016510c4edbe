/**
 * Labels of services and nodes by which users choose what Docker's API cannot say. Pure.
 */
import type { Network, ServiceSpec } from "../../src/common/api/generated/api.ts";
import { cronLabels, isCronLabel } from "../../src/common/job/cron-labels.ts";
import { contains, formatAddress, parseAddress, parsePrefix } from "../../src/common/spec/cidr.ts";
import { containerLabelForms, type LabelForm } from "../../src/common/spec/container-labels.ts";
import { drainMsMax, drainMsOf } from "../../src/common/spec/drain-time.ts";
import { fixedAddressesIn } from "../../src/common/spec/fixed-addresses.ts";
import { rebalanceLabel, rebalanceValues } from "../../src/common/spec/rebalance-label.ts";
import { isDeadline, updateDeadlineLabel } from "../../src/common/spec/rollout-labels.ts";
import {
  isCalled,
  secretVariablePrefixes,
  secretVariablesIn,
} from "../../src/common/spec/secret-variables.ts";
import { invalid } from "./names.ts";

const addressPrefix = "skep.address.";
/** All labels that mean something to the cluster begin so. */
const ownPrefix = "skep.";
type Form = LabelForm;

const one = (...values: readonly string[]): Form => [
  (value) => values.includes(value),
  values.join(" or "),
];
const time: Form = [
  (value) => (drainMsOf(value) ?? Number.POSITIVE_INFINITY) <= drainMsMax,
  "a time such as 30s, at most 1h, or 0",
];
const forms: Readonly<Record<string, Form>> = {
  "skep.port.source": one("nat"),
  "skep.affinity": one("source"),
  "skep.drain": time,
  "skep.listen": time,
  "skep.publish.address": [
    (value) =>
      parseAddress(value) !== undefined || (isDeviceName.test(value) && !isNumeric.test(value)),
    "an address of the host, or the name of a device",
  ],
  "skep.publish.app-protocols": [
    (value) => value.split(",").every((one) => /^\d{1,5}\/(tcp|udp|sctp)=\S+$/.test(one)),
    "what is spoken at ports, such as 80/tcp=http,443/tcp=https",
  ],
  [updateDeadlineLabel]: [isDeadline, "a time such as 10m, at most 24h"],
  [rebalanceLabel]: one(...rebalanceValues),
  "skep.emulation": one("allow"),
  "skep.volumes": one("anywhere"),
  "skep.privileged": one("true", "false"),
  // The node says what is wrong with one.
  "skep.devices": [(value) => value.includes("/dev/"), "a list of devices, such as /dev/kvm"],
};
const isDeviceName = /^[A-Za-z0-9][\w.@-]{0,14}$/;
const isNumeric = /^[0-9.]+$/;

/** Checks the labels by themselves. @throws ClusterError invalid-argument that names the label. */
export function checkDataPathLabels(spec: ServiceSpec): void {
  for (const [label, value] of Object.entries(spec.annotations?.labels ?? {})) {
    if (isCronLabel(label)) continue;
    if (label.startsWith(addressPrefix)) checkAddressLabel(label, value);
    else if (!secretVariablePrefixes.some((prefix) => label.startsWith(prefix)))
      checkLabel(label, value, { of: "a service", forms, more: patterns });
  }
  checkSecretVariables(spec);
  for (const [label, value] of Object.entries(spec.task?.container?.labels ?? {}))
    checkContainerLabel(label, value);
  checkDistinct(spec);
}

/** Labels with a name of the user's in them. */
const patterns = [
  `${addressPrefix}<slot>`,
  ...secretVariablePrefixes.map((prefix) => `${prefix}<VARIABLE>`),
  ...cronLabels,
];

/** What is to be a variable has to be a secret or config of the service. */
function checkSecretVariables(spec: ServiceSpec): void {
  const { secrets = [], configs = [] } = spec.task?.container ?? {};
  for (const { label, kind, variable, name } of secretVariablesIn(spec.annotations?.labels ?? {})) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(variable))
      throw invalid(
        `label ${label}: ${JSON.stringify(variable)} is no name of an environment variable`,
      );
    const isThere =
      kind === "secret"
        ? secrets.some((one) => isCalled(one, one.secretName, name))
        : configs.some((one) => !one.runtime && isCalled(one, one.configName, name));
    if (!isThere)
      throw invalid(
        `label ${label}: the service has no ${kind} ${JSON.stringify(name)}; give it with --${kind} ${name}`,
      );
  }
}

/** Labels of the container besides those that only the node knows to be wrong. */
const ofContainers: Readonly<Record<string, Form>> = {
  ...containerLabelForms,
  "skep.privileged": one("true", "false"),
  "skep.devices": [(value) => value.includes("/dev/"), "a list of devices, such as /dev/kvm"],
};

function checkContainerLabel(label: string, value: string): void {
  const isOfService =
    Object.hasOwn(forms, label) || label.startsWith(addressPrefix) || isCronLabel(label);
  if (isOfService && !Object.hasOwn(ofContainers, label))
    throw invalid(
      `label ${label} has no effect on a container: give it to the service, by --label or deploy.labels`,
    );
  checkLabel(label, value, { of: "a container", forms: ofContainers, more: [] });
}

const nodeForms: Readonly<Record<string, Form>> = {
  "skep.emulation": one("allow"),
  "skep.privileged": one("allow"),
  "skep.devices": one("allow"),
};

/** All labels that mean something, by what they are given to; `<…>` stands for a name or number of the user's. */
export const knownLabels: Readonly<Record<"services" | "containers" | "nodes", readonly string[]>> =
  {
    services: [...Object.keys(forms), ...patterns],
    containers: Object.keys(ofContainers),
    nodes: Object.keys(nodeForms),
  };

/** Checks the labels of a node that are new or changed. @throws ClusterError invalid-argument that names the label. */
export function checkNodeLabels(
  labels: Readonly<Record<string, string>>,
  before: Readonly<Record<string, string>>,
): void {
  for (const [label, value] of Object.entries(labels)) {
    if (before[label] !== value)
      checkLabel(label, value, { of: "a node", forms: nodeForms, more: [] });
  }
}

function checkLabel(
  label: string,
  value: string,
  known: {
    readonly of: string;
    readonly forms: Readonly<Record<string, Form>>;
    readonly more: readonly string[];
  },
): void {
  if (!label.startsWith(ownPrefix)) return;
  const form = Object.hasOwn(known.forms, label) ? known.forms[label] : undefined;
  if (form === undefined)
    throw invalid(
      `label ${label} is not known: labels of ${known.of} that begin with ${ownPrefix} are ${[...Object.keys(known.forms), ...known.more].join(", ")}`,
    );
  const [isGood, words] = form;
  if (!isGood(value)) throw invalid(`label ${label}: ${JSON.stringify(value)} is not ${words}`);
}

function checkAddressLabel(label: string, value: string): void {
  const parts = value.split(",").map((part) => parseAddress(part.trim()));
  const families = new Set(parts.map((part) => part?.family));
  if (parts.includes(undefined) || families.size < parts.length)
    throw invalid(
      `label ${label}: ${JSON.stringify(value)} is not an address, or one of each family`,
    );
  if (fixedAddressesIn({ [label]: value }).length === 0)
    throw invalid(
      `label ${label}: the name has to be ${addressPrefix}<slot>, or ${addressPrefix}<network>.<slot>, with slots from 1`,
    );
}

/** Slots of a service that starts the new task first would wait for their own addresses for ever. */
function checkDistinct(spec: ServiceSpec): void {
  const fixed = fixedAddressesIn(spec.annotations?.labels ?? {});
  if (fixed.length === 0) return;
  if (spec.update?.order === "start-first" || spec.rollback?.order === "start-first")
    throw invalid(
      `labels ${addressPrefix}<slot> need the update and rollback order stop-first: two tasks of a slot cannot have one address`,
    );
  if (spec.mode?.replicated === undefined)
    throw invalid(`labels ${addressPrefix}<slot> are for services of mode replicated`);
  const seen = new Set<string>();
  for (const { network, address } of fixed) {
    const key = `${network} ${formatAddress(address)}`;
    if (seen.has(key))
      throw invalid(`labels ${addressPrefix}: ${formatAddress(address)} is given to two slots`);
    seen.add(key);
  }
}

/** Checks that the addresses are of networks of the service. @throws ClusterError invalid-argument */
export function checkFixedAddresses(
  spec: ServiceSpec,
  networkOf: (id: string) => Network | undefined,
): void {
  const fixed = fixedAddressesIn(spec.annotations?.labels ?? {});
  if (fixed.length === 0) return;
  const networks = (spec.task?.networks ?? []).flatMap(({ target }) => networkOf(target) ?? []);
  for (const { network: name, address, slot } of fixed) {
    const label = `${addressPrefix}${name === "" ? "" : `${name}.`}${slot}`;
    if (name === "" && networks.length !== 1)
      throw invalid(
        `label ${label}: the service has ${networks.length} networks; name one with ${addressPrefix}<network>.${slot}`,
      );
    const network = networks.find(
      ({ id, spec: one }) => name === "" || id === name || one?.annotations?.name === name,
    );
    if (network === undefined)
      throw invalid(`label ${label}: the service is not in network ${name}`);
    const prefixes = (network.ipam?.configs ?? []).flatMap(
      ({ subnet }) => parsePrefix(subnet) ?? [],
    );
    if (prefixes.length > 0 && !prefixes.some((prefix) => contains(prefix, address)))
      throw invalid(
        `label ${label}: ${formatAddress(address)} is in no subnet of network ${network.spec?.annotations?.name ?? network.id}`,
      );
  }
}
