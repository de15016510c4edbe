/**
 * Key and certificate of the node on disk.
 *
 * A worker's key is a plain PEM file of mode 0600. A manager's is sealed with its data keys, so that with autolock on a
 * stolen disk cannot act as a manager. Key and certificate are two files: after a crash between their writes they do not
 * belong together, and the older key, kept until the certificate is there, is used.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";
import type { TlsMaterial } from "../common/identity/types.ts";
import type { Random } from "../common/random/random.ts";
import type { DataKeys } from "../common/seal/data-keys.ts";
import { newSealer } from "../common/seal/sealer.ts";
import type { StateFiles } from "./state-files.ts";

/** How keys are kept: under data keys on a manager, in the clear on a worker. */
export interface KeySealing {
  readonly dataKeys: DataKeys | undefined;
  readonly random: Random;
}

/** What of the node's files is needed here. */
export type CredentialFiles = Pick<StateFiles, "read" | "write" | "remove">;

const place = Buffer.from("node key 1");

/**
 * Reads what the node presents.
 *
 * @throws ClusterError internal when a file is missing or the parts do not belong together.
 */
export async function loadCredentials(
  files: CredentialFiles,
  sealing: KeySealing,
): Promise<TlsMaterial> {
  const [certificate, roots] = [await files.read("cert.pem"), await files.read("root.pem")];
  let cause: unknown;
  if (certificate !== undefined && roots !== undefined) {
    for (const name of ["key", "key-next"]) {
      try {
        const key = await loadKey(files, name, sealing);
        if (key === undefined) continue;
        if (new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key))) {
          return { key, certificate: certificate.toString(), roots: roots.toString() };
        }
      } catch (error) {
        // The other key may be the one that fits.
        cause ??= error;
      }
    }
  }
  const why = cause === undefined ? "" : ` (${errorText(cause)})`;
  throw new ClusterError(
    "internal",
    `the certificate of this node, or its key, is missing or damaged${why}: leave with "docker swarm leave --force" and join again`,
    { cause },
  );
}

/** Writes what the node presents, so that a crash at any point leaves a usable pair. */
export async function saveCredentials(
  files: CredentialFiles,
  tls: TlsMaterial,
  sealing: KeySealing,
): Promise<void> {
  await saveKey(files, "key-next", tls.key, sealing);
  await files.write("root.pem", tls.roots);
  await files.write("cert.pem", tls.certificate);
  await saveKey(files, "key", tls.key, sealing);
  await files.remove("key-next.pem");
  await files.remove("key-next.sealed");
}

async function loadKey(
  files: CredentialFiles,
  name: string,
  { dataKeys, random }: KeySealing,
): Promise<string | undefined> {
  const sealed = await files.read(`${name}.sealed`);
  if (sealed !== undefined && dataKeys !== undefined) {
    const plain = newSealer({ keys: dataKeys, label: "node key", random }).open(sealed, place);
    return Buffer.from(plain).toString();
  }
  return (await files.read(`${name}.pem`))?.toString();
}

async function saveKey(
  files: CredentialFiles,
  name: string,
  key: string,
  { dataKeys, random }: KeySealing,
): Promise<void> {
  if (dataKeys === undefined) {
    await files.write(`${name}.pem`, key);
    await files.remove(`${name}.sealed`);
    return;
  }
  const sealer = newSealer({ keys: dataKeys, label: "node key", random });
  await files.write(`${name}.sealed`, sealer.seal(Buffer.from(key), place));
  await files.remove(`${name}.pem`);
}
