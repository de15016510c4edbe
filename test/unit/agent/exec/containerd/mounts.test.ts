/**
 * Mounts of a container, and what the image says of what runs in it.
 */
import { deepEqual, equal, throws } from "node:assert/strict";
import { withImageDefaults } from "../../../../../agent/exec/containerd/image-defaults.ts";
import { mountPoint, ociMount, planMounts } from "../../../../../agent/exec/containerd/mounts.ts";
import { emptyContainerConfig } from "../../../../../agent/exec/containerd/record.ts";
import { Mount } from "../../../../../src/common/api/generated/api.ts";
import type { ContainerConfig } from "../../../../../src/common/container/types.ts";
import { plainImageConfig } from "../../../../support/busybox-image.ts";

const plan = (
  mounts: Partial<Mount>[],
  anonymousVolumes: string[] = [],
  imageVolumes: string[] = [],
) =>
  planMounts({
    config: { mounts: mounts.map((fields) => Mount.create(fields)), anonymousVolumes },
    imageVolumes,
    from: [],
  });

describe("agent/exec/containerd/mounts", () => {
  it("makes anonymous volumes where the user mounted nothing", () => {
    const planned = plan([{ source: "/s", target: "/data/" }], ["/extra"], ["/data", "/more"]);
    deepEqual(
      planned.map(({ type, target, anonymous }) => `${type} ${target} ${anonymous}`),
      ["bind /data false", "volume /extra true", "volume /more true"],
    );
  });

  it("says how each is mounted", () => {
    const [bind, tmpfs] = plan([
      { source: "/s", target: "/t", readOnly: true },
      { type: "tmpfs", target: "/m", tmpfs: { sizeBytes: 5, mode: 0o700, options: ["exec"] } },
    ]);
    if (bind === undefined || tmpfs === undefined) throw new Error("planned");
    deepEqual(ociMount(bind, "/s").options, ["rbind", "ro", "rprivate"]);
    deepEqual(ociMount(tmpfs, "").options, [
      ...["noexec", "nosuid", "nodev", "size=5", "mode=700", "exec", "rprivate"],
    ]);
    equal(mountPoint(bind, "/s").writable, false);
  });

  for (const [fault, mount, message] of [
    [
      "a target that is relative",
      { source: "/s", target: "t" },
      /invalid mount path: 't' mount path must be absolute/,
    ],
    ["the root as target", { source: "/s", target: "/x/.." }, /destination can't be '\/'/],
    ["a bind without source", { target: "/t" }, /field Source must not be empty/],
    ["a source that is relative", { source: "s", target: "/t" }, /mount path must be absolute/],
    [
      "what it cannot mount",
      { type: "cluster", source: "s", target: "/t" },
      /invalid mount config for type "cluster"/,
    ],
    [
      "a way out of a volume",
      {
        type: "volume",
        source: "v",
        target: "/t",
        volume: { noCopy: false, labels: {}, driver: undefined, subpath: "../x" },
      },
      /subpath must be a relative path/,
    ],
  ] as const) {
    it(`refuses ${fault}`, () => throws(() => plan([mount]), message));
  }

  it("refuses one target twice", () => {
    const mount = { source: "/s", target: "/t" };
    throws(() => plan([mount, { ...mount, target: "/t/" }]), /Duplicate mount point: \/t/);
  });
});

describe("agent/exec/containerd/image-defaults", () => {
  const image = {
    ...plainImageConfig,
    entrypoint: ["entry"],
    command: ["cmd"],
    env: ["A=image", "B=image"],
  };
  const args = (config: Partial<ContainerConfig>) =>
    withImageDefaults({ ...emptyContainerConfig, ...config }, image, "cell").args;

  for (const [fact, config, wanted] of [
    ["takes the image's entrypoint and command", {}, ["entry", "cmd"]],
    ["keeps the entrypoint with another command", { command: ["x"] }, ["entry", "x"]],
    ["drops the command with another entrypoint", { entrypoint: ["e"] }, ["e"]],
    ["takes both from the user", { entrypoint: ["e"], command: ["x"] }, ["e", "x"]],
    ["drops the entrypoint for an empty one", { entrypoint: [""], command: ["x"] }, ["x"]],
  ] as const) {
    it(fact, () => deepEqual(args(config), wanted));
  }

  it("lets the user's environment win, and take away", () => {
    const { env } = withImageDefaults(
      { ...emptyContainerConfig, env: ["A=own", "B"] },
      image,
      "cell",
    );
    deepEqual(env.slice(1), ["HOSTNAME=cell", "A=own"]);
  });

  it("refuses to run nothing", () => {
    throws(
      () => withImageDefaults(emptyContainerConfig, { ...plainImageConfig, command: [] }, "c"),
      /no command specified/,
    );
  });
});
