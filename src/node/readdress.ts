/**
 * Follows the machine's addresses: which ones a node advertises at its start, and when they change while it runs.
 *
 * The kernel tells of changes by netlink, which Node does not speak, so the interfaces are looked at now and then. A change
 * counts once two looks in a row saw it: addresses come and go for a moment when a lease is renewed.
 */
import type { Clock } from "../common/clock/clock.ts";
import { errorText } from "../common/errors/cluster-error.ts";
import type { Log } from "../common/log/log.ts";
import {
  formatHostPort,
  type InterfaceAddress,
  isOwnAddress,
  parseHostPort,
  resolveAdvertiseAgain,
} from "./address.ts";
import type { NodeAddresses, NodeState } from "./state-files.ts";

/** Pause between two looks at the interfaces, milliseconds. */
const lookIntervalMs = 2000;

/** What to look at, and with. */
export interface ReaddressTools {
  readonly interfaces: () => readonly InterfaceAddress[];
  readonly clock: Clock;
  readonly log: Log;
}

/** The life whose addresses are followed. */
export interface Addressed {
  state(): NodeState;
  readdress(addresses: NodeAddresses): Promise<void>;
}

/**
 * The addresses to advertise now; undefined while those in the state still hold.
 *
 * @throws ClusterError invalid-argument when there is none to choose, or more than one.
 */
export function newAddresses(
  state: NodeState,
  interfaces: readonly InterfaceAddress[],
): NodeAddresses | undefined {
  const listen = parseHostPort(state.listenAddress, 0, "listen address");
  const before = { setting: state.advertiseSetting, wasOwn: state.advertisesOwnAddress === true };
  const advertise = resolveAdvertiseAgain(before, listen, interfaces);
  const advertiseAddress = formatHostPort(advertise);
  if (advertiseAddress === state.advertiseAddress) return undefined;
  const { host } = parseHostPort(state.advertiseAddress, 0, "address");
  return {
    advertiseAddress,
    advertisesOwnAddress: isOwnAddress(advertise.host, interfaces),
    dataPathAddress: state.dataPathAddress === host ? advertise.host : state.dataPathAddress,
  };
}

/** Tells a running node of its new addresses until the signal aborts. */
export async function followAddresses(
  node: Addressed,
  { interfaces, clock, log }: ReaddressTools,
  signal: AbortSignal,
): Promise<void> {
  let seen: string | undefined;
  let problem = "";
  while (!signal.aborted) {
    try {
      await clock.sleep(lookIntervalMs, signal);
      const before = node.state().advertiseAddress;
      const next = newAddresses(node.state(), interfaces());
      if (next !== undefined && next.advertiseAddress === seen) {
        log.info("address changed", { from: before, to: next.advertiseAddress });
        await node.readdress(next);
      }
      seen = next?.advertiseAddress;
      problem = "";
    } catch (error) {
      if (signal.aborted) return;
      // No address to choose, such as between two leases: the last one is the best guess, and is said once.
      seen = undefined;
      if (problem !== errorText(error)) log.warn("address not found", { err: errorText(error) });
      problem = errorText(error);
    }
  }
}
