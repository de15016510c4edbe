/**
 * Asks the name server of containers as a program in one of them does: from its network namespace, at 127.0.0.11.
 */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { decode, encode } from "../../agent/network/dns/codec.ts";
import { within } from "../../agent/network/namespace.ts";

const server = { address: "127.0.0.11", port: 53 } as const;
/** An answer that takes longer is none, milliseconds. */
const answerMs = 1_000;

/** One who asks; many questions may be under way. */
export class NameAsker {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, (answer: readonly string[]) => void>();
  #last = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("message", (bytes) => this.#answered(bytes));
    // What is refused has no answer.
    socket.on("error", () => undefined);
  }

  /** @param file Of a network namespace, such as `/proc/1/ns/net`. */
  static async in(file: string): Promise<NameAsker> {
    // Found at once: the socket has to be open before the namespace is left.
    const lookup = (
      name: string,
      _: unknown,
      found: (error: null, name: string, family: number) => void,
    ) => found(null, name, 4);
    const socket = createSocket({ type: "udp4", lookup });
    const listening = once(socket, "listening");
    within(file, () => socket.bind(0, "127.0.0.1"));
    await listening;
    return new NameAsker(socket);
  }

  /** What a name leads to, in order; undefined without an answer. */
  async ask(name: string, type: "A" | "AAAA" | "PTR" = "A"): Promise<string[] | undefined> {
    this.#last = (this.#last + 1) % 0x10000;
    const id = this.#last;
    const answer = new Promise<readonly string[] | undefined>((resolve) => {
      const late = setTimeout(() => resolve(undefined), answerMs);
      this.#waiting.set(id, (found) => {
        clearTimeout(late);
        resolve(found);
      });
    });
    this.send(encode({ type: "query", id, flags: 0x0100, questions: [{ type, name }] }));
    const found = await answer;
    this.#waiting.delete(id);
    return found === undefined ? undefined : [...found].sort();
  }

  /** Sends bytes, whatever they are. */
  send(bytes: Uint8Array): void {
    this.#socket.send(bytes, server.port, server.address);
  }

  close(): void {
    this.#socket.close();
  }

  #answered(bytes: Buffer): void {
    try {
      const { id = -1, answers = [] } = decode(bytes);
      this.#waiting.get(id)?.(answers.map(({ data }) => String(data)));
    } catch {
      // An answer to bytes that are no question.
    }
  }
}
