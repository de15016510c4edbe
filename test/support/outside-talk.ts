/**
 * Connections of an outside client that stay, to servers that repeat what they hear: each says a line again and again.
 */
import { connect, type Socket } from "node:net";

/** What came of connections on which was talked. */
export interface Talked {
  /** Lines that came back. */
  readonly lines: number;
  /** Longest that a line took, milliseconds. */
  readonly longestMs: number;
  /** What became of the connections that did not stay. */
  readonly lost: readonly string[];
}

const lineEveryMs = 50;
/** A connection on which nothing comes back for so long is lost: the kernel has repeated itself several times. */
const silenceMsMax = 20_000;

/** Connections that stay. */
export class Talk {
  readonly #tally = { lines: 0, longestMs: 0, lost: [] as string[] };
  readonly #open: Socket[] = [];
  #over: Promise<unknown> = Promise.resolve();
  #stopped = false;

  /** @throws Error unless each has had its first line back. */
  static async begin(
    targets: readonly { readonly host: string; readonly port: number }[],
  ): Promise<Talk> {
    const talk = new Talk();
    try {
      await Promise.all(targets.map(({ host, port }) => talk.#connect(host, port)));
    } catch (error) {
      for (const socket of talk.#open) socket.destroy();
      throw error;
    }
    talk.#over = Promise.all(talk.#open.map((socket, number) => talk.#keep(socket, number)));
    return talk;
  }

  async stop(): Promise<Talked> {
    this.#stopped = true;
    await this.#over;
    return this.#tally;
  }

  async #connect(host: string, port: number): Promise<void> {
    const socket = connect({ host, port }).setEncoding("utf8").setNoDelay(true);
    this.#open.push(socket);
    socket.setTimeout(silenceMsMax, () => {
      socket.destroy(new Error(`no answer within ${silenceMsMax} ms`));
    });
    await exchange(socket, "first");
  }

  async #keep(socket: Socket, number: number): Promise<void> {
    try {
      for (let i = 0; !this.#stopped; i++) {
        const began = performance.now();
        await exchange(socket, `${number} ${i}`);
        this.#tally.lines++;
        this.#tally.longestMs = Math.max(this.#tally.longestMs, performance.now() - began);
        await new Promise((resolve) => setTimeout(resolve, lineEveryMs));
      }
    } catch (error) {
      this.#tally.lost.push(`${number} (port ${socket.localPort}): ${error}`);
    }
    socket.destroy();
  }
}

/** @throws Error when anything else comes back, or the connection ends. */
function exchange(socket: Socket, line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let heard = "";
    const end = (error?: Error) => {
      socket.off("data", read).off("error", end).off("close", closed);
      if (error === undefined) resolve();
      else reject(error);
    };
    const closed = () => end(new Error("closed"));
    const read = (text: string) => {
      heard += text;
      if (heard.endsWith("\n")) end(heard === `${line}\n` ? undefined : new Error(heard));
    };
    socket.on("data", read).once("error", end).once("close", closed);
    socket.write(`${line}\n`);
  });
}
