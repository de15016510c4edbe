/**
 * What users read about nodes that have not enough of something: Docker's text, and of what. Pure.
 *
 * How much is free is not said, as it changes with every task: each word would be written into all tasks that wait.
 */
import type { Resources } from "../../src/common/api/generated/api.ts";
import { onNodes } from "./explain.ts";
import type { NodeInfo } from "./node-info.ts";

/** One thing that a group of tasks wants of a node. */
interface Wish {
  readonly name: string;
  readonly wanted: string;
  readonly isThere: (info: NodeInfo) => boolean;
  /** Whether the node would have enough with no task on it, and the most that one of these has; undefined where it is not known. */
  readonly size?: {
    readonly isEnough: (info: NodeInfo) => boolean;
    readonly most: (nodes: readonly NodeInfo[]) => string;
  };
}

/** `insufficient resources on 3 nodes: memory on 2 (8GiB wanted, none has more than 4GiB), cpu on 1 (…)`. */
export function explainResources(reserved: Resources, nodes: readonly NodeInfo[]): string {
  const lacks = wishesOf(reserved).flatMap((wish) => {
    const without = nodes.filter((info) => !wish.isThere(info));
    return without.length === 0 ? [] : [{ wish, without }];
  });
  const texts = lacks
    .sort((a, b) => b.without.length - a.without.length)
    .map(({ wish, without }) => {
      const where = without.length === nodes.length ? "" : ` on ${without.length}`;
      return `${wish.name}${where} (${wish.wanted} wanted${reasonOf(wish, without)})`;
    });
  const what = texts.length === 0 ? "" : `: ${texts.join(", ")}`;
  return `${onNodes("insufficient resources", nodes.length)}${what}`;
}

function wishesOf({ nanoCpus, memoryBytes, generic }: Resources): readonly Wish[] {
  const wishes: Wish[] = [];
  if (nanoCpus > 0)
    wishes.push({
      ...{ name: "cpu", wanted: cpusText(nanoCpus) },
      isThere: (info) => info.totalCpus - info.usedCpus >= nanoCpus,
      size: {
        isEnough: (info) => info.totalCpus >= nanoCpus,
        most: (nodes) => cpusText(Math.max(...nodes.map(({ totalCpus }) => totalCpus))),
      },
    });
  if (memoryBytes > 0)
    wishes.push({
      ...{ name: "memory", wanted: bytesText(memoryBytes) },
      isThere: (info) => info.totalMemory - info.usedMemory >= memoryBytes,
      size: {
        isEnough: (info) => info.totalMemory >= memoryBytes,
        most: (nodes) => bytesText(Math.max(...nodes.map(({ totalMemory }) => totalMemory))),
      },
    });
  for (const name of new Set(generic.map(({ kind }) => kind))) {
    const ofKind = generic.filter(({ kind }) => kind === name);
    wishes.push({
      name,
      wanted: ofKind.map(({ named, count }) => named || `${count}`).join(", "),
      isThere: (info) => info.generic.has(ofKind),
    });
  }
  return wishes;
}

function reasonOf({ size }: Wish, without: readonly NodeInfo[]): string {
  if (size === undefined) return "";
  if (without.some(size.isEnough)) return ", too much is reserved";
  const who = without.length === 1 ? "it has" : "none has more than";
  return `, ${who} ${size.most(without)}`;
}

function cpusText(nano: number): string {
  return String(Number((nano / 1e9).toFixed(3)));
}

/** As the docker command shows sizes. */
function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(bytes || 1) / 10));
  return `${Number((bytes / 1024 ** power).toPrecision(4))}${units[power]}`;
}
