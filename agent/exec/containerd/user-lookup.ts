/**
 * Who a process in a container runs as: `user[:group]` and further groups, looked up in the container's own /etc/passwd and
 * /etc/group. Pure over the text of the two files.
 */
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { ProcessUser } from "./seams.ts";

/** What is asked for, and where it is looked up. */
export interface UserWish {
  /** `user`, `user:group`, names or numbers; root when empty. */
  readonly user: string;
  /** Further groups, names or numbers. */
  readonly groups: readonly string[];
  /** Text of /etc/passwd and /etc/group; empty when there is none. */
  readonly passwd: string;
  readonly group: string;
}

/** Largest passwd or group file that is read, bytes. */
export const userFileBytesMax = 4 * 1024 * 1024;
const idMax = 2 ** 31 - 1;

/** @throws ClusterError invalid-argument in Docker's words for names that are not there. */
export function userOf(wish: UserWish): ProcessUser {
  const colon = wish.user.indexOf(":");
  const userText = colon < 0 ? wish.user : wish.user.slice(0, colon);
  const groupText = colon < 0 ? "" : wish.user.slice(colon + 1);
  const entries = linesOf(wish.group);
  const entry = findUser(wish.passwd, userText === "" ? "0" : userText);
  if (entry === undefined && idOf(userText === "" ? "0" : userText) === undefined) {
    throw new ClusterError(
      "invalid-argument",
      `unable to find user ${userText}: no matching entries in passwd file`,
    );
  }
  const uid = entry?.uid ?? idOf(userText === "" ? "0" : userText) ?? 0;
  const gid = groupText === "" ? (entry?.gid ?? 0) : groupOf(entries, groupText);
  const listed = groupText === "" && entry !== undefined ? groupsListing(entries, entry.name) : [];
  const added = wish.groups.map((name) => groupOf(entries, name));
  return {
    uid,
    gid,
    additionalGids: [...new Set([gid, ...listed, ...added])],
    home: entry === undefined || entry.home === "" ? "/" : entry.home,
  };
}

interface UserEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** By name first, then by number, as programs in the container would. */
function findUser(passwd: string, text: string): UserEntry | undefined {
  const users = linesOf(passwd).flatMap(([name = "", , uid = "", gid = "", , home = ""]) => {
    const [uidNumber, gidNumber] = [idOf(uid), idOf(gid)];
    if (name === "" || uidNumber === undefined || gidNumber === undefined) return [];
    return [{ name, uid: uidNumber, gid: gidNumber, home }];
  });
  const id = idOf(text);
  return (
    users.find(({ name }) => name === text) ??
    (id === undefined ? undefined : users.find(({ uid }) => uid === id))
  );
}

function groupOf(entries: readonly string[][], text: string): number {
  const id = idOf(text);
  const entry =
    entries.find(([name]) => name === text) ??
    (id === undefined ? undefined : entries.find(([, , gid = ""]) => idOf(gid) === id));
  const gid = entry === undefined ? id : (idOf(entry[2] ?? "") ?? id);
  if (gid !== undefined) return gid;
  throw new ClusterError(
    "invalid-argument",
    `unable to find group ${text}: no matching entries in group file`,
  );
}

function groupsListing(entries: readonly string[][], user: string): number[] {
  return entries.flatMap(([, , gid = "", members = ""]) => {
    const id = idOf(gid);
    return id !== undefined && members.split(",").includes(user) ? [id] : [];
  });
}

/** @throws ClusterError invalid-argument for a number that no user or group can have. */
function idOf(text: string): number | undefined {
  if (!/^\d+$/.test(text)) return undefined;
  const id = Number(text);
  if (id <= idMax) return id;
  throw new ClusterError("invalid-argument", "uids and gids must be in range 0-2147483647");
}

function linesOf(text: string): string[][] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(":"));
}
