/**
 * What a node says when a plan is made: who has the ports that tasks are to be given there.
 */
import { deepEqual } from "node:assert/strict";
import { emptyContainerConfig } from "../../../../../agent/exec/containerd/record.ts";
import type { PortName } from "../../../../../src/common/container/data-path.ts";
import { held } from "../../../../../src/engine/plan/held.ts";
import { fakeRuntime } from "../../../../support/fake-runtime.ts";

const question = { digests: [], paths: [], volumes: [] };

describe("src/engine/plan/held", () => {
  const asked: readonly PortName[] = [
    { protocol: "tcp", port: 80 },
    { protocol: "udp", port: 80 },
    { protocol: "tcp", port: 443 },
  ];

  it("names the program that listens at a port", async () => {
    const runtime = fakeRuntime();
    const nginx = { protocol: "udp", port: 80, address: "0.0.0.0", program: "nginx (7)" } as const;
    runtime.dataPath = { ...runtime.dataPath, programsAt: async () => [nginx] };
    const { portRefusals } = await held(runtime, { ...question, ports: asked });
    deepEqual(portRefusals, ["", "nginx (7) listens at 0.0.0.0", ""]);
  });

  it("names the container of the node that has a port, and none of a task", async () => {
    const runtime = fakeRuntime();
    const make = async (name: string, hostPort: number, rest: object = {}) => {
      const port = { protocol: "tcp", containerPort: 1, hostAddress: "", hostPort } as const;
      const config = { ...emptyContainerConfig, name, image: "busybox", ports: [port], ...rest };
      const { id } = await runtime.containers.create(config);
      await runtime.networks.give(runtime.containers.find(id));
    };
    const task = { taskId: "t", taskName: "a.1.t", nodeId: "n", serviceId: "s", serviceName: "a" };
    await make("web", 80);
    await make("a.1.t", 443, { task });
    const { portRefusals } = await held(runtime, { ...question, ports: asked });
    deepEqual(portRefusals, ["container web has it", "", ""]);
  });
});
