/**
 * The form of image references: `[domain[:port]/]path[:tag][@digest]`. Pure; grammar of the OCI distribution specification
 * with Docker's short names (`nginx` is `docker.io/library/nginx`).
 */

const pathComponent = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const domain =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const tag = /^\w[\w.-]{0,127}$/;
const digest = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
/** Longest repository name. */
const nameLengthMax = 255;
/** Longest whole reference that is looked at: name, tag and the longest digest in use. */
const referenceLengthMax = 1024;

/** Whether the text names an image. */
export function isImageReference(text: string): boolean {
  if (text.length > referenceLengthMax || /^[a-f0-9]{64}$/.test(text)) return false;
  const at = text.indexOf("@");
  if (at >= 0 && !digest.test(text.slice(at + 1))) return false;
  const tagged = at < 0 ? text : text.slice(0, at);
  const colon = tagged.indexOf(":", tagged.lastIndexOf("/") + 1);
  if (colon >= 0 && !tag.test(tagged.slice(colon + 1))) return false;
  const name = colon < 0 ? tagged : tagged.slice(0, colon);
  if (name.length > nameLengthMax) return false;
  const parts = name.split("/");
  const hasDomain = parts.length > 1 && looksLikeDomain(parts[0] ?? "");
  if (hasDomain && !domain.test(parts[0] ?? "")) return false;
  return (hasDomain ? parts.slice(1) : parts).every((part) => pathComponent.test(part));
}

function looksLikeDomain(part: string): boolean {
  return /[.:]/.test(part) || part === "localhost" || part.toLowerCase() !== part;
}
