/**
 * When a task counts as ready that has no health check: which ports are waited for, how long, and what the kernel's tables say.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import {
  type ListenPort,
  listenTerms,
  type SocketTables,
  silentPorts,
  untilListened,
} from "../../../../agent/network/listeners.ts";
import {
  Annotations,
  Endpoint,
  EndpointSpec,
  PortConfig,
  Task,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";

const rest =
  "00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 20 0 0 10 -1";
const web = { protocol: "tcp", port: 80 } as const;
const dns = { protocol: "udp", port: 53 } as const;

function task(ports: readonly Partial<PortConfig>[], labels: Record<string, string> = {}): Task {
  const spec = EndpointSpec.create({ ports: ports.map((port) => PortConfig.create(port)) });
  return Task.create({
    endpoint: Endpoint.create({ spec }),
    serviceAnnotations: Annotations.create({ labels }),
  });
}

describe("agent/network/listeners", () => {
  it("waits for published ports, 10 s when the service says nothing", () => {
    const ports = [
      { protocol: "tcp", targetPort: 80, publishMode: "ingress" },
      { protocol: "udp", targetPort: 53, publishMode: "host" },
      { protocol: "sctp", targetPort: 7 },
    ] as const;
    deepEqual(listenTerms(task(ports)), { ports: [web, dns], limitMs: 10_000 });
  });

  const labels: readonly (readonly [string, number | undefined])[] = [
    ["1m", 60_000],
    ["0", undefined],
    ["soon", 10_000],
  ];
  for (const [label, limitMs] of labels) {
    it(`follows the label ${label}`, () => {
      const one = task([{ protocol: "tcp", targetPort: 80 }], { "skep.listen": label });
      equal(listenTerms(one)?.limitMs, limitMs);
    });
  }

  it("waits for nothing where nothing is published", () => {
    equal(listenTerms(task([])), undefined);
    equal(listenTerms(Task.create({})), undefined);
    equal(listenTerms(task([{ protocol: "sctp", targetPort: 7 }])), undefined);
  });

  const tables: readonly (readonly [string, Partial<SocketTables>, readonly ListenPort[]])[] = [
    ["nobody", {}, [web, dns]],
    ["a listener on all addresses", { tcp: `   0: 00000000:0050 00000000:0000 0A ${rest}` }, [dns]],
    [
      "a listener on all addresses of IPv6",
      {
        tcp: `   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A ${rest}`,
      },
      [dns],
    ],
    ["one on loopback", { tcp: `   0: 0100007F:0050 00000000:0000 0A ${rest}` }, [web, dns]],
    ["one of another port", { tcp: `   0: 00000000:0051 00000000:0000 0A ${rest}` }, [web, dns]],
    ["a connection alone", { tcp: `   0: 0200000A:0050 0300000A:9999 01 ${rest}` }, [web, dns]],
    ["a socket of UDP", { udp: `   0: 0200000A:0035 00000000:0000 07 ${rest}` }, [web]],
  ];
  for (const [what, some, silent] of tables) {
    it(`knows who is called where there is ${what}`, () => {
      deepEqual(silentPorts([web, dns], { tcp: "", udp: "", ...some }), silent);
    });
  }

  describe("waiting", () => {
    const terms = { ports: [web], limitMs: 1000 };
    const open = { tcp: `   0: 00000000:0050 00000000:0000 0A ${rest}`, udp: "" };
    const none = { tcp: "", udp: "" };
    let clock: FakeClock;
    let now: SocketTables | undefined;
    let silent: readonly ListenPort[] | undefined;

    async function begin(signal = new AbortController().signal): Promise<void> {
      [clock, now, silent] = [new FakeClock(), none, undefined];
      const done = untilListened(7, terms, { clock, signal }, async () => now);
      void done.then(
        (ports) => {
          silent = ports;
        },
        () => undefined,
      );
      await clock.advance(0);
    }

    it("ends when somebody listens", async () => {
      await begin();
      await clock.advance(500);
      equal(silent, undefined);
      now = open;
      await clock.advance(50);
      deepEqual(silent, []);
    });

    it("ends with its time, and tells what is silent", async () => {
      await begin();
      await clock.advance(950);
      equal(silent, undefined);
      await clock.advance(50);
      deepEqual(silent, [web]);
    });

    it("does not take a process that has ended for one that listens", async () => {
      await begin();
      now = undefined;
      await clock.advance(950);
      equal(silent, undefined);
      await clock.advance(50);
      deepEqual(silent, [web]);
    });

    it("does not wait for a process that is not known", async () => {
      const o = { clock: new FakeClock(), signal: new AbortController().signal };
      deepEqual(await untilListened(0, terms, o, async () => none), []);
    });

    it("ends with its signal", async () => {
      const stop = new AbortController();
      const o = { clock: new FakeClock(), signal: stop.signal };
      const done = untilListened(7, terms, o, async () => none);
      stop.abort(new Error("gone"));
      await rejects(done, /gone/);
    });
  });
});
