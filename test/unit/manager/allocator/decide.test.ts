/**
 * Which new tasks may pass before there is a data path, and what the others say.
 */
import assert from "node:assert/strict";
import { allocate } from "../../../../manager/allocator/decide.ts";
import {
  Driver,
  Endpoint,
  EndpointSpec,
  Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  PortConfig,
  type PublishMode,
  Task,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";

const networks = new Map(
  [
    ["h", "host", "host"],
    ["o", "back", "overlay"],
    ["b", "bridge", "bridge"],
  ].map(([id = "", name = "", driver = ""]) => {
    const annotations = { name, labels: {} };
    const spec = NetworkSpec.create({ annotations, driver: Driver.create({ name: driver }) });
    return [id, Network.create({ id, spec })];
  }),
);

function decided(targets: readonly string[], ports: readonly (readonly [number, PublishMode])[]) {
  const task = Task.create({
    spec: TaskSpec.create({
      networks: targets.map((target) => NetworkAttachmentConfig.create({ target })),
    }),
    endpoint: Endpoint.create({
      spec: EndpointSpec.create({
        ports: ports.map(([publishedPort, publishMode]) =>
          PortConfig.create({ publishedPort, targetPort: 80, publishMode }),
        ),
      }),
    }),
  });
  return allocate(task, (id) => networks.get(id));
}

describe("manager/allocator/decide", () => {
  it("lets tasks pass that need nothing", () => {
    assert.deepEqual(decided([], []), { kind: "pass", networks: [], hostPorts: [] });
  });

  it("lets tasks pass whose network and ports are the node's own", () => {
    const allocation = decided(["h"], [[8080, "host"]]);
    assert.equal(allocation.kind, "pass");
    if (allocation.kind !== "pass") return;
    assert.deepEqual(allocation.networks, ["h"]);
    assert.deepEqual(
      allocation.hostPorts.map(({ publishedPort }) => publishedPort),
      [8080],
    );
  });

  for (const [fact, targets, ports, reason] of [
    [
      "an overlay network",
      ["o"],
      [],
      /^network back cannot be attached to yet: .* remove the network/,
    ],
    ["the bridge", ["b"], [], /^network bridge cannot be attached to yet/],
    ["a network that is gone", ["x"], [], /^network x cannot be attached to yet/],
    ["several networks, named all", ["o", "h", "b"], [], /^network back, bridge cannot/],
    [
      "a port of the mesh",
      [],
      [
        [8080, "ingress"],
        [9090, "host"],
      ],
      /^port 8080 cannot be published yet: .* mode=host/,
    ],
    ["a port of the mesh yet to be chosen", [], [[0, "ingress"]], /^port 80 cannot be published/],
  ] as const) {
    it(`has a task wait for ${fact}, and says what can be done`, () => {
      const allocation = decided(targets, ports);
      assert.match(allocation.kind === "wait" ? allocation.reason : "", reason);
    });
  }
});
