/**
 * Networks of the swarm that each node makes for itself, for the tasks it has in them: on a device of the node, with
 * addresses that the node gives. Pure.
 */

/** Their drivers. */
export const nodeNetworkDrivers: readonly string[] = ["macvlan", "ipvlan"];
