/**
 * Labels of services by which users choose what Docker's API cannot say of the data path. Pure.
 */
import type { Network, ServiceSpec } from "../../src/common/api/generated/api.ts";
import { contains, formatAddress, parseAddress, parsePrefix } from "../../src/common/spec/cidr.ts";
import { fixedAddressesIn } from "../../src/common/spec/fixed-addresses.ts";
import { invalid } from "./names.ts";

const addressPrefix = "skep.address.";
/** What each label takes, and the form of it. */
const forms: Readonly<Record<string, readonly [RegExp, string]>> = {
  "skep.port.source": [/^nat$/, "nat"],
  "skep.affinity": [/^source$/, "source"],
  "skep.drain": [/^(0|(\d+(ms|s|m|h))+)$/, "a time such as 30s, or 0"],
  "skep.publish.address": [
    /^[0-9A-Za-z.:_-]{1,64}$/,
    "an address of the host, or the name of a device",
  ],
};

/** Checks the labels by themselves. @throws ClusterError invalid-argument that names the label. */
export function checkDataPathLabels(spec: ServiceSpec): void {
  const labels = spec.annotations?.labels ?? {};
  for (const [label, value] of Object.entries(labels)) {
    const [form, words] = forms[label] ?? [];
    if (form !== undefined && !form.test(value))
      throw invalid(`label ${label}: ${JSON.stringify(value)} is not ${words}`);
    if (label.startsWith(addressPrefix)) checkAddressLabel(label, value);
  }
  checkDistinct(spec);
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
