/**
 * What users read about nodes that cannot run something: Docker's texts, and for platforms which node runs what. Pure.
 */
import type { Platform, Task } from "../../src/common/api/generated/api.ts";
import { nodeRunsImage, normalizePlatform, platformText } from "../../src/common/platform/match.ts";
import { isPlatformRefusal, unsupportedPlatform } from "../../src/common/platform/refusal.ts";
import type { Group } from "./group.ts";
import type { NodeInfo } from "./node-info.ts";

/** Nodes and platforms named in one explanation; the rest is counted. */
export const namedMax = 5;
/** Whether the task ended because its node cannot run the image. */
export function hasRefusedPlatform({ status }: Task): boolean {
  const hasEnded = status?.state === "rejected" || status?.state === "failed";
  return hasEnded && isPlatformRefusal(status.error);
}

/** `insufficient resources on 1 node`, `... on 3 nodes`. */
export function onNodes(text: string, count: number): string {
  return `${text} on ${nodesText(count)}`;
}

/** `1 node`, `3 nodes`. */
export function nodesText(count: number): string {
  return count === 1 ? "1 node" : `${count} nodes`;
}

/** Docker's text, and which nodes run what instead. */
export function explainPlatforms(group: Group, nodes: readonly NodeInfo[]): string {
  const { reference, digest, platforms } = group.image;
  const named = nodes.slice(0, namedMax);
  const texts = named.map((info) => {
    const refused = info.hasRefused(reference, digest) ? " and refused the image" : "";
    return `${info.name} runs ${nativeText(info)}${refused}`;
  });
  const more = nodes.length > namedMax ? [`${nodes.length - namedMax} more`] : [];
  const image = platforms.length === 0 ? [] : [`the image is for ${listText(platforms)}`];
  const facts = [...image, ...texts, ...more].join(", ");
  return `${onNodes(unsupportedPlatform, nodes.length)}: ${facts}${emulationHint(group, named)}`;
}

/** The best platform of a node says the rest: a level runs all lower ones. */
function nativeText(info: NodeInfo): string {
  const best = new Map<string, Platform>();
  for (const platform of info.platforms) {
    const { os, architecture } = normalizePlatform(platform);
    const key = `${os}/${architecture}`;
    if (!platform.emulated && !best.has(key)) best.set(key, normalizePlatform(platform));
  }
  return best.size === 0 ? "an unknown platform" : [...best.values()].map(platformText).join("+");
}

/** Said once, of those where an emulator would run what the image is for. */
function emulationHint({ mayEmulate, image }: Group, named: readonly NodeInfo[]): string {
  if (mayEmulate) return "";
  const could = named.filter(
    (info) =>
      !info.mayEmulate &&
      info.platforms.some(({ emulated }) => emulated) &&
      nodeRunsImage(info.platforms, image.platforms, { emulated: true }),
  );
  if (could.length === 0) return "";
  const names = could.map(({ name }) => name).join(", ");
  const where = could.length === named.length ? "" : `on ${names} `;
  return ` (${where}by emulation only, if the node or the service has the label skep.emulation=allow)`;
}

function listText(platforms: readonly Platform[]): string {
  const texts = [...new Set(platforms.map((p) => platformText(normalizePlatform(p))))];
  const more = texts.length > namedMax ? [`${texts.length - namedMax} more`] : [];
  return [...texts.slice(0, namedMax), ...more].join(" ");
}
