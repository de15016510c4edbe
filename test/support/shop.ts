/**
 * The shop of `examples/shop`, as its callers see it: for the end-to-end test that deploys it and for the demo.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { address6Of } from "../../src/playground/lab.ts";
import type { NodeView } from "../../src/playground/playground.ts";
import type { OutsideClient } from "./outside.ts";

/** Where the example is. */
export const shopFolder = fileURLToPath(new URL("../../../examples/shop", import.meta.url));

/** The port at which the shop answers on every node. */
export const shopPort = 8080;

/** Longest a call may take, milliseconds: two replicas are emulated, on a machine that may be busy. */
export const shopCallMs = 20_000;

/** What the shop's secret is, without the line's end. */
export function shopPassword(folder = shopFolder): string {
  return readFileSync(join(folder, "password"), "utf8").trim();
}

/** One answer of the shop. */
export interface ShopPage {
  readonly title: string;
  /** Of the image; 0 when it says none. */
  readonly release: number;
  /** Such as `web.2`. */
  readonly replica: string;
  readonly node: string;
  /** As `uname -m` has it. */
  readonly machine: string;
  /** The caller, as the server sees it. */
  readonly caller: string;
  /** How many visits the database has counted; undefined while it does not answer. */
  readonly visits: number | undefined;
}

/** @throws Error when it is no page of the shop. */
export function parseShopPage(text: string): ShopPage {
  const match =
    /^(.+?)(?:, release (\d+))?\nserved by (\S+) on (\S+) \((\S+)\) for (\S+)\nvisits: (.+)$/.exec(
      text,
    );
  if (match === null) throw new Error(`not a page of the shop: ${text}`);
  const [, title = "", release = "0", replica = "", node = "", machine = "", caller = ""] = match;
  const visits = /^\d+$/.test(match[7] ?? "") ? Number(match[7]) : undefined;
  return { title, release: Number(release), replica, node, machine, caller, visits };
}

/** Asks one node for the page, over IPv4 or IPv6. */
export async function visitShop(
  client: OutsideClient,
  host: string,
  withinMs = shopCallMs,
): Promise<ShopPage> {
  return parseShopPage(await client.text({ protocol: "tcp", host, port: shopPort }, withinMs));
}

/** Both addresses of each node that is on. */
export function shopDoors(nodes: readonly NodeView[]): string[] {
  return nodes
    .filter(({ hostPid }) => hostPid !== undefined)
    .flatMap(({ address }) => [address, address6Of(address)]);
}
