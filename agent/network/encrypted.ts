/**
 * Whether a network of the swarm was made with `--opt encrypted`. Pure.
 */
import type { Network } from "../../src/common/api/generated/api.ts";

/** What its maker and its driver have chosen. */
export function optionsOf(network: Network): Readonly<Record<string, string>> {
  return { ...network.spec?.driver?.options, ...network.driverState?.options };
}

/** Whether what its nodes send each other is to be encrypted; `--opt encrypted=false` says no, as with Docker. */
export function isEncrypted(network: Network): boolean {
  const { encrypted } = optionsOf(network);
  return encrypted !== undefined && encrypted !== "false";
}
