/**
 * The files a node makes for each container: /etc/hosts, /etc/hostname, /etc/resolv.conf. Their text is pure.
 */
import type { ContainerConfig } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { JoinedNetworks } from "./seams.ts";

/** Name servers when the node itself has none that a container could reach, as with Docker. */
const publicNameServers = ["8.8.8.8", "8.8.4.4"];

/**
 * Text of /etc/hosts.
 *
 * @param own The container's names at its addresses, and where it reaches its node.
 * @throws ClusterError invalid-argument for an entry that is none.
 */
export function hostsText(
  config: Pick<ContainerConfig, "extraHosts">,
  own: Partial<Pick<JoinedNetworks, "hosts" | "hostGateway">>,
): string {
  const lines = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "ff00::0\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
    ...config.extraHosts.flatMap((entry) => extraHost(entry, own.hostGateway)),
    ...(own.hosts ?? []).map(({ address, names }) => `${address}\t${names.join(" ")}`),
  ];
  return `${lines.join("\n")}\n`;
}

/** The machine's /etc/hosts with what is added, for containers in its network. */
export function hostsTextOfNode(
  nodeText: string,
  config: Pick<ContainerConfig, "extraHosts">,
): string {
  const lines = config.extraHosts.flatMap((entry) => extraHost(entry, "127.0.0.1"));
  const added = lines.map((line) => `${line}\n`).join("");
  return nodeText === "" || nodeText.endsWith("\n") ? nodeText + added : `${nodeText}\n${added}`;
}

/** @param node Where the container reaches its node: without it there is no such line. */
function extraHost(entry: string, node: string | undefined): string[] {
  const at = entry.search(/[:=]/);
  const [name, address] = [entry.slice(0, at), entry.slice(at + 1).replace(/^\[(.*)\]$/, "$1")];
  if (at < 1 || address === "") {
    throw new ClusterError("invalid-argument", `bad format for add-host: "${entry}"`);
  }
  const found = address === "host-gateway" ? node : address;
  return found === undefined ? [] : [`${found}\t${name}`];
}

/**
 * Text of /etc/resolv.conf.
 *
 * @param nodeText The machine's own.
 * @param o `ownNetwork`: whether the container has another loopback than the machine; `nameserver`: the only one that it is
 *   to ask, if there is such a one.
 */
export function resolvText(
  nodeText: string,
  config: Pick<ContainerConfig, "dns" | "dnsSearch" | "dnsOptions">,
  o: { readonly ownNetwork: boolean; readonly nameserver?: string | undefined },
): string {
  const lines = nodeText.split("\n").map((line) => line.trim());
  const values = (word: string) =>
    lines
      .filter((line) => line.startsWith(`${word} `) || line.startsWith(`${word}\t`))
      .map((line) => line.slice(word.length).trim());
  const reachable = values("nameserver").filter(
    (address) => !o.ownNetwork || !(address.startsWith("127.") || address === "::1"),
  );
  const found = reachable.length > 0 ? reachable : publicNameServers;
  const asked = config.dns.length > 0 ? config.dns : found;
  const servers = o.nameserver === undefined ? asked : [o.nameserver];
  // A lone dot says that there is to be no search list.
  const search = config.dnsSearch.length > 0 ? config.dnsSearch : values("search").slice(-1);
  const said = config.dnsOptions.length > 0 ? config.dnsOptions : values("options").slice(-1);
  // Names of services have no dots, and are asked for as they are.
  const isOurs = o.nameserver !== undefined && !/\bndots:/.test(said.join(" "));
  const options = isOurs ? [...said, "ndots:0"] : said;
  return [
    ...servers.map((address) => `nameserver ${address}\n`),
    ...(search.length > 0 && search.join(" ") !== "." ? [`search ${search.join(" ")}\n`] : []),
    ...(options.length > 0 ? [`options ${options.join(" ")}\n`] : []),
  ].join("");
}
