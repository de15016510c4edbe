/**
 * Users and groups as the container's own files have them.
 */
import { deepEqual, throws } from "node:assert/strict";
import { userOf } from "../../../../../agent/exec/containerd/user-lookup.ts";

const passwd = "root:x:0:0:root:/root:/bin/sh\nbee:x:1000:1001::/hive/bee:\n12:x:77:78::/odd:\n";
const group = "root:x:0:root\nbee:x:1001:\nhive:x:2000:bee,wasp\n";
const look = (user: string, groups: string[] = []) => userOf({ user, groups, passwd, group });
const user = (uid: number, gid: number, additionalGids: number[], home: string) => ({
  uid,
  gid,
  additionalGids,
  home,
});

describe("agent/exec/containerd/user-lookup", () => {
  const cases: readonly [string, ReturnType<typeof look>, ReturnType<typeof user>][] = [
    ["is root when nothing is said", look(""), user(0, 0, [0], "/root")],
    ["finds a name with its groups", look("bee"), user(1000, 1001, [1001, 2000], "/hive/bee")],
    [
      "finds a number as it finds the name",
      look("1000"),
      user(1000, 1001, [1001, 2000], "/hive/bee"),
    ],
    ["prefers a name that looks like a number", look("12"), user(77, 78, [78], "/odd")],
    ["takes a number nobody has", look("4242"), user(4242, 0, [0], "/")],
    ["takes only the group that is given", look("bee:hive"), user(1000, 2000, [2000], "/hive/bee")],
    ["takes a number for a group", look("bee:5"), user(1000, 5, [5], "/hive/bee")],
    ["adds groups", look("bee:5", ["hive", "9"]), user(1000, 5, [5, 2000, 9], "/hive/bee")],
  ];
  for (const [fact, found, wanted] of cases) it(fact, () => deepEqual(found, wanted));

  it("refuses names and numbers that are none, in Docker's words", () => {
    throws(() => look("wasp"), /unable to find user wasp: no matching entries in passwd file/);
    throws(() => look("bee:none"), /unable to find group none: no matching entries in group file/);
    throws(() => look("2147483648"), /uids and gids must be in range 0-2147483647/);
  });

  it("needs no files for numbers", () => {
    deepEqual(userOf({ user: "5:6", groups: [], passwd: "", group: "" }), user(5, 6, [6], "/"));
  });
});
