/**
 * How much a container may write to its own layer: `--storage-opt size=…`, `storage_opt` of Compose files, and the label by which
 * services say it. Pure.
 */

/** Label of containers, as Docker's API has no field for it in services. */
export const storageSizeLabel = "skep.storage-size";

/** Less does not hold a file system with its journal, bytes. */
const bytesMin = 4 * 2 ** 20;
/** More than file systems of nodes hold in one file, bytes. */
const bytesMax = 8 * 2 ** 40;

/** What sizes may be, in words. */
export const storageSizeWords = "a size from 4m to 8t, such as 1g";

const units = ["", "k", "m", "g", "t", "p"];

/** Bytes of `1048576`, `64m` or `1.5 GiB`; undefined for what is no size of a layer. */
export function storageSizeFrom(text: string): number | undefined {
  const [, number, unit = ""] =
    /^(\d{1,15}(?:\.\d{1,9})?) ?([kmgtp]?)i?b?$/i.exec(text.trim()) ?? [];
  if (number === undefined) return undefined;
  const bytes = Math.trunc(Number(number) * 1024 ** units.indexOf(unit.toLowerCase()));
  return bytes >= bytesMin && bytes <= bytesMax ? bytes : undefined;
}

/** Why these options of a container's layer cannot be; undefined where they can. */
export function storageOptionFault(options: Readonly<Record<string, string>>): string | undefined {
  const unknown = Object.keys(options).find((name) => name !== "size");
  if (unknown !== undefined) return `unknown option ${JSON.stringify(unknown)}: only size is known`;
  const { size } = options;
  if (size === undefined || storageSizeFrom(size) !== undefined) return undefined;
  return `size ${JSON.stringify(size)} is not ${storageSizeWords}`;
}
