/**
 * `skep stack export`: a Compose file of what runs.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { exported } from "../../stack/export.ts";
import { projectText } from "../../stack/print.ts";
import type { Json } from "./client.ts";
import type { StackRun } from "./io.ts";

/** @throws ClusterError not-found for a stack without services. */
export async function exportStack({ client, io }: StackRun, stack: string): Promise<void> {
  const services = await client.ofStack("services", stack);
  if (services.length === 0)
    throw new ClusterError("not-found", `nothing found in stack: ${stack}`);
  const networks = (await client.call({ method: "GET", path: "/networks" })) as readonly Json[];
  const configs = (await client.call({ method: "GET", path: "/configs" })) as readonly Json[];
  const { project, warnings } = exported({
    stack,
    services: services.map(({ spec }) => spec),
    networks,
    configs,
  });
  for (const warning of warnings) io.fail(`warning: ${warning}\n`);
  io.out(projectText(project));
}
