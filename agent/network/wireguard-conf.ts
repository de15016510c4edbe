/**
 * Text for `wg syncconf`: this node's key, and one entry per node that has one. Pure.
 */
import { canonical, wireguardAddress, wireguardPort } from "./pools.ts";

/** A node as the tunnel needs it. */
export interface TunnelPeer {
  readonly number: number;
  /** Where its data path is reached. */
  readonly address: string;
  /** Public key, 32 bytes; nodes without one are left out. */
  readonly wireguardPublicKey: Uint8Array;
}

/** @param privateKey Base64. @param peers The other nodes. */
export function wireguardConf(privateKey: string, peers: readonly TunnelPeer[]): string {
  const known = peers
    .filter(({ number, address, wireguardPublicKey: key }) => {
      return number > 0 && address !== "" && key.length === 32;
    })
    .sort((a, b) => a.number - b.number);
  return [
    `[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${wireguardPort}\n`,
    ...known.map(peerText),
  ].join("\n");
}

function peerText({ number, address, wireguardPublicKey }: TunnelPeer): string {
  const host = address.includes(":") ? `[${canonical(address)}]` : address;
  return [
    "[Peer]",
    `PublicKey = ${Buffer.from(wireguardPublicKey).toString("base64")}`,
    `Endpoint = ${host}:${wireguardPort}`,
    // Whatever else it sends inside is dropped.
    `AllowedIPs = ${wireguardAddress(number)}/32`,
    "",
  ].join("\n");
}
