/**
 * Addresses that labels of a service give to its slots: `skep.address.<slot>` and `skep.address.<network>.<slot>`. Pure.
 */
import type { Service } from "../api/generated/api.ts";
import { type IpAddress, parseAddress } from "./cidr.ts";

const labelForm = /^skep\.address\.(?:(.+)\.)?([1-9]\d{0,9})$/;

/** One address of one slot. */
export interface FixedAddress {
  readonly slot: number;
  /** Name or id of the network; empty for the only one of the service. */
  readonly network: string;
  readonly address: IpAddress;
}

/** What the labels say; a label may name one address of each family, with a comma between them. */
export function fixedAddressesOf(service: Service | undefined): readonly FixedAddress[] {
  const labels = service?.spec?.annotations?.labels;
  return labels === undefined ? [] : fixedAddressesIn(labels);
}

/** The same from the labels alone; those that are none are left out. */
export function fixedAddressesIn(
  labels: Readonly<Record<string, string>>,
): readonly FixedAddress[] {
  const found: FixedAddress[] = [];
  for (const [label, text] of Object.entries(labels)) {
    const match = labelForm.exec(label);
    if (match === null) continue;
    for (const part of text.split(",")) {
      const address = parseAddress(part.trim());
      if (address === undefined) continue;
      found.push({ slot: Number(match[2]), network: match[1] ?? "", address });
    }
  }
  return found;
}
