/**
 * `skep swarm rebalance [auto|off]`: what Docker's own command has no flag for, among the labels of the swarm.
 */
import { parseArgs } from "node:util";
import { errorText } from "../common/errors/cluster-error.ts";
import { rebalanceLabel, rebalanceValues } from "../common/spec/rebalance-label.ts";
import { ask, defaultHost, goodText } from "./api.ts";
import type { CommandIo } from "./io.ts";

const usage = `Usage: skep swarm rebalance [auto|off]

Says whether the tasks of replicated services are spread anew when a node joins or returns, or sets it. With auto, 10 s after
the node came tasks move to it from nodes that have more of their service, as many at a time and in the order the service's
updates go; tasks with local volumes stay. The label skep.rebalance (auto or off) on a service goes before this. What is
uneven now stays so until then: skep service rebalance NAME evens it at once.

Flags:
  -H, --host HOST   Daemon to ask (DOCKER_HOST, else ${defaultHost})
`;

/** The part of `GET /swarm` that matters here. */
interface SwarmJson {
  readonly Version: { readonly Index: number };
  readonly Spec: { readonly Labels?: Readonly<Record<string, string>> | null };
}

/** Runs the command; resolves with its exit code. Never rejects. */
export async function runSwarm(argv: readonly string[], io: CommandIo): Promise<number> {
  const { environment, out, fail } = io;
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { host: { type: "string", short: "H" }, help: { type: "boolean", short: "h" } },
    });
    if (values.help === true) {
      out(usage);
      return 0;
    }
    const [verb, wanted, ...rest] = positionals;
    const isKnown = wanted === undefined || rebalanceValues.some((value) => value === wanted);
    if (verb !== "rebalance" || !isKnown || rest.length > 0) {
      fail(usage);
      return 2;
    }
    const at = { host: values.host ?? (environment["DOCKER_HOST"] || defaultHost), environment };
    const answer = goodText(await ask(at, { method: "GET", path: "/swarm" }));
    const { Version, Spec } = JSON.parse(answer) as SwarmJson;
    const present = Spec.Labels?.[rebalanceLabel] ?? "off";
    if (wanted !== undefined && wanted !== present) {
      const path = `/swarm/update?version=${Version.Index}`;
      const body = { ...Spec, Labels: { ...Spec.Labels, [rebalanceLabel]: wanted } };
      goodText(await ask(at, { method: "POST", path, body }));
    }
    out(`${wanted ?? present}\n`);
    return 0;
  } catch (error) {
    fail(`skep swarm: ${errorText(error)}\n`);
    return 1;
  }
}
