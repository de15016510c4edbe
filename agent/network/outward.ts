/**
 * The least rules that let containers reach what is outside: their addresses are replaced by the link's in the namespace
 * `swarm`, and that by the node's. Pure text for `nft -f -`.
 */
import { swarmDevices, uplinkDevice } from "./names.ts";

/** Name of the table in the node's own network. */
export function outwardTable(instance: string): string {
  return `skep_${instance}_out`;
}

/** Table of the node's own network. */
export function outwardHost(instance: string): string {
  return table(outwardTable(instance), `iifname "${uplinkDevice(instance)}" masquerade`);
}

/** Table of the namespace `swarm`. */
export function outwardSwarm(): string {
  return table("skep_out", `oifname "${swarmDevices.uplink}" masquerade`);
}

function table(name: string, rule: string): string {
  return [
    `add table inet ${name}`,
    `delete table inet ${name}`,
    `table inet ${name} {`,
    "  chain c_post {",
    "    type nat hook postrouting priority srcnat; policy accept;",
    `    ${rule}`,
    "  }",
    "}",
    "",
  ].join("\n");
}
