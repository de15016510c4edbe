/**
 * What the tunnel is told of the other nodes: from what the managers say and what the device has learnt to text for
 * `wg syncconf`. Pure.
 *
 * A node whose key is about to change has two entries: what arrives with either key is understood, and its address goes with
 * the one by which it was last heard.
 */
import {
  wireguardLookMs,
  wireguardRareLookMs,
  wireguardWatchMs,
} from "../../src/common/limits/network.ts";
import { canonical, wireguardAddress, wireguardPort } from "./pools.ts";

/** A node as the tunnel needs it. */
export interface TunnelPeer {
  readonly number: number;
  /** Where its data path is reached. */
  readonly address: string;
  /** Where it is seen to come from when it is behind a translation of addresses; else empty. */
  readonly outerAddress: string;
  /** Public key, 32 bytes; nodes without one are left out. */
  readonly wireguardPublicKey: Uint8Array;
  /** The key that it will have; empty unless it is about to change. */
  readonly nextWireguardPublicKey: Uint8Array;
}

/** A peer as the device has it. */
export interface SeenPeer {
  /** Where it was last heard, or is looked for; empty for nowhere. */
  readonly endpoint: string;
  /** Seconds since the epoch; 0 for never. */
  readonly handshakeS: number;
}

/** A peer as the device is to have it. */
export interface TunnelEntry {
  /** Base64. */
  readonly key: string;
  readonly endpoint: string;
  /** What it may send from; empty for nothing. */
  readonly allowed: string;
  /** Seconds; 0 for never. */
  readonly keepalive: number;
}

/** What entries are made from. */
export interface TunnelFacts {
  readonly self: Pick<TunnelPeer, "outerAddress">;
  readonly others: readonly TunnelPeer[];
  /** By public key. */
  readonly seen: ReadonlyMap<string, SeenPeer>;
  /** All are to hear of this node now, such as after its key has changed. */
  readonly speaksFirst: boolean;
}

/** Translations of addresses forget a way that was not used for half a minute, at the earliest. */
const keepaliveS = 25;
/** A way by which a peer was heard that long ago is still open: sessions end after three minutes. */
const freshS = 180;

/** An entry or two per node that has a key, in the order of their numbers. */
export function tunnelEntries(facts: TunnelFacts): TunnelEntry[] {
  return facts.others
    .filter(({ number, address, wireguardPublicKey: key }) => {
      return number > 0 && address !== "" && key.length === 32;
    })
    .sort((a, b) => a.number - b.number)
    .flatMap((peer) => entriesOf(peer, facts));
}

function entriesOf(peer: TunnelPeer, { self, seen, speaksFirst }: TunnelFacts): TunnelEntry[] {
  const [key, next] = [textOf(peer.wireguardPublicKey), textOf(peer.nextWireguardPublicKey)];
  // Behind the same translation they reach each other without it.
  const isNear = peer.outerAddress === "" || peer.outerAddress === self.outerAddress;
  const address = isNear ? peer.address : peer.outerAddress;
  const host = address.includes(":") ? `[${canonical(address)}]` : address;
  const isInside = self.outerAddress !== "" && self.outerAddress !== peer.outerAddress;
  const entry = {
    endpoint: `${host}:${wireguardPort}`,
    keepalive: isInside || speaksFirst ? keepaliveS : 0,
  };
  const allowed = `${wireguardAddress(peer.number)}/32`;
  if (peer.nextWireguardPublicKey.length !== 32 || next === key)
    return [{ ...entry, key, allowed }];
  const [before, after] = [seen.get(key)?.handshakeS ?? 0, seen.get(next)?.handshakeS ?? 0];
  const hasChanged = after > 0 && after >= before;
  return [
    { ...entry, key, allowed: hasChanged ? "" : allowed },
    // Where it was heard: that of the managers may be none at which it can be.
    { ...entry, key: next, allowed: hasChanged ? allowed : "" },
  ];
}

/**
 * Peers whose endpoint is not told again, as the device may know a better one: those of which nothing else is said than
 * before, and those that were heard from lately at a place that an earlier life of the daemon, or the peer, has chosen.
 */
export function keptEndpoints(o: {
  readonly entries: readonly TunnelEntry[];
  readonly seen: ReadonlyMap<string, SeenPeer>;
  /** What this life of the daemon has told, by key. */
  readonly told: ReadonlyMap<string, string>;
  /** Seconds since the epoch. */
  readonly nowS: number;
}): ReadonlySet<string> {
  const kept = new Set<string>();
  for (const { key, endpoint } of o.entries) {
    const peer = o.seen.get(key);
    if (peer === undefined || peer.endpoint === "") continue;
    const told = o.told.get(key);
    const isFresh = o.nowS - peer.handshakeS < freshS;
    if (told === endpoint || (told === undefined && isFresh)) kept.add(key);
  }
  return kept;
}

/** @param privateKey Base64. @param kept Peers whose endpoint stays as the device has it. */
export function wireguardConf(
  privateKey: string,
  entries: readonly TunnelEntry[],
  kept: ReadonlySet<string>,
): string {
  return [
    `[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${wireguardPort}\n`,
    ...entries.map((entry) => entryText(entry, kept.has(entry.key))),
  ].join("\n");
}

function entryText({ key, endpoint, allowed, keepalive }: TunnelEntry, isKept: boolean): string {
  return [
    "[Peer]",
    `PublicKey = ${key}`,
    ...(isKept ? [] : [`Endpoint = ${endpoint}`]),
    // Whatever else it sends inside is dropped.
    ...(allowed === "" ? [] : [`AllowedIPs = ${allowed}`]),
    `PersistentKeepalive = ${keepalive}`,
    "",
  ].join("\n");
}

/** Peers as `wg show DEVICE dump` tells of them: one line for the device, then one for each. */
export function seenPeers(dump: string): Map<string, SeenPeer> {
  const seen = new Map<string, SeenPeer>();
  for (const line of dump.trim().split("\n").slice(1)) {
    const [key = "", , endpoint = "", , handshake = "0"] = line.split("\t");
    seen.set(key, {
      endpoint: endpoint === "(none)" ? "" : endpoint,
      handshakeS: Number(handshake) || 0,
    });
  }
  return seen;
}

/** When to look again who was heard by which key. @param watchedMs How long the same keys have been about to follow. */
export function watchPauseMs(watchedMs: number): number {
  return watchedMs < wireguardWatchMs ? wireguardLookMs : wireguardRareLookMs;
}

/** A key as `wg` writes it. */
export function textOf(key: Uint8Array): string {
  return Buffer.from(key).toString("base64");
}
