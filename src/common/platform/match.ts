/**
 * Which image runs on which node: platforms in one spelling, and the choice among those an image offers. Pure.
 *
 * Shared by the scheduler (which nodes can run the image at all) and by the agent (which manifest of the index to pull), so
 * that both always come to the same answer. Words of the OCI image index; `uname -m` and Debian's words are understood.
 *
 * A variant is a level, and a CPU of a level runs all that is built for lower ones: amd64 v4 runs v1, arm v7 runs v5. A
 * missing variant means v1 on amd64, v8 on arm64 and v7 on arm. Nothing is concluded from one architecture to another:
 * an arm64 machine that runs 32-bit programs says so by listing arm among its platforms.
 */
import type { Platform } from "../api/generated/api.ts";
import { ClusterError } from "../errors/cluster-error.ts";

/** Other words for architectures, with the variant they imply. */
const synonyms: Readonly<Record<string, { architecture: string; variant: string }>> = {
  x86_64: { architecture: "amd64", variant: "" },
  "x86-64": { architecture: "amd64", variant: "" },
  i386: { architecture: "386", variant: "" },
  i686: { architecture: "386", variant: "" },
  aarch64: { architecture: "arm64", variant: "" },
  armhf: { architecture: "arm", variant: "v7" },
  armel: { architecture: "arm", variant: "v6" },
  armv8l: { architecture: "arm", variant: "v8" },
  armv7l: { architecture: "arm", variant: "v7" },
  armv6l: { architecture: "arm", variant: "v6" },
  armv5tel: { architecture: "arm", variant: "v5" },
  armv5l: { architecture: "arm", variant: "v5" },
};

/** What a missing variant means. */
const defaultVariants: Readonly<Record<string, string>> = { amd64: "v1", arm64: "v8", arm: "v7" };

/** The same platform in OCI's words, with a variant where the architecture has levels. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const word = platform.architecture.toLowerCase();
  const synonym = Object.hasOwn(synonyms, word) ? synonyms[word] : undefined;
  const architecture = synonym?.architecture ?? word;
  const said = platform.variant.toLowerCase() || synonym?.variant || "";
  const otherwise = Object.hasOwn(defaultVariants, architecture)
    ? (defaultVariants[architecture] ?? "")
    : "";
  const variant = (/^\d/.test(said) ? `v${said}` : said) || otherwise;
  return { architecture, os, variant, emulated: platform.emulated };
}

/**
 * Whether what is built for the one platform runs on the other. Whether that one is emulated is not looked at.
 *
 * An image that names no operating system or no architecture runs anywhere, as far as that is known.
 */
export function canRun(p: { readonly node: Platform; readonly image: Platform }): boolean {
  return runs(normalizePlatform(p.node), normalizePlatform(p.image));
}

/**
 * Position of the platform among those offered that fits best, or -1.
 *
 * The platforms wanted are tried in their order, emulated ones after all others and only if allowed; for each the offered
 * one of the highest level is taken, the first among equals.
 */
export function choosePlatform(
  offered: readonly Platform[],
  wanted: readonly Platform[],
  options: { readonly emulated: boolean },
): number {
  const images = offered.map(normalizePlatform);
  const native = wanted.filter((platform) => !platform.emulated);
  const others = options.emulated ? wanted.filter((platform) => platform.emulated) : [];
  for (const platform of [...native, ...others]) {
    const node = normalizePlatform(platform);
    let best = -1;
    for (const [position, image] of images.entries()) {
      if (!runs(node, image)) continue;
      const leader = images[best];
      if (leader === undefined || compareLevels(image.variant, leader.variant) > 0) best = position;
    }
    if (best >= 0) return best;
  }
  return -1;
}

/**
 * Whether a node can run one of the platforms of an image. Without any the image is not known, and every node may try.
 */
export function nodeRunsImage(
  node: readonly Platform[],
  image: readonly Platform[],
  options: { readonly emulated: boolean },
): boolean {
  return image.length === 0 || choosePlatform(image, node, options) >= 0;
}

/** Whether labels of a node or a service let images be used that only an emulator of the node runs. */
export function allowsEmulation(labels: Readonly<Record<string, string>> | undefined): boolean {
  return labels?.["skep.emulation"] === "allow";
}

/** `os/architecture[/variant]`, as written; the form users know from `--platform`. */
export function platformText(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return [os || "linux", architecture, ...(variant === "" ? [] : [variant])].join("/");
}

/**
 * Reads `os/architecture[/variant]`, or an architecture alone, which is then one of Linux.
 *
 * @throws ClusterError `invalid-argument` naming the text.
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  const valid = parts.length <= 3 && parts.every((part) => /^[A-Za-z0-9_.-]+$/.test(part));
  const [os = "", architecture = "", variant = ""] = parts.length === 1 ? ["linux", text] : parts;
  if (!valid || text.toLowerCase() === "linux") {
    throw new ClusterError(
      "invalid-argument",
      `invalid platform ${JSON.stringify(text)}: the form is os/architecture[/variant], such as linux/arm/v7`,
    );
  }
  return normalizePlatform({ os, architecture, variant, emulated: false });
}

/** Both normalized. */
function runs(node: Platform, image: Platform): boolean {
  if (image.os !== "" && image.os !== node.os) return false;
  if (image.architecture === "") return true;
  if (image.architecture !== node.architecture) return false;
  if (image.variant === "" || image.variant === node.variant) return true;
  return isLevel(image.variant) && isLevel(node.variant)
    ? compareLevels(node.variant, image.variant) > 0
    : false;
}

function isLevel(variant: string): boolean {
  return /^v\d+(?:\.\d+)?$/.test(variant);
}

/** Below 0 when the first is the lower level; what is no level is below all levels. */
function compareLevels(a: string, b: string): number {
  const [x, y] = [levelOf(a), levelOf(b)];
  return x.major - y.major || x.minor - y.minor;
}

function levelOf(variant: string): { major: number; minor: number } {
  const match = /^v(\d+)(?:\.(\d+))?$/.exec(variant);
  return { major: Number(match?.[1] ?? -1), minor: Number(match?.[2] ?? 0) };
}
