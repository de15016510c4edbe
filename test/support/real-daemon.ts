/**
 * One real `skep daemon` of a test's own: a process with its containerd, in a temporary folder, with all it has made removed
 * at the end.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./wait.ts";

const program = fileURLToPath(new URL("../../src/bin/skep.js", import.meta.url));

/** The daemon while it runs. */
export interface RealDaemon {
  readonly socket: string;
  /** Its folder, for files of the test too. */
  readonly dir: string;
  readonly pid: number;
  /** What it has logged. */
  log(): string;
  /** Removes all containers, ends it and removes its folder. */
  stop(): Promise<void>;
}

/** Starts one; resolves when its API answers. */
export async function startDaemon(flags: readonly string[] = []): Promise<RealDaemon> {
  const dir = mkdtempSync(join(tmpdir(), "skep-d-"));
  const socket = join(dir, "docker.sock");
  const child = spawn(
    process.execPath,
    [
      program,
      "daemon",
      `--data-root=${join(dir, "data")}`,
      `--exec-root=${join(dir, "exec")}`,
      `--host=unix://${socket}`,
      ...flags,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log += text;
  });
  const what = () => `the daemon to answer: ${log}`;
  try {
    await until(() => answers(socket, "GET", "/_ping"), { withinMs: 60_000, what: "the daemon" });
  } catch (error) {
    child.kill("SIGKILL");
    throw new Error(what(), { cause: error });
  }
  return {
    socket,
    dir,
    pid: child.pid ?? 0,
    log: () => log,
    stop: async () => {
      await removeContainers(socket);
      await ended(child);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function removeContainers(socket: string): Promise<void> {
  const list = JSON.parse((await ask(socket, "GET", "/containers/json?all=1")).text);
  if (!Array.isArray(list)) return;
  for (const { Id } of list) await ask(socket, "DELETE", `/containers/${Id}?force=1&v=1`);
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill("SIGTERM");
  });
}

async function answers(socket: string, method: string, path: string): Promise<boolean> {
  return (await ask(socket, method, path)).status === 200;
}

function ask(
  socketPath: string,
  method: string,
  path: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    });
    sent.on("error", reject);
    sent.end();
  });
}
