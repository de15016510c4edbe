/**
 * What the programs of this folder have in common: a lab with a registry, formed to a cluster, and at the end the machine as
 * it was before.
 */
import { cgroupParentOf } from "../../src/common/ids/instance.ts";
import { leftBehind, machineState } from "../support/leaks.ts";
import { startRegistry } from "../support/registry.ts";
import { SwarmLab } from "../support/swarm-lab.ts";

/** Where the registry of the lab has the test images. */
export const registryAddress = "10.77.0.1:5000";

/** Who takes part. */
export interface Cluster {
  readonly name: string;
  readonly managers: readonly string[];
  readonly workers: readonly string[];
}

/** Runs `work` on a new cluster, tells what it and the machine complain of, and resolves with the exit code. */
export async function onLab(
  { name, managers, workers }: Cluster,
  work: (lab: SwarmLab, problems: string[]) => Promise<void>,
): Promise<number> {
  const before = machineState();
  const problems: string[] = [];
  const hosts = [...managers, ...workers];
  const lab = await SwarmLab.up(name, hosts);
  const ours = hosts.map((host) => cgroupParentOf(lab.data(host)));
  try {
    await lab.form(managers, workers);
    const networkOf = lab.playground.labPid();
    if (networkOf === undefined) throw new Error("the lab has no network");
    const [host, port] = registryAddress.split(":");
    const registry = await startRegistry({ host: `${host}`, port: Number(port), networkOf });
    try {
      await registry.pushTestImages();
      await work(lab, problems);
    } finally {
      await registry.stop();
    }
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    await lab.down();
  }
  problems.push(...(await leftBehind(before, { waitMs: 20_000, ours })));
  for (const problem of problems) process.stdout.write(`  FAILED ${problem}\n`);
  process.stdout.write(problems.length === 0 ? "1 passed, 0 failed\n" : "0 passed, 1 failed\n");
  return problems.length === 0 ? 0 : 1;
}
