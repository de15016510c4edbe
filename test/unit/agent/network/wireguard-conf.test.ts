/**
 * What `wg` is told of the other nodes.
 */
import { equal } from "node:assert/strict";
import { wireguardConf } from "../../../../agent/network/wireguard-conf.ts";

const key = (byte: number) => new Uint8Array(32).fill(byte);

describe("agent/network/wireguard-conf", () => {
  it("names each node by its key, its address and the one address it may send from", () => {
    const peers = [
      { number: 300, address: "2001:db8::1", wireguardPublicKey: key(2) },
      { number: 2, address: "192.0.2.2", wireguardPublicKey: key(1) },
    ];
    equal(
      wireguardConf("c2VjcmV0", peers),
      [
        "[Interface]",
        "PrivateKey = c2VjcmV0",
        "ListenPort = 51820",
        "",
        "[Peer]",
        `PublicKey = ${Buffer.from(key(1)).toString("base64")}`,
        "Endpoint = 192.0.2.2:51820",
        "AllowedIPs = 10.253.0.2/32",
        "",
        "[Peer]",
        `PublicKey = ${Buffer.from(key(2)).toString("base64")}`,
        "Endpoint = [2001:db8::1]:51820",
        "AllowedIPs = 10.253.1.44/32",
        "",
      ].join("\n"),
    );
  });

  it("leaves out nodes that cannot encrypt or are not reached", () => {
    const peers = [
      { number: 2, address: "192.0.2.2", wireguardPublicKey: new Uint8Array(0) },
      { number: 3, address: "", wireguardPublicKey: key(1) },
    ];
    equal(wireguardConf("x", peers).includes("[Peer]"), false);
  });
});
