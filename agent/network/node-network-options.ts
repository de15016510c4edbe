/**
 * What the data path of a node is made with.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import type { SwarmAttachments } from "../../src/common/container/attachments.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { LocalNetworks } from "./local/local-networks.ts";
import type { NetworkState } from "./state.ts";

/** What a node's network is made with. */
export interface NodeNetworkOptions {
  /** Best in memory: what is in it is worthless after a boot. Holds the files that keep namespaces. */
  readonly folder: string;
  readonly instance: string;
  /** File of the node's own network; the daemon's when undefined. */
  readonly host?: string;
  /** Where this node's key for encrypted networks is kept. */
  readonly keyFile: string;
  /** From when the managers tell of the node's next key until it is used, milliseconds. */
  readonly keyHoldMs?: number;
  /** Networks of the node itself. */
  readonly local: Pick<
    LocalNetworks,
    | "check"
    | "isAlone"
    | "swarmJoinsOf"
    | "give"
    | "release"
    | "list"
    | "ports"
    | "setPlumbing"
    | "tell"
  >;
  /** What the managers say. */
  readonly cluster: Pick<NetworkState, "current" | "listen" | "known" | "settledBy">;
  /** How containers that are run by hand get into networks of the swarm, and when all nodes have heard of a change. */
  readonly attachments: SwarmAttachments;
  /** Whether programs lead frames past bridges and connections to service addresses, where the kernel can. */
  readonly shortcuts: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}
