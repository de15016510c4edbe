/**
 * Stands in for `skep daemon` where only the playground is under test: takes the same flags, answers `/_ping` on its
 * socket, and tells under `/facts` what the host looks like from inside.
 */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { hostname, networkInterfaces } from "node:os";
import { parseArgs } from "node:util";

/** Answer of `/facts`. */
export interface HostFacts {
  readonly hostname: string;
  readonly address: string | undefined;
  readonly now: number;
  readonly run: readonly string[];
  readonly parent: number;
  readonly cgroups: readonly string[];
  readonly env: string | undefined;
}

const { values } = parseArgs({
  args: process.argv.slice(3),
  options: {
    host: { type: "string", short: "H" },
    "data-root": { type: "string" },
    "exec-root": { type: "string" },
    pidfile: { type: "string" },
    "insecure-registry": { type: "string" },
  },
});
const socket = (values.host ?? "").replace("unix://", "");
rmSync(socket, { force: true });
const server = createServer((request, response) => {
  response.end(request.url === "/facts" ? JSON.stringify(facts()) : "OK");
});
server.listen(socket);
process.once("SIGTERM", () => process.exit(0));

function facts(): HostFacts {
  return {
    hostname: hostname(),
    address: networkInterfaces()["eth0"]?.find((entry) => entry.family === "IPv4")?.address,
    now: Date.now(),
    run: readdirSync("/run"),
    parent: Number(readFileSync("/proc/self/stat", "utf8").split(" ")[3]),
    cgroups: readdirSync("/sys/fs/cgroup"),
    env: process.env["SKEP_TEST_FACT"],
  };
}
