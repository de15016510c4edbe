#!/usr/bin/env node
/**
 * The program: `skep COMMAND`. Each command is loaded when it is asked for, so that none pays for another.
 */
import { readFileSync } from "node:fs";
import { errorText } from "../common/errors/cluster-error.ts";

interface Command {
  readonly summary: string;
  /** Resolves with the exit code. */
  readonly run: (argv: string[]) => Promise<number>;
}

const io = {
  environment: process.env,
  out: (text: string) => process.stdout.write(text),
  fail: (text: string) => process.stderr.write(text),
};

const commands: Readonly<Record<string, Command>> = {
  daemon: {
    summary: "Run this machine as a node; takes dockerd's own flags",
    run: async (argv) => {
      const { runDaemon } = await import("../node/daemon.ts");
      await runDaemon(argv);
      return 0;
    },
  },
  explain: {
    summary: "Say where the traffic of a service, task or port goes, and what is in its way",
    run: async (argv) => {
      const { runExplain } = await import("../cli/explain.ts");
      return runExplain(argv, io);
    },
  },
  service: {
    summary: "List the specs a service had, go back to one of them, spread its tasks anew",
    run: async (argv) => {
      const { runService } = await import("../cli/service.ts");
      return runService(argv, io);
    },
  },
  playground: {
    summary: "Run several nodes on this machine to try things out",
    run: async (argv) => {
      const { runPlayground } = await import("../playground/command.ts");
      return runPlayground(argv);
    },
  },
  stack: {
    summary: "Deploy Compose files, and see what would change and what runs",
    run: async (argv) => {
      const { runStack } = await import("../cli/stack/command.ts");
      return runStack(argv, { ...io, folder: process.cwd() });
    },
  },
  swarm: {
    summary: "Have services spread anew when a node joins or returns",
    run: async (argv) => {
      const { runSwarm } = await import("../cli/swarm.ts");
      return runSwarm(argv, io);
    },
  },
  version: {
    summary: "Print the version",
    run: async () => {
      process.stdout.write(`skep ${version()}\n`);
      return 0;
    },
  },
  help: {
    summary: "Print this",
    run: async () => {
      process.stdout.write(usage());
      return 0;
    },
  },
};

process.exitCode = await main(process.argv.slice(2));

async function main(argv: string[]): Promise<number> {
  const [name = "help", ...rest] = argv;
  const command = Object.hasOwn(commands, canonical(name)) ? commands[canonical(name)] : undefined;
  if (command === undefined) {
    process.stderr.write(`skep has no command ${name}\n\n${usage()}`);
    return 2;
  }
  try {
    return await command.run(rest);
  } catch (error) {
    process.stderr.write(`skep ${name}: ${errorText(error)}\n`);
    return 1;
  }
}

function canonical(name: string): string {
  if (name === "--help" || name === "-h") return "help";
  return name === "--version" || name === "-v" ? "version" : name;
}

function version(): string {
  const file = new URL("../../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

function usage(): string {
  const lines = Object.entries(commands).map(([name, c]) => `  ${name.padEnd(12)}${c.summary}\n`);
  return `Usage: skep COMMAND\n\nCommands:\n${lines.join("")}`;
}
