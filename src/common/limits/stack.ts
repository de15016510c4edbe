/**
 * Limits of Compose files, each with its unit and its reason.
 */
const mib = 1024 * 1024;

/** Bytes of one Compose file: what a cluster can hold of one stack is far below, and reading takes memory many times that. */
export const composeFileBytesMax = 2 * mib;
/** Values of one file with every alias written out: some lines of YAML can stand for more than there is memory. */
export const composeNodesMax = 200_000;
/** Lists and maps within each other; files of people have a dozen. */
export const composeDepthMax = 64;
/** Files that one project is read from, by -c, include and extends. */
export const composeFilesMax = 200;
/** Variables within the default of a variable, and services that extend each other. */
export const composeNestingMax = 32;
/** Characters of one value with all variables filled in. */
export const composeTextMax = 2 * mib;
