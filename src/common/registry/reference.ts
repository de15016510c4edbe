/**
 * Image references taken apart: registry, repository, tag and digest, with Docker's short names filled in. Pure.
 *
 * `busybox` is `docker.io/library/busybox:latest`; `familiarName` is the way back.
 */
import { ClusterError } from "../errors/cluster-error.ts";
import { isImageReference } from "../spec/image-reference.ts";

/** A reference, complete but for tag and digest. */
export interface ImageReference {
  /** Host with port if given, such as `docker.io` or `10.0.0.1:5000`. */
  readonly domain: string;
  /** Repository in that registry, such as `library/busybox`. */
  readonly repository: string;
  /** Empty when none was given. */
  readonly tag: string;
  /** `sha256:…`, empty when none was given. */
  readonly digest: string;
}

/** The registry of names without one. */
export const defaultDomain = "docker.io";

/**
 * Takes a reference apart.
 *
 * @throws ClusterError `invalid-argument` with Docker's texts.
 */
export function parseReference(text: string): ImageReference {
  if (!isImageReference(text)) throw new ClusterError("invalid-argument", invalidText(text));
  const at = text.indexOf("@");
  const digest = at < 0 ? "" : text.slice(at + 1);
  if (digest !== "" && !isDigest(digest))
    throw new ClusterError("invalid-argument", `${text}: unsupported digest algorithm`);
  const tagged = at < 0 ? text : text.slice(0, at);
  const colon = tagged.indexOf(":", tagged.lastIndexOf("/") + 1);
  const tag = colon < 0 ? "" : tagged.slice(colon + 1);
  const name = colon < 0 ? tagged : tagged.slice(0, colon);
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  if (first === "" || !isDomain(first)) {
    const repository = slash < 0 ? `library/${name}` : name;
    return { domain: defaultDomain, repository, tag, digest };
  }
  const rest = name.slice(slash + 1);
  if (first !== "index.docker.io" && first !== defaultDomain)
    return { domain: first, repository: rest, tag, digest };
  const repository = rest.includes("/") ? rest : `library/${rest}`;
  return { domain: defaultDomain, repository, tag, digest };
}

/** The reference with `latest` where it has neither tag nor digest. */
export function withDefaultTag(reference: ImageReference): ImageReference {
  return reference.tag === "" && reference.digest === ""
    ? { ...reference, tag: "latest" }
    : reference;
}

/** Registry and repository, complete: `docker.io/library/busybox`. */
export function fullName(reference: ImageReference): string {
  return `${reference.domain}/${reference.repository}`;
}

/** The repository as Docker shows it: `busybox`, `10.0.0.1:5000/app`. */
export function familiarName(reference: ImageReference): string {
  if (reference.domain !== defaultDomain) return fullName(reference);
  const short = reference.repository.replace(/^library\//, "");
  return short.includes("/") || isDomain(short) ? reference.repository : short;
}

/** Name, tag and digest as Docker shows them. */
export function familiarText(reference: ImageReference): string {
  return `${familiarName(reference)}${suffix(reference)}`;
}

/** Name, tag and digest, complete. */
export function fullText(reference: ImageReference): string {
  return `${fullName(reference)}${suffix(reference)}`;
}

/** Whether the text is a digest of an algorithm that is checked here. */
export function isDigest(text: string): boolean {
  return /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/.test(text);
}

function suffix({ tag, digest }: ImageReference): string {
  return `${tag === "" ? "" : `:${tag}`}${digest === "" ? "" : `@${digest}`}`;
}

function isDomain(part: string): boolean {
  return /[.:]/.test(part) || part === "localhost" || part.toLowerCase() !== part;
}

function invalidText(text: string): string {
  const lower = text.replace(/:[^/]*$/, "");
  if (lower !== lower.toLowerCase() && isImageReference(text.toLowerCase())) {
    return `invalid reference format: repository name (${lower.replace(/@.*$/, "")}) must be lowercase`;
  }
  return `invalid reference format: ${JSON.stringify(text.slice(0, 256))} is no image name`;
}
