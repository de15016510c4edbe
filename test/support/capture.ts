/**
 * What passes a device of a network namespace, byte for byte, as anyone on the wire could read it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { until } from "./wait.ts";

/** A frame, and what of it is known; ports are 0 for what is not UDP. */
export interface Frame {
  readonly bytes: Buffer;
  /** Addresses of the outer IP header; empty for what is not IP. */
  readonly from: string;
  readonly to: string;
  readonly udpFrom: number;
  readonly udpTo: number;
  /** Of UDP; else empty. */
  readonly payload: Buffer;
}

/** A capture that runs. */
export class Capture {
  readonly #child: ChildProcess;
  readonly #file: string;
  readonly #mark: (text: string) => Promise<unknown>;

  private constructor(child: ChildProcess, o: CaptureOptions) {
    this.#child = child;
    this.#file = o.file;
    this.#mark = o.mark;
  }

  static async start(o: CaptureOptions): Promise<Capture> {
    const program = fileURLToPath(new URL("capture-program.js", import.meta.url));
    const words = [`--net=${o.space}`, process.execPath, program, o.device, o.file];
    const child = spawn("nsenter", words, { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise<void>((resolve, reject) => {
      child.stdout.once("data", () => resolve());
      child.once("exit", (code) => reject(new Error(`the capture ended: ${code}`)));
    });
    return new Capture(child, o);
  }

  /** Everything up to now: waits until a text that is sent now has been seen. */
  async frames(): Promise<Frame[]> {
    const text = `mark ${randomBytes(8).toString("hex")}`;
    await until(
      async () => {
        await this.#mark(text);
        return readFileSync(this.#file).includes(text);
      },
      { withinMs: 60_000, everyMs: 20, what: "the capture has everything" },
    );
    return framesOf(readFileSync(this.#file));
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await ended;
  }
}

/** Where and how it is captured. */
export interface CaptureOptions {
  /** File of the namespace. */
  readonly space: string;
  readonly device: string;
  /** Where the frames go. */
  readonly file: string;
  /** Sends a text in clear over the device. */
  readonly mark: (text: string) => Promise<unknown>;
}

/** Those that hold the text anywhere. */
export function withText(frames: readonly Frame[], text: string): Frame[] {
  return frames.filter(({ bytes }) => bytes.includes(text));
}

/** Those of UDP to or from a port. */
export function withPort(frames: readonly Frame[], port: number): Frame[] {
  return frames.filter(({ udpFrom, udpTo }) => udpFrom === port || udpTo === port);
}

function framesOf(file: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 4 <= file.length; ) {
    const end = at + 4 + file.readUInt32LE(at);
    if (end > file.length) break;
    frames.push(parsed(file.subarray(at + 4, end)));
    at = end;
  }
  return frames;
}

function parsed(bytes: Buffer): Frame {
  const nothing = { bytes, from: "", to: "", udpFrom: 0, udpTo: 0, payload: Buffer.alloc(0) };
  if (bytes.length < 14) return nothing;
  const type = bytes.readUInt16BE(12);
  const ip = bytes.subarray(14);
  const isFour = type === 0x0800 && ip.length >= 20;
  if (!isFour && !(type === 0x86dd && ip.length >= 40)) return nothing;
  const [from, to] = isFour
    ? [dotted(ip.subarray(12, 16)), dotted(ip.subarray(16, 20))]
    : [ip.toString("hex", 8, 24), ip.toString("hex", 24, 40)];
  const protocol = ip[isFour ? 9 : 6];
  const udp = ip.subarray(isFour ? ((ip[0] ?? 0) & 15) * 4 : 40);
  if (protocol !== 17 || udp.length < 8) return { ...nothing, from, to };
  const [udpFrom, udpTo] = [udp.readUInt16BE(0), udp.readUInt16BE(2)];
  return { bytes, from, to, udpFrom, udpTo, payload: udp.subarray(8) };
}

function dotted(address: Buffer): string {
  return [...address].join(".");
}
