/**
 * The other nodes as the WireGuard device has them, from `wg show DEVICE dump`. Pure.
 */
import type { NetworkPeer } from "../../../src/common/api/generated/api.ts";
import type { TunnelState } from "../../../src/common/container/data-path.ts";
import { seenPeers } from "../wireguard-conf.ts";

/** @param nowMs Wall clock, as handshakes are told. Nodes that the device does not have are left out. */
export function tunnelStates(
  dump: string,
  peers: Iterable<NetworkPeer>,
  nowMs: number,
): TunnelState[] {
  const seen = seenPeers(dump);
  return [...peers].flatMap(({ nodeId, wireguardPublicKey, nextWireguardPublicKey }) => {
    // While its key changes a node has two.
    const found = [wireguardPublicKey, nextWireguardPublicKey]
      .flatMap((key) => seen.get(Buffer.from(key).toString("base64")) ?? [])
      .sort((a, b) => b.handshakeS - a.handshakeS);
    const [last] = found;
    if (last === undefined) return [];
    const { endpoint, handshakeS } = last;
    const age = Math.max(0, Math.round(nowMs / 1_000 - handshakeS));
    return [{ nodeId, endpoint, handshakeAgeS: handshakeS > 0 ? age : undefined }];
  });
}
