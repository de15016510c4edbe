/**
 * Names of networks that are the node's own, whatever else there is.
 */

/** Names no user may take. */
export const predefinedNames: readonly string[] = ["bridge", "host", "none", "default"];
