/**
 * What is told of programs at published ports, and how often.
 */
import { strict as assert } from "node:assert";
import { emptyClusterState } from "../../../../../agent/network/cluster-state.ts";
import { PortWatch } from "../../../../../agent/network/nft/port-watch.ts";
import type { PortUse, UsedPort } from "../../../../../agent/network/nft/used-ports.ts";
import { NetworkService, PortConfig } from "../../../../../src/common/api/generated/api.ts";
import { newLog } from "../../../../../src/common/log/log.ts";

const nginx: UsedPort = { protocol: "tcp", port: 80, address: "0.0.0.0", program: "nginx (7)" };

describe("agent/network/nft/port-watch.ts", () => {
  let lines: string[];
  let asked: (readonly PortUse[])[];
  let found: UsedPort[];
  let watch: PortWatch;

  beforeEach(() => {
    lines = [];
    asked = [];
    found = [nginx];
    watch = new PortWatch({
      log: newLog((line) => lines.push(line), { level: "warn" }),
      find: async (ports) => {
        asked.push(ports);
        return found;
      },
    });
  });

  it("names the port, the program and the service, once", async () => {
    await watch.look(publishing([80, "ingress"]), true);
    await watch.look(publishing([80, "ingress"]), true);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /port=80\/tcp program="nginx \(7\)" address=0.0.0.0 service=web$/);
  });

  it("names it again when it has been away", async () => {
    await watch.look(publishing([80, "ingress"]), true);
    found = [];
    await watch.look(publishing([80, "ingress"]), true);
    found = [nginx];
    await watch.look(publishing([80, "ingress"]), true);
    assert.equal(lines.length, 2);
  });

  it("looks only when ports are others, unless it is told to", async () => {
    await watch.look(publishing([80, "ingress"]), false);
    await watch.look(publishing([80, "ingress"]), false);
    await watch.look(publishing([80, "ingress"], [81, "ingress"]), false);
    await watch.look(publishing([80, "ingress"], [81, "ingress"], [82, "host"]), false);
    assert.deepEqual(
      asked.map((ports) => ports.map(({ port }) => port)),
      [[80], [80, 81]],
    );
  });
});

function publishing(...ports: (readonly [number, "ingress" | "host"])[]) {
  const service = NetworkService.create({
    id: "s",
    name: "web",
    ports: ports.map(([publishedPort, publishMode]) =>
      PortConfig.create({ protocol: "tcp", publishedPort, publishMode, targetPort: 1 }),
    ),
  });
  return { ...emptyClusterState, services: new Map([["s", service]]) };
}
