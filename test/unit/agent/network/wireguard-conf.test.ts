/**
 * What `wg` is told of the other nodes.
 */
import { deepEqual, equal } from "node:assert/strict";
import {
  keptEndpoints,
  type SeenPeer,
  seenPeers,
  type TunnelPeer,
  textOf,
  tunnelEntries,
  watchPauseMs,
  wireguardConf,
} from "../../../../agent/network/wireguard-conf.ts";

const key = (byte: number) => new Uint8Array(32).fill(byte);
const none = new Uint8Array(0);

function peer(number: number, fields: Partial<TunnelPeer> = {}): TunnelPeer {
  return {
    number,
    address: `192.0.2.${number}`,
    outerAddress: "",
    wireguardPublicKey: key(number),
    nextWireguardPublicKey: none,
    ...fields,
  };
}

function entries(
  others: readonly TunnelPeer[],
  o: { readonly outerAddress?: string; readonly seen?: Record<string, SeenPeer> } = {},
) {
  const { outerAddress = "", seen = {} } = o;
  return tunnelEntries({
    self: { outerAddress },
    others,
    seen: new Map(Object.entries(seen)),
    speaksFirst: false,
  });
}

describe("agent/network/wireguard-conf", () => {
  it("names each node by its key, its address and the one address it may send from", () => {
    const peers = [
      peer(300, { address: "2001:db8::1", wireguardPublicKey: key(2) }),
      peer(2, { wireguardPublicKey: key(1) }),
    ];
    equal(
      wireguardConf("c2VjcmV0", entries(peers), new Set()),
      [
        "[Interface]",
        "PrivateKey = c2VjcmV0",
        "ListenPort = 51820",
        "",
        "[Peer]",
        `PublicKey = ${textOf(key(1))}`,
        "Endpoint = 192.0.2.2:51820",
        "AllowedIPs = 10.253.0.2/32",
        "PersistentKeepalive = 0",
        "",
        "[Peer]",
        `PublicKey = ${textOf(key(2))}`,
        "Endpoint = [2001:db8::1]:51820",
        "AllowedIPs = 10.253.1.44/32",
        "PersistentKeepalive = 0",
        "",
      ].join("\n"),
    );
  });

  it("leaves out nodes that cannot encrypt or are not reached", () => {
    const peers = [peer(2, { wireguardPublicKey: none }), peer(3, { address: "" })];
    deepEqual(entries(peers), []);
  });

  it("keeps the way open behind a translation of addresses, and looks for others where they are seen", () => {
    const peers = [
      peer(2),
      peer(3, { outerAddress: "198.51.100.1" }),
      peer(4, { outerAddress: "198.51.100.2" }),
    ];
    const seenFrom = (outerAddress: string) =>
      entries(peers, { outerAddress }).map(({ endpoint, keepalive }) => [endpoint, keepalive]);
    deepEqual(seenFrom(""), [
      ["192.0.2.2:51820", 0],
      ["198.51.100.1:51820", 0],
      ["198.51.100.2:51820", 0],
    ]);
    deepEqual(seenFrom("198.51.100.1"), [
      ["192.0.2.2:51820", 25],
      ["192.0.2.3:51820", 0],
      ["198.51.100.2:51820", 25],
    ]);
  });

  it("knows both keys of a node while they change, and sends by the one it was heard by", () => {
    const changing = [peer(2, { nextWireguardPublicKey: key(9) })];
    const [old, next] = [textOf(key(2)), textOf(key(9))];
    const allowed = (before: number, after: number) =>
      entries(changing, {
        seen: {
          [old]: { endpoint: "a:1", handshakeS: before },
          [next]: { endpoint: "", handshakeS: after },
        },
      }).map((entry) => [entry.key, entry.allowed]);
    deepEqual(allowed(100, 0), [
      [old, "10.253.0.2/32"],
      [next, ""],
    ]);
    deepEqual(allowed(100, 130), [
      [old, ""],
      [next, "10.253.0.2/32"],
    ]);
    deepEqual(
      entries([peer(2, { nextWireguardPublicKey: key(2) })]).map((entry) => entry.key),
      [old],
    );
  });

  it("leaves endpoints that the device has learnt, unless the managers say another", () => {
    const all = entries([2, 3, 4, 5, 6].map((number) => peer(number)));
    const seen = new Map(
      [
        [2, "10.9.9.9:1000", 5],
        [3, "10.9.9.9:1001", 5],
        [4, "10.9.9.9:1002", 950],
        [5, "10.9.9.9:1003", 5],
        [6, "", 0],
      ].map(([number, endpoint, handshakeS]) => [
        textOf(key(Number(number))),
        { endpoint: String(endpoint), handshakeS: Number(handshakeS) },
      ]),
    );
    const told = new Map([
      [textOf(key(2)), "192.0.2.2:51820"],
      [textOf(key(3)), "192.0.2.33:51820"],
      [textOf(key(6)), "192.0.2.6:51820"],
    ]);
    const kept = keptEndpoints({ entries: all, seen, told, nowS: 1_000 });
    // As told before; heard lately, in an earlier life of the daemon.
    deepEqual([...kept], [textOf(key(2)), textOf(key(4))]);
    const text = wireguardConf("x", all, kept);
    equal(text.includes("Endpoint = 192.0.2.2:"), false);
    equal(text.includes("Endpoint = 192.0.2.3:"), true);
  });

  it("looks rarely at keys that do not follow, as those of a node that is away", () => {
    deepEqual([0, 119_999, 120_000].map(watchPauseMs), [500, 500, 5_000]);
  });

  it("reads what the device knows", () => {
    const dump = [
      "private\tpublic\t51820\toff",
      "a=\t(none)\t192.0.2.2:51820\t10.253.0.2/32\t1700000000\t92\t180\toff",
      "b=\t(none)\t(none)\t(none)\t0\t0\t0\t25",
    ].join("\n");
    deepEqual(
      [...seenPeers(`${dump}\n`)],
      [
        ["a=", { endpoint: "192.0.2.2:51820", handshakeS: 1_700_000_000 }],
        ["b=", { endpoint: "", handshakeS: 0 }],
      ],
    );
  });
});
