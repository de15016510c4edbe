/**
 * `GET /skep/explain/…` over HTTP: what is refused, nodes that are asked over tunnels and those that cannot be, and a cluster
 * without a leader.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import {
  Endpoint,
  Service,
  ServiceMode,
  ServiceSpec,
} from "../../../../src/common/api/generated/api.ts";
import type { LookRequest } from "../../../../src/common/container/data-path.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { duplexPair } from "../../../support/duplex-pair.ts";
import { startEngine, type TestEngine } from "../../../support/engine.ts";
import { plainLook } from "../../../support/fake-runtime.ts";

const id = "s".repeat(25);

describe("explaining over HTTP", function () {
  this.timeout(300_000);
  let manager: TestEngine;
  let worker: TestEngine;

  beforeEach(async () => {
    [manager, worker] = await Promise.all([startEngine(), startEngine()]);
    const annotations = { name: "web", labels: {} };
    const port = { name: "", protocol: "tcp", targetPort: 80, publishedPort: 8080 } as const;
    const ports = [{ ...port, publishMode: "ingress" as const }];
    await manager.store.update((tx) => {
      const mode = ServiceMode.create({ replicated: { replicas: 0 } });
      const spec = ServiceSpec.create({ annotations, mode });
      tx.create("service", Service.create({ id, spec, endpoint: Endpoint.create({ ports }) }));
    });
    const listens = [{ protocol: "tcp", port: 8080 }] as const;
    for (const engine of [manager, worker]) {
      engine.runtime.dataPath = {
        ...engine.runtime.dataPath,
        look: async () => ({ ...plainLook, listens }),
      };
    }
  });

  afterEach(async () => {
    await Promise.all([manager.stop(), worker.stop()]);
  });

  /** Tunnels that lead to the other API. */
  function connect(): void {
    manager.setTunnels({
      open: async () => {
        const [mine, theirs] = duplexPair();
        worker.serveTunnel(theirs);
        return { stream: mine, onSilent: () => undefined };
      },
    });
  }

  const explain = (kind: string, name: string) =>
    manager.send("GET", `/v1.41/skep/explain/${kind}/${name}`);

  it("refuses what is not there as Docker does, and what is no port", async () => {
    for (const [kind, name, status, message] of [
      ["service", "nobody", 404, "service nobody not found"],
      ["task", "nobody", 404, "task nobody not found"],
      ["port", "9", 404, "port 9 not found: no service publishes it"],
      ["port", "8080/udp", 404, "port 8080/udp not found: no service publishes it"],
      [
        "port",
        "70000",
        400,
        "invalid port 70000: a number from 1 to 65535, with /tcp, /udp or /sctp if need be",
      ],
    ] as const) {
      const answer = await explain(kind, name);
      deepEqual([answer.status, answer.message], [status, message]);
    }
  });

  it("is refused by workers, in Docker's words", async () => {
    manager.setStatus({ isManager: false, controlAvailable: false });
    const { status, message } = await explain("service", "web");
    equal(status, 503);
    match(message, /^This node is not a swarm manager\. Worker nodes can't be used/);
  });

  it("asks other nodes over tunnels, and shows what they found", async () => {
    connect();
    const asked: LookRequest[] = [];
    const differences = [{ where: "swarm", what: "device vx4097 is missing" }];
    const { dataPath } = worker.runtime;
    worker.runtime.dataPath = {
      ...worker.runtime.dataPath,
      look: async (request, signal) => {
        asked.push(request);
        return { ...(await dataPath.look(request, signal)), differences };
      },
    };
    const answer = await explain("service", "web");
    equal(answer.status, 200);
    equal(
      answer.at("Verdict"),
      "service web: 1 fault: on host-2, in the namespace of the data path: device vx4097 is missing",
    );
    deepEqual(
      [answer.at("Nodes", 0, "Answered"), answer.at("Nodes", 1, "Answered"), answer.at("Faults")],
      [true, true, 1],
    );
    const ports = [{ protocol: "tcp", port: 8080 }];
    deepEqual(asked, [{ networkIds: [], serviceIds: [id], ports, names: [], probes: [] }]);
  });

  it("says which node cannot be asked, with what the others have", async () => {
    const answer = await explain("port", "8080");
    match(
      String(answer.at("Verdict")),
      /^port 8080\/tcp: 1 fault: node host-2 \(127\.0\.0\.1\) does not answer: node \w+ is not available$/,
    );
    deepEqual(
      [answer.at("Nodes", 0, "Answered"), answer.at("Nodes", 1, "Answered")],
      [true, false],
    );
  });

  it("says what a node refuses", async () => {
    connect();
    worker.runtime.dataPath = {
      ...worker.runtime.dataPath,
      look: async () => {
        throw new ClusterError("unavailable", "ip cannot be started");
      },
    };
    const answer = await explain("service", "web");
    match(String(answer.at("Nodes", 1, "Err")), /ip cannot be started/);
  });

  it("explains without a leader, and says so first", async () => {
    connect();
    manager.loseLeader();
    const answer = await explain("service", "web");
    match(String(answer.at("Verdict")), /^service web: 1 fault: the managers have no leader/);
    equal(answer.at("Nodes", 1, "Answered"), true);
  });

  it("lets nobody look at a node but its managers", async () => {
    const { status, message } = await manager.send("POST", "/skep/look", { body: {} });
    deepEqual([status, message], [404, "page not found"]);
  });
});
