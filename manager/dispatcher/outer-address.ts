/**
 * Whether a node is behind a translation of addresses, and where it is seen then: others reach its data path there. Pure.
 */

/**
 * The address of a node in the report of its session: where it is seen, `-` when that is an address of its own, and empty
 * when nothing can be said.
 *
 * @param own Of the node's devices; empty from a node that does not tell.
 */
export function outerAddressOf(seen: string, own: readonly string[]): string {
  const address = seen.replace(/^::ffff:(?=\d+\.)/i, "");
  if (address === "" || own.length === 0) return "";
  const isLoopback = address === "::1" || address.startsWith("127.");
  return isLoopback || own.includes(address) ? "-" : address;
}
