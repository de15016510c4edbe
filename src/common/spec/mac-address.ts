/**
 * The hardware address that a task is to have in a network: Docker's API has no field for it in services, but options of the
 * driver, which stock clients keep and all nodes hear of. Pure.
 */

/** Docker's own name of the option. */
export const macAddressOption = "com.docker.network.endpoint.macaddress";

/** Of one device alone: neither of a group, nor all zeros. */
const form = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i;

/** Whether a text is the hardware address of one device. */
export function isMacAddress(text: string): boolean {
  return form.test(text) && /[1-9a-f]/i.test(text);
}

/** What the options of an attachment say; empty where they say nothing that can be. */
export function macAddressIn(options: Readonly<Record<string, string>>): string {
  const text = Object.hasOwn(options, macAddressOption) ? (options[macAddressOption] ?? "") : "";
  return isMacAddress(text) ? text.toLowerCase() : "";
}
