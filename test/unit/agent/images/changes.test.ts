/**
 * Instructions of `docker import --change` and `docker commit --change`, and the configuration a commit begins with.
 */
import { deepEqual, throws } from "node:assert/strict";
import { committedConfig } from "../../../../agent/exec/containerd/commit.ts";
import { emptyContainerConfig } from "../../../../agent/exec/containerd/record.ts";
import { applyChanges } from "../../../../agent/images/changes.ts";
import { configJson, parseImageConfig } from "../../../../agent/images/image-config.ts";
import { HealthConfig } from "../../../../src/common/api/generated/api.ts";
import type { ImageConfig } from "../../../../src/common/container/images.ts";

const empty: ImageConfig = {
  ...{ env: [], entrypoint: [], command: [], workingDir: "", user: "", labels: {} },
  ...{ exposedPorts: [], volumes: [], stopSignal: "", health: undefined, shell: [] },
};
const before: ImageConfig = {
  ...{ ...empty, env: ["A=1", "B=2"], entrypoint: ["/e"], command: ["c"], workingDir: "/w" },
  ...{ labels: { x: "1" }, exposedPorts: ["1/tcp"], volumes: ["/v"] },
};

describe("agent/images/changes", () => {
  for (const [line, change] of [
    ['CMD ["a", "b c"]', { command: ["a", "b c"] }],
    ["cmd a b", { command: ["/bin/sh", "-c", "a b"] }],
    ["CMD [ a", { command: ["/bin/sh", "-c", "[ a"] }],
    ['ENTRYPOINT ["x"]', { entrypoint: ["x"], command: [] }],
    ["ENV A=3 C='d e'", { env: ["A=3", "B=2", "C=d e"] }],
    ["ENV C d e", { env: ["A=1", "B=2", "C=d e"] }],
    ['ENV C="d \\"e\\"" D=f\\ g', { env: ["A=1", "B=2", 'C=d "e"', "D=f g"] }],
    ["LABEL y=2 x=3", { labels: { x: "3", y: "2" } }],
    ["EXPOSE 80 90-91/UDP", { exposedPorts: ["1/tcp", "80/tcp", "90/udp", "91/udp"] }],
    ['VOLUME ["/a", "/v"]', { volumes: ["/v", "/a"] }],
    ["VOLUME /a /b", { volumes: ["/v", "/a", "/b"] }],
    ["USER bee:bees", { user: "bee:bees" }],
    ["WORKDIR sub", { workingDir: "/w/sub" }],
    ["WORKDIR /sub", { workingDir: "/sub" }],
    ["STOPSIGNAL SIGINT", { stopSignal: "SIGINT" }],
    ['SHELL ["/bin/ash", "-c"]', { shell: ["/bin/ash", "-c"] }],
    ["HEALTHCHECK NONE", { health: HealthConfig.create({ test: ["NONE"] }) }],
    [
      "HEALTHCHECK --interval=1m30s --retries=2 CMD true now",
      {
        health: HealthConfig.create({
          ...{ test: ["CMD-SHELL", "true now"], intervalNs: 90e9, retries: 2 },
        }),
      },
    ],
    ["# a comment\nUSER \\\n bee", { user: "bee" }],
  ] as const) {
    it(`takes ${line}`, () => deepEqual(applyChanges(before, [line]), { ...before, ...change }));
  }

  for (const [line, message] of [
    ["RUN x", /RUN is not a valid change command/],
    ["CMD", /CMD requires at least one argument/],
    ["EXPOSE 0", /Invalid containerPort: 0/],
    ["EXPOSE 80/x", /Invalid containerPort/],
    ["ENV A=1 B", /can't find = in "B"/],
    ["ENV A", /ENV must have two arguments/],
    ["SHELL x", /SHELL takes a JSON list/],
    ["HEALTHCHECK x", /HEALTHCHECK takes NONE/],
    ["HEALTHCHECK --interval=x CMD y", /--interval=x is no duration/],
    ["ONBUILD USER x", /ONBUILD is not supported/],
  ] as const) {
    it(`refuses ${line}`, () =>
      throws(() => applyChanges(before, [line]), { code: "invalid-argument", message }));
  }
});

describe("agent/images/image-config", () => {
  it("writes what it reads", () => {
    const config = applyChanges(before, [
      "HEALTHCHECK --timeout=2s CMD x",
      "STOPSIGNAL 9",
      "USER bee",
    ]);
    const json = { config: configJson(config), rootfs: { type: "layers", diff_ids: [] } };
    deepEqual(parseImageConfig(Buffer.from(JSON.stringify(json))).config, config);
  });

  it("refuses what is no image", () => {
    for (const text of ["", "[]", "{}", '{"rootfs":{"diff_ids":["md5:x"]}}']) {
      throws(() => parseImageConfig(Buffer.from(text)), {
        code: "failed-precondition",
        message: /^this is no image that can be run/,
      });
    }
  });
});

describe("agent/exec/containerd/commit", () => {
  const own = (change: object) => ({ ...emptyContainerConfig, ...change });

  it("keeps the image's words where the user said nothing", () => {
    deepEqual(committedConfig(own({}), before), before);
  });

  it("takes over what the user said", () => {
    const change = {
      ...{ env: ["A=9", "C=3"], user: "u", workingDir: "/x", labels: { y: "2" } },
      ...{ command: ["d"], anonymousVolumes: ["/v", "/z"], stopSignal: "SIGHUP" },
    };
    deepEqual(committedConfig(own(change), before), {
      ...{ ...before, env: ["A=9", "B=2", "C=3"], user: "u", workingDir: "/x" },
      ...{ labels: { x: "1", y: "2" }, command: ["d"], volumes: ["/v", "/z"] },
      stopSignal: "SIGHUP",
    });
  });

  it("drops the image's command with its entrypoint", () => {
    deepEqual(committedConfig(own({ entrypoint: ["n"] }), before).command, []);
    const reset = committedConfig(own({ entrypoint: [""], command: ["d"] }), before);
    deepEqual([reset.entrypoint, reset.command], [[], ["d"]]);
  });
});
