/**
 * Whom to trust behind a registry's TLS: the system's certificate authorities, and those put beside for one host.
 *
 * As with Docker, `certs.d/HOST[:PORT]/` holds `*.crt` (authorities) and pairs of `*.cert` and `*.key` (to show to the
 * registry), here in `/etc/docker/certs.d` and `/etc/skep/certs.d`. Files are looked at for every use: what was changed is
 * read anew, without a restart.
 */
import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";
import { ClusterError, errorText } from "../errors/cluster-error.ts";

/** Where certificates lie on this machine. */
export interface TrustFolders {
  /** Bundles of the system; the first that exists is taken. */
  readonly systemFiles: readonly string[];
  /** Folders with one folder per registry; all that exist are read. */
  readonly certsFolders: readonly string[];
}

/** Where the distributions keep their bundle, and Docker's and our own folders. */
export function defaultTrustFolders(): TrustFolders {
  const own = process.env["SSL_CERT_FILE"];
  return {
    systemFiles: [
      ...(own === undefined || own === "" ? [] : [own]),
      "/etc/ssl/certs/ca-certificates.crt",
      "/etc/pki/tls/certs/ca-bundle.crt",
      "/etc/ssl/ca-bundle.pem",
      "/etc/ssl/cert.pem",
    ],
    certsFolders: ["/etc/docker/certs.d", "/etc/skep/certs.d"],
  };
}

/** Trust for one host as it is in the files now. */
export interface Trust {
  /** Changes whenever a file does; equal keys mean equal contexts. */
  readonly key: string;
  readonly context: SecureContext;
}

interface Found {
  readonly authorities: readonly string[];
  readonly pairs: readonly { readonly cert: string; readonly key: string }[];
}

/** Trust by files; contexts are kept until a file changes, as reading 140 authorities takes milliseconds. */
export class TrustStore {
  readonly #folders: TrustFolders;
  readonly #kept = new Map<string, Trust>();

  constructor(folders: TrustFolders) {
    this.#folders = folders;
  }

  /**
   * Trust for a server, by what was put for the given hosts (`host[:port]`, as in references).
   *
   * @throws ClusterError `failed-precondition` naming the file that cannot be used.
   */
  for(hosts: readonly string[]): Trust {
    const found = this.#find(hosts);
    const files = [...found.authorities, ...found.pairs.flatMap(({ cert, key }) => [cert, key])];
    const system = this.#folders.systemFiles.find((path) => fingerprint(path) !== undefined);
    const key = [system ?? "", ...files].map((path) => `${path}=${fingerprint(path)}`).join(";");
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept;
    const trust = { key, context: contextOf(system, found) };
    if (this.#kept.size >= contextsKeptMax) this.#kept.clear();
    this.#kept.set(key, trust);
    return trust;
  }

  #find(hosts: readonly string[]): Found {
    const authorities: string[] = [];
    const pairs: { cert: string; key: string }[] = [];
    const folders = this.#folders.certsFolders.flatMap((path) =>
      [...new Set(hosts)].map((host) => join(path, host)),
    );
    for (const folder of folders) {
      for (const name of namesIn(folder)) {
        if (name.endsWith(".crt")) authorities.push(join(folder, name));
        if (!name.endsWith(".cert")) continue;
        const key = `${name.slice(0, -".cert".length)}.key`;
        if (!namesIn(folder).includes(key)) {
          throw new ClusterError(
            "failed-precondition",
            `missing key ${key} for client certificate ${join(folder, name)}. CA certificates must use the extension .crt`,
          );
        }
        pairs.push({ cert: join(folder, name), key: join(folder, key) });
      }
    }
    return { authorities, pairs };
  }
}

/** A daemon speaks with a handful of registries; a context holds some hundred kilobytes. */
const contextsKeptMax = 16;

function contextOf(system: string | undefined, found: Found): SecureContext {
  // Without a bundle of the system's, Node's own list is what is left.
  const roots = system === undefined ? [...rootCertificates] : [read(system)];
  const ca = [...roots, ...found.authorities.map(readAuthority)];
  try {
    return createSecureContext({
      ca,
      cert: found.pairs.map(({ cert }) => read(cert)),
      key: found.pairs.map(({ key }) => read(key)),
      minVersion: "TLSv1.2",
    });
  } catch (error) {
    const files = found.pairs.flatMap(({ cert, key }) => [cert, key]);
    throw new ClusterError(
      "failed-precondition",
      `cannot use the certificates in ${files.join(", ") || system}: ${errorText(error)}`,
      { cause: error },
    );
  }
}

/** Nonsense among the authorities would be passed over in silence. */
function readAuthority(path: string): string {
  const text = read(path);
  try {
    new X509Certificate(text);
  } catch (error) {
    throw new ClusterError(
      "failed-precondition",
      `cannot use the certificate in ${path}: ${errorText(error)}`,
      { cause: error },
    );
  }
  return text;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new ClusterError("failed-precondition", `cannot read ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** undefined when there is no such file. */
function fingerprint(path: string): string | undefined {
  try {
    const { mtimeMs, ctimeMs, size, ino } = statSync(path);
    return `${ino}.${size}.${mtimeMs}.${ctimeMs}`;
  } catch {
    // Not there, or not readable: reading it says so, where it has to be read.
    return undefined;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    // The usual case: nothing was put there for this host.
    return [];
  }
}
