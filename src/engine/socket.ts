/**
 * The unix socket of the API: taken over from a dead daemon, never from a living one, readable by its group only.
 */
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import type { Server } from "node:http";
import { createConnection } from "node:net";
import { dirname } from "node:path";
import { ClusterError } from "../common/errors/cluster-error.ts";

/** Owner and group may read and write. */
const socketMode = 0o660;

/**
 * Binds the server to `path`.
 * @param group Name of the group it is given to; when there is no such group it stays with its owner.
 * @throws ClusterError `already-exists` when something answers at `path`, `failed-precondition` when it is no socket.
 */
export async function listenOnSocket(server: Server, path: string, group: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  await removeDead(path);
  // The socket must never be open to all, not even between bind and chmod.
  const before = process.umask(0o777 & ~socketMode);
  try {
    const listening = new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, () => {
        server.off("error", reject);
        // From now on: a connection that could not be taken, such as without a file descriptor left; the next may be.
        server.on("error", () => {});
        resolve();
      });
    });
    process.umask(before);
    await listening;
  } finally {
    process.umask(before);
  }
  chmodSync(path, socketMode);
  const groupId = groupIdOf(group);
  if (groupId !== undefined && process.getuid?.() === 0) chownSync(path, 0, groupId);
}

async function removeDead(path: string): Promise<void> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket())
    throw new ClusterError("failed-precondition", `${path} exists and is not a socket`);
  if (await answers(path))
    throw new ClusterError("already-exists", `another daemon is listening on ${path}`);
  rmSync(path, { force: true });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** undefined when the machine has no such group. */
function groupIdOf(name: string): number | undefined {
  let groups: string;
  try {
    groups = readFileSync("/etc/group", "utf8");
  } catch {
    // A machine without a group file has no group to give the socket to.
    return undefined;
  }
  const line = groups.split("\n").find((entry) => entry.startsWith(`${name}:`));
  const id = Number(line?.split(":")[2]);
  return line !== undefined && Number.isInteger(id) ? id : undefined;
}
