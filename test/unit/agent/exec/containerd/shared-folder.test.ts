/**
 * Whether mounts below a folder reach other mount namespaces, by the kernel's own list.
 */
import { equal } from "node:assert/strict";
import { isShared } from "../../../../../agent/exec/containerd/shared-folder.ts";

const list = `21 1 254:0 / / rw - ext4 /dev/vda rw
30 21 254:0 /v /data/volumes rw shared:7 - ext4 /dev/vda rw
31 21 0:5 / /with\\040space rw,noatime shared:8 master:1 - tmpfs tmpfs rw
32 30 0:6 / /data/volumes/one rw - tmpfs tmpfs rw
`;

describe("agent/exec/containerd/shared-folder", () => {
  for (const [path, shared] of [
    ["/data", false],
    ["/data/volumes", true],
    ["/data/volumes/two", true],
    ["/data/volumes/one/x", false],
    ["/data/volumesother", false],
    ["/with space/x", true],
  ] as const) {
    it(`takes ${path} for ${shared ? "shared" : "private"}`, () =>
      equal(isShared(list, path), shared));
  }
});
