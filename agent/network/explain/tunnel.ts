/**
 * The other nodes as the WireGuard device has them, from `wg show DEVICE dump`. Pure.
 */
import type { NetworkPeer } from "../../../src/common/api/generated/api.ts";
import type { TunnelState } from "../../../src/common/container/data-path.ts";

/** @param nowMs Wall clock, as handshakes are told. Nodes that the device does not have are left out. */
export function tunnelStates(
  dump: string,
  peers: Iterable<NetworkPeer>,
  nowMs: number,
): TunnelState[] {
  const lines = new Map(
    dump
      .split("\n")
      .slice(1)
      .map((line) => line.split("\t"))
      .filter((words) => words.length >= 5)
      .map((words) => [words[0] ?? "", words]),
  );
  return [...peers].flatMap(({ nodeId, wireguardPublicKey }) => {
    const words = lines.get(Buffer.from(wireguardPublicKey).toString("base64"));
    if (words === undefined) return [];
    const [, , endpoint = "", , handshake = "0"] = words;
    const at = Number(handshake);
    return [
      {
        nodeId,
        endpoint: endpoint === "(none)" ? "" : endpoint,
        handshakeAgeS: at > 0 ? Math.max(0, Math.round(nowMs / 1_000 - at)) : undefined,
      },
    ];
  });
}
