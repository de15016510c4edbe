/**
 * Tries to open TCP connections from a network namespace: one that is taken or refused has arrived, and so has its answer.
 */
import { connect, type Socket } from "node:net";
import { performance } from "node:perf_hooks";
import type { Probe, ProbeResult } from "../../../src/common/container/data-path.ts";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import { probeMs } from "../../../src/common/limits/network.ts";
import { within } from "../namespace.ts";

/** @param file Keeps the namespace; the daemon's own when undefined. Never rejects. */
export function probe(file: string | undefined, wanted: Probe): Promise<ProbeResult> {
  const begin = performance.now();
  const result = (outcome: ProbeResult["outcome"], error = ""): ProbeResult => ({
    ...wanted,
    outcome,
    ms: Math.round((performance.now() - begin) * 10) / 10,
    error,
  });
  return new Promise((resolve) => {
    let socket: Socket;
    try {
      const open = () => connecting(wanted);
      socket = file === undefined ? open() : within(file, open);
    } catch (error) {
      resolve(result("unmade", errorText(error)));
      return;
    }
    const timer = setTimeout(() => end("silent"), probeMs);
    const end = (outcome: ProbeResult["outcome"], error = "") => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result(outcome, error));
    };
    socket.once("connect", () => end("open"));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") end("refused");
      else if (error.code === "ETIMEDOUT") end("silent");
      else end("failed", error.code ?? errorText(error));
    });
  });
}

function connecting({ address, port }: Probe): Socket {
  const family = address.includes(":") ? 6 : 4;
  return connect({
    host: "probed",
    port,
    autoSelectFamily: false,
    // Found at once: the socket has to be open before the namespace is left.
    lookup: (_host, _options, found) => found(null, address, family),
  });
}
