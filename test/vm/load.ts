/**
 * Load on a published port in a virtual machine of `npm run test:vm`: streams that stay open and say a line now and then,
 * and connections that come and go, until SIGTERM. The server says the caller's address and then repeats what it hears.
 *
 *   node build/test/vm/load.js HOST PORT OWN_ADDRESS
 *
 * Each second a line says how far it is: `STREAMS open, LOST lost, LINES lines; CALLS calls, FAILED failed, WRONG wrong
 * addresses`; what went wrong is told on lines that begin with `lost` or `failed`. Nothing is given up early: an emulated
 * machine takes its time, and what never comes shows at the end.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

const streamsWanted = 8;
const callsAtOnce = 2;
const lineEveryMs = 200;
/** The kernel repeats a lost packet after 1, 3, 7, 15 s: longer, and the connection is lost. */
const silenceMsMax = 60_000;

const [host = "", port = "", ownAddress = ""] = process.argv.slice(2);
const tally = { streams: 0, lost: 0, lines: 0, calls: 0, failed: 0, wrong: 0 };
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());

/** One connection, line by line. */
class Line {
  readonly #socket: Socket;
  #heard = "";
  #end: Error | undefined;
  #wake: () => void = () => undefined;

  constructor() {
    this.#socket = connect({ host, port: Number(port) });
    this.#socket.setEncoding("utf8").setTimeout(silenceMsMax);
    const end = (error: Error) => {
      this.#end ??= error;
      this.#wake();
    };
    this.#socket.on("data", (text: string) => {
      this.#heard += text;
      this.#wake();
    });
    this.#socket.on("error", end);
    this.#socket.on("close", () => end(new Error("closed")));
    this.#socket.on("timeout", () => this.#socket.destroy(new Error("silent for too long")));
  }

  async next(): Promise<string> {
    for (;;) {
      const [line, rest] = this.#heard.split(/\n(.*)/s);
      if (line !== undefined && rest !== undefined) {
        this.#heard = rest;
        return line;
      }
      if (this.#end !== undefined) throw this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** @throws Error when something else comes back. */
  async say(text: string): Promise<void> {
    this.#socket.write(`${text}\n`);
    const heard = await this.next();
    if (heard !== text) throw new Error(`said ${text}, heard ${heard}`);
  }

  async close(): Promise<void> {
    this.#socket.end();
    await this.next().catch(() => undefined); // Its end.
    this.#socket.destroy();
  }
}

async function greeted(): Promise<Line> {
  const line = new Line();
  const address = await line.next();
  if (address !== ownAddress) tally.wrong++;
  return line;
}

async function stream(number: number): Promise<void> {
  try {
    const line = await greeted();
    tally.streams++;
    for (let i = 0; !stop.signal.aborted; i++) {
      await line.say(`stream ${number} line ${i}`);
      tally.lines++;
      await new Promise((resolve) => setTimeout(resolve, lineEveryMs));
    }
    await line.close();
  } catch (error) {
    tally.lost++;
    console.log(`lost stream ${number}: ${error}`);
  }
}

async function calls(): Promise<void> {
  while (!stop.signal.aborted) {
    tally.calls++;
    try {
      const line = await greeted();
      await line.say("hello");
      await line.close();
    } catch (error) {
      tally.failed++;
      console.log(`failed call ${tally.calls}: ${error}`);
    }
  }
}

function tell(): void {
  const { streams, lost, lines, calls: made, failed, wrong } = tally;
  console.log(
    `${streams} open, ${lost} lost, ${lines} lines; ${made} calls, ${failed} failed, ${wrong} wrong addresses`,
  );
}

const telling = setInterval(tell, 1_000);
await Promise.all([
  ...Array.from({ length: streamsWanted }, (_, number) => stream(number)),
  ...Array.from({ length: callsAtOnce }, calls),
]);
clearInterval(telling);
tell();
if (process.stdout.writableNeedDrain) await once(process.stdout, "drain");
process.exit(0);
