/**
 * A socket of netlink(7) in the namespace this thread is in. The kernel has answered when `send` returns, so that nothing here
 * waits for long.
 */
import { createRequire } from "node:module";
import { errorIn, messagesIn, messageTypes, type Received } from "./message.ts";

const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
const c = koffi.load("libc.so.6");
const socket = c.func("int socket(int family, int type, int protocol)");
const setOption = c.func(
  "int setsockopt(int fd, int level, int name, const void *value, uint32_t length)",
);
const send = c.func("long send(int fd, const void *data, size_t length, int flags)");
const recv = c.func("long recv(int fd, void *data, size_t length, int flags)");
const close = c.func("int close(int fd)");

/** AF_NETLINK, SOCK_RAW with SOCK_CLOEXEC. */
const family = 16;
const socketType = 3 | 0x80000;
/** SOL_NETLINK; NETLINK_CAP_ACK and NETLINK_EXT_ACK: answers with the kernel's words, and without what was asked. */
const level = 270;
const options = [10, 11];
/** Larger than any message of the kernel. */
const answerBytesMax = 65_536;

/** NETLINK_ROUTE and NETLINK_NETFILTER. */
export const protocols = { route: 0, netfilter: 12 } as const;

/** What came of a message that asks for an acknowledgement; 0 for no error. */
export interface Acknowledgement {
  readonly errno: number;
  readonly words: string;
}

/** One socket; to be closed. */
export class NetlinkSession {
  readonly #fd: number;
  readonly #answer = Buffer.allocUnsafe(answerBytesMax);

  /** @throws Error when the kernel gives none. */
  constructor(protocol: number) {
    this.#fd = socket(family, socketType, protocol) as number;
    if (this.#fd < 0) throw new Error(`no socket of netlink: error ${koffi.errno()}`);
    for (const option of options) setOption(this.#fd, level, option, Buffer.of(1, 0, 0, 0), 4);
  }

  /** The first answer to a message. @throws Error when the socket fails. */
  ask(message: Buffer): Received | undefined {
    this.#send(message);
    return messagesIn(this.#receive())[0];
  }

  /** Carries out a message. @throws Error when the socket fails. */
  tell(message: Buffer): Acknowledgement {
    const answer = this.ask(message);
    if (answer?.type !== messageTypes.error) return { errno: 0, words: "" };
    return errorIn(answer);
  }

  /** All that the kernel lists. @throws Error when the socket fails. */
  list(message: Buffer): Received[] {
    this.#send(message);
    const found: Received[] = [];
    for (;;) {
      // Kept beyond the next answer.
      for (const one of messagesIn(Buffer.from(this.#receive()))) {
        if (one.type === messageTypes.done || one.type === messageTypes.error) return found;
        found.push(one);
      }
    }
  }

  close(): void {
    close(this.#fd);
  }

  #send(message: Buffer): void {
    const sent: number = send(this.#fd, message, message.length, 0);
    if (sent !== message.length) throw new Error(`netlink takes nothing: error ${koffi.errno()}`);
  }

  #receive(): Buffer {
    const length: number = recv(this.#fd, this.#answer, this.#answer.length, 0);
    if (length < 0) throw new Error(`netlink answers nothing: error ${koffi.errno()}`);
    return this.#answer.subarray(0, length);
  }
}
