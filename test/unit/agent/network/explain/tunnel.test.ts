/**
 * What `wg show DEVICE dump` says of nodes.
 */
import { deepEqual } from "node:assert/strict";
import { tunnelStates } from "../../../../../agent/network/explain/tunnel.ts";
import { NetworkPeer } from "../../../../../src/common/api/generated/api.ts";

const peer = (nodeId: string, byte: number) =>
  NetworkPeer.create({ nodeId, wireguardPublicKey: new Uint8Array(32).fill(byte) });
const key = (byte: number) => Buffer.alloc(32, byte).toString("base64");

describe("agent/network/explain/tunnel", () => {
  it("tells of each node where it was heard of and when, and leaves out who is not there", () => {
    const dump = [
      `${key(9)}\t${key(8)}\t51820\toff`,
      `${key(1)}\t(none)\t10.77.0.12:51820\t10.253.0.2/32\t1000\t5\t6\toff`,
      `${key(2)}\t(none)\t(none)\t10.253.0.3/32\t0\t0\t0\toff`,
      "",
    ].join("\n");
    deepEqual(tunnelStates(dump, [peer("a", 1), peer("b", 2), peer("c", 3)], 1_060_000), [
      { nodeId: "a", endpoint: "10.77.0.12:51820", handshakeAgeS: 60 },
      { nodeId: "b", endpoint: "", handshakeAgeS: undefined },
    ]);
  });
});
