/**
 * Says on its standard output when the rules of its network change: one line for each transaction of nftables the kernel has
 * taken over, with the time (CLOCK_MONOTONIC, milliseconds). Started by `network-lab.ts` in a container's namespace.
 *
 * Listens to the kernel's own word (netlink, NFT_MSG_NEWGEN), which it sends when packets meet the new rules.
 */
import { writeSync } from "node:fs";
import { createRequire } from "node:module";

/** socket(2), netlink(7): AF_NETLINK, SOCK_RAW with SOCK_CLOEXEC, NETLINK_NETFILTER. */
const netlink = { family: 16, type: 3 | 0x80000, protocol: 12 } as const;
/** Group NFNLGRP_NFTABLES of <linux/netfilter/nfnetlink.h>, as a bit. */
const group = 1 << 6;
/** NFNL_SUBSYS_NFTABLES and NFT_MSG_NEWGEN: how a transaction ends. */
const newGeneration = (10 << 8) | 15;
/** setsockopt(2): SOL_SOCKET, SO_RCVBUFFORCE. A thousand backends are told of one by one. */
const receiveBuffer = { level: 1, name: 33, bytes: 16 * 1024 * 1024 } as const;

const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
const c = koffi.load("libc.so.6");
const socket = c.func("int socket(int family, int type, int protocol)");
const bind = c.func("int bind(int fd, const void *address, uint32_t length)");
const setOption = c.func(
  "int setsockopt(int fd, int level, int name, const void *value, uint32_t length)",
);
const receive = c.func("long recv(int fd, void *data, size_t length, int flags)");

const fd: number = socket(netlink.family, netlink.type, netlink.protocol);
const address = Buffer.alloc(12);
address.writeUInt16LE(netlink.family, 0);
address.writeUInt32LE(group, 8);
if (bind(fd, address, address.length) !== 0) throw new Error(`bind: error ${koffi.errno()}`);
const size = Buffer.alloc(4);
size.writeUInt32LE(receiveBuffer.bytes);
setOption(fd, receiveBuffer.level, receiveBuffer.name, size, size.length);
writeSync(1, "ready\n");

const data = Buffer.alloc(1 << 20);
for (;;) {
  const length = Number(receive(fd, data, data.length, 0));
  const now = Number(process.hrtime.bigint()) / 1e6;
  // Lost messages are some, too.
  if (length < 0 || endsTransaction(data.subarray(0, length))) writeSync(1, `${now}\n`);
}

function endsTransaction(messages: Buffer): boolean {
  for (let at = 0; at + 16 <= messages.length; ) {
    if (messages.readUInt16LE(at + 4) === newGeneration) return true;
    at += (Math.max(16, messages.readUInt32LE(at)) + 3) & ~3;
  }
  return false;
}
