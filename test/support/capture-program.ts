/**
 * Copies every frame that passes a device into a file, until it is killed: a packet socket, by the C library.
 *
 * Arguments: device, file. Each frame in the file follows its length, four bytes, least significant first. Says `ready` on
 * its standard output once no frame is missed any more.
 */
import { openSync, writeSync } from "node:fs";
import koffi from "koffi";

const c = koffi.load("libc.so.6");
const socket = c.func("int socket(int domain, int type, int protocol)");
const bind = c.func("int bind(int fd, const void *address, unsigned int length)");
const setsockopt = c.func(
  "int setsockopt(int fd, int level, int option, const void *value, unsigned int length)",
);
const indexOf = c.func("unsigned int if_nametoindex(const char *name)");
const recv = c.func("long recv(int fd, _Out_ uint8_t *data, unsigned long length, int flags)");

const afPacket = 17;
const sockRaw = 3;
const solSocket = 1;
const receiveBufferForce = 33;
/** In the order of the network: all protocols. */
const everything = Buffer.from([0, 3]);
const bufferBytes = 64 * 1024 * 1024;
const frameBytesMax = 128 * 1024;

const [, , device = "", file = ""] = process.argv;
const fd = socket(afPacket, sockRaw, everything.readUInt16LE());
const size = Buffer.alloc(4);
size.writeUInt32LE(bufferBytes);
setsockopt(fd, solSocket, receiveBufferForce, size, size.length);
const address = Buffer.alloc(20);
address.writeUInt16LE(afPacket, 0);
everything.copy(address, 2);
address.writeUInt32LE(indexOf(device), 4);
if (fd < 0 || bind(fd, address, address.length) !== 0) {
  throw new Error(`cannot listen on ${device}: error ${koffi.errno()}`);
}
const out = openSync(file, "w");
writeSync(1, "ready\n");
const frame = Buffer.alloc(4 + frameBytesMax);
for (;;) {
  const length: number = recv(fd, frame.subarray(4), frameBytesMax, 0);
  if (length < 0) continue;
  frame.writeUInt32LE(length, 0);
  writeSync(out, frame, 0, 4 + length);
}
