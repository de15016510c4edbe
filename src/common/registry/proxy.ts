/**
 * Proxies from the environment, as Docker's daemon reads them: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in either case.
 *
 * Which proxy is pure; the tunnel through it is a socket on which CONNECT was answered.
 */
import { request } from "node:http";
import type { Socket } from "node:net";
import { ClusterError } from "../errors/cluster-error.ts";
import { registryConnectMs } from "../limits/limits.ts";
import { contains, parseAddress, parsePrefix } from "../spec/cidr.ts";
import { hostName, loopbackRanges } from "./settings.ts";

/** Variables of the environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for an address, or undefined for none. What is on this machine is always reached without.
 *
 * @throws ClusterError `invalid-argument` when the variable is no address of an HTTP proxy.
 */
export function proxyFor(url: URL, environment: Environment): URL | undefined {
  const variable = url.protocol === "https:" ? "https_proxy" : "http_proxy";
  const text = variableOf(environment, variable);
  if (text === "" || isExempt(url, variableOf(environment, "no_proxy"))) return undefined;
  const written = text.includes("://") ? text : `http://${text}`;
  const proxy = URL.canParse(written) ? new URL(written) : undefined;
  if (proxy?.protocol !== "http:") {
    throw new ClusterError(
      "invalid-argument",
      `${variable.toUpperCase()}: give the address of a proxy such as http://proxy.example:3128`,
    );
  }
  return proxy;
}

/** `Proxy-Authorization` for the user and password in the proxy's address, if it has them. */
export function proxyHeaders(proxy: URL): Record<string, string> {
  if (proxy.username === "") return {};
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { "proxy-authorization": `Basic ${Buffer.from(pair).toString("base64")}` };
}

/** Opens a way through the proxy to `host:port`. */
export function tunnelThrough(proxy: URL, target: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (text: string, cause?: unknown) =>
      reject(
        new ClusterError("unavailable", `proxyconnect tcp: ${proxy.host}: ${text}`, { cause }),
      );
    const connect = request({
      method: "CONNECT",
      host: hostName(proxy.host),
      port: proxy.port || "80",
      path: target,
      headers: { host: target, ...proxyHeaders(proxy) },
      timeout: registryConnectMs,
      agent: false,
    });
    connect.once("connect", (response, socket) => {
      if (response.statusCode === 200) resolve(socket as Socket);
      else {
        socket.destroy();
        fail(`${response.statusCode ?? 0} ${response.statusMessage ?? ""}`.trim());
      }
    });
    connect.once("timeout", () => connect.destroy(new Error("i/o timeout")));
    connect.once("error", (error) => fail(error.message, error));
    connect.end();
  });
}

function variableOf(environment: Environment, name: string): string {
  return (environment[name.toUpperCase()] ?? environment[name] ?? "").trim();
}

function isExempt(url: URL, list: string): boolean {
  const host = hostName(url.host).toLowerCase();
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  const address = parseAddress(host);
  if (host === "localhost") return true;
  if (address !== undefined) {
    const loopback = loopbackRanges.map(parsePrefix);
    if (loopback.some((prefix) => prefix !== undefined && contains(prefix, address))) return true;
  }
  return list.split(/[,\s]+/).some((item) => {
    const entry = item.toLowerCase();
    if (entry === "*") return true;
    const prefix = parsePrefix(entry);
    if (prefix !== undefined) return address !== undefined && contains(prefix, address);
    const [, name = "", wantedPort = ""] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry) ?? [];
    if (name === "" || (wantedPort !== "" && wantedPort !== port)) return false;
    return host === name || (address === undefined && host.endsWith(`.${name}`));
  });
}
