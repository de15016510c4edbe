/**
 * Before a task is told to stop: whether it is waited for, for what, and how long; and which connections count.
 */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { emptyClusterState } from "../../../../../agent/network/cluster-state.ts";
import { countConnections, passiveOpens } from "../../../../../agent/network/drain/connections.ts";
import { drainTerms, drainWaitMs } from "../../../../../agent/network/drain/decide.ts";
import { drain } from "../../../../../agent/network/drain/drain.ts";
import {
  NetworkAttachment,
  NetworkEndpoint,
  NetworkService,
  PortConfig,
} from "../../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../../src/common/clock/clock.ts";
import type { Container } from "../../../../../src/common/container/types.ts";

const task = { taskId: "t", taskName: "web.1", nodeId: "n", serviceId: "s", serviceName: "web" };

function cluster(service: Partial<NetworkService> = {}, networks = ["front"]) {
  const made = NetworkService.create({ id: "s", name: "web", ...service });
  const endpoint = NetworkEndpoint.create({
    id: "t",
    serviceId: "s",
    networks: networks.map((networkId) => NetworkAttachment.create({ networkId })),
  });
  return {
    ...emptyClusterState,
    services: new Map([["s", made]]),
    endpoints: new Map([["t", endpoint]]),
  };
}

describe("agent/network/drain", () => {
  describe("terms", () => {
    it("are ten seconds for the nodes and two for connections when the service says nothing", () => {
      deepEqual(drainTerms(task, cluster()), { hearMs: 10_000, limitMs: 2000 });
    });

    const labels: readonly (readonly [string, { hearMs: number; limitMs: number } | undefined])[] =
      [
        ["30s", { hearMs: 30_000, limitMs: 30_000 }],
        ["200ms", { hearMs: 200, limitMs: 200 }],
        ["0", undefined],
        ["0s", undefined],
        ["long", { hearMs: 10_000, limitMs: 2000 }],
        ["48h", { hearMs: 3_600_000, limitMs: 3_600_000 }],
      ];
    for (const [label, expected] of labels) {
      it(`follow the label ${label}`, () => {
        deepEqual(drainTerms(task, cluster({ options: { "skep.drain": label } })), expected);
      });
    }

    it("are none for a task that nobody is led to", () => {
      equal(drainTerms(undefined, cluster()), undefined);
      equal(drainTerms({ ...task, serviceId: "other" }, cluster()), undefined);
      equal(drainTerms({ ...task, taskId: "other" }, cluster()), undefined);
      equal(drainTerms(task, cluster({}, [])), undefined);
    });

    it("are there for a task with ports of its node alone", () => {
      const ports = [PortConfig.create({ targetPort: 80, publishMode: "host" })];
      ok(drainTerms(task, cluster({ ports }, [])) !== undefined);
    });
  });

  const waits: readonly (readonly [boolean, number, number, number | undefined, number])[] = [
    // All nodes have heard, elapsed, without anybody new, connections, wait.
    [true, 0, 0, undefined, 100],
    [true, 100, 100, 0, 0],
    [true, 100, 100, undefined, 0],
    [true, 100, 100, 3, 100],
    [true, 900, 20, undefined, 100],
    [true, 1950, 600, 3, 50],
    [true, 1950, 10, undefined, 50],
    [true, 2000, 600, 3, 0],
    [true, 2000, 0, undefined, 0],
    [false, 100, 100, undefined, 100],
    [false, 500, 500, 0, 0],
    [false, 500, 500, 3, 100],
    [false, 500, 400, undefined, 100],
    [false, 2000, 0, undefined, 0],
  ];
  for (const [isHeard, elapsedMs, quietMs, connections, expected] of waits) {
    const seen = { isHeard, elapsedMs, quietMs, connections };
    it(`waits ${expected} ms with ${JSON.stringify(seen)}`, () => {
      equal(drainWaitMs({ hearMs: 10_000, limitMs: 2000 }, seen), expected);
    });
  }

  describe("waiting", () => {
    const container = {
      config: { task } as Container["config"],
      state: { pid: 7 } as Container["state"],
    };
    let clock: FakeClock;
    let open: number;
    let taken: number;
    let isDone: boolean;
    /** All nodes have heard; or, with an error, nobody can tell. */
    let heard: (error?: Error) => void;
    const stop = new AbortController();

    async function begun(options: Readonly<Record<string, string>> = {}): Promise<void> {
      [clock, open, taken, isDone] = [new FakeClock(), 2, 7, false];
      const state = cluster({ options });
      const settled = () =>
        new Promise<void>((resolve, reject) => {
          heard = (error) => (error === undefined ? resolve() : reject(error));
        });
      const o = { cluster: state, clock, signal: stop.signal, settled };
      const look = { open: async () => open, taken: async () => taken };
      void drain(container, o, look).then(() => {
        isDone = true;
      });
      await clock.advance(0);
    }

    it("ends when all nodes have heard and the last connection is closed", async () => {
      await begun();
      await clock.advance(900);
      heard();
      await clock.advance(1100);
      equal(isDone, false);
      open = 0;
      await clock.advance(100);
      equal(isDone, true);
    });

    it("ends without a connection a moment after all nodes have heard", async () => {
      await begun();
      open = 0;
      await clock.advance(9900);
      equal(isDone, false);
      heard();
      await clock.advance(0);
      equal(isDone, true);
    });

    it("goes on while somebody new comes", async () => {
      await begun();
      open = 0;
      heard();
      for (let come = 0; come < 7; come++) {
        taken += 1;
        await clock.advance(100);
        equal(isDone, false);
      }
      await clock.advance(100);
      equal(isDone, true);
    });

    it("waits for longer without anybody new when nobody can tell who has heard", async () => {
      await begun();
      open = 0;
      heard(new Error("no manager"));
      await clock.advance(400);
      equal(isDone, false);
      await clock.advance(100);
      equal(isDone, true);
    });

    it("does not wait for ever for a node that does not hear", async () => {
      await begun();
      open = 0;
      await clock.advance(9900);
      equal(isDone, false);
      await clock.advance(100);
      equal(isDone, true);
    });

    it("ends with its time", async () => {
      await begun({ "skep.drain": "5s" });
      heard();
      await clock.advance(0);
      await clock.advance(4900);
      equal(isDone, false);
      await clock.advance(100);
      equal(isDone, true);
    });

    it("ends with its signal", async () => {
      const done = drain(container, {
        cluster: cluster(),
        clock: new FakeClock(),
        signal: stop.signal,
        settled: () => new Promise(() => {}),
      });
      stop.abort(new Error("gone"));
      await rejects(done, /gone/);
    });
  });

  it("reads how many connections were taken", () => {
    const text =
      "Tcp: RtoMin ActiveOpens PassiveOpens InSegs\nTcp: 200 4 12 -1\nUdp: NoPorts\nUdp: 3\n";
    equal(passiveOpens(text), 12);
    equal(passiveOpens("Tcp: RtoMin\nTcp: 200\n"), undefined);
    equal(passiveOpens("Udp: PassiveOpens\nUdp: 200\n"), undefined);
    equal(passiveOpens(""), undefined);
  });

  it("counts connections of others to ports that are listened on", () => {
    const rest =
      "00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 20 0 0 10 -1";
    const lines = [
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
      `   0: 00000000:1F90 00000000:0000 0A ${rest}`,
      `   1: 0B00010A:1F90 0C00010A:C350 01 ${rest}`, // A client.
      `   2: 0B00010A:1F90 0C00010A:C351 06 ${rest}`, // It is over.
      `   3: 0B00010A:C352 0C00010A:1F90 01 ${rest}`, // The container's own call.
      `   4: 0100007F:1F90 0100007F:C353 01 ${rest}`, // To itself.
      "  sl  local_address                         remote_address                        st tx_queue rx_queue",
      `   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A ${rest}`,
      `   1: 0000000000000000FFFF00000B00010A:0050 0000000000000000FFFF00000C00010A:C350 01 ${rest}`,
      `   2: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000100007F:C350 01 ${rest}`,
      `   3: 00000000000000000000000001000000:0050 00000000000000000000000001000000:C351 01 ${rest}`,
      `   4: 000001FD00000000000000000B000000:0050 000001FD00000000000000000C000000:C351 01 ${rest}`,
      "garbage",
    ];
    equal(countConnections(lines.join("\n")), 3);
    equal(countConnections(""), 0);
  });
});
