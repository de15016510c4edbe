/**
 * TLS for both ends of a call: which certificate is shown, who is trusted, and how it is swapped while running.
 *
 * Servers ask for a client certificate but take connections without one, since a joining node has none; `peer.ts` then
 * says who called. Clients check the server's certificate against the roots and, in place of its host name, that it is
 * a manager of this cluster: addresses are hints, the certificate is the identity.
 */
import { constants } from "node:crypto";
import { createSecureContext, type PeerCertificate } from "node:tls";
import { ChannelCredentials, experimental, type ServerCredentials } from "@grpc/grpc-js";
import { identityOf, parseCertificate } from "../identity/certificate.ts";
import type { TlsMaterial } from "../identity/types.ts";
import { checkExpected, type Expected } from "../identity/verify.ts";
import { rpcHandshakeTimeoutMs } from "../limits/limits.ts";

/** Credentials of a server, and the way to swap them for connections made from then on. */
export interface SwappableServerCredentials {
  readonly credentials: ServerCredentials;
  update(tls: TlsMaterial): void;
}

/** How a client checks the server: by roots, or not at all where the answer is checked by other means. */
export type ClientTls = TlsMaterial | { readonly roots: string } | "unverified";

/** Credentials for a server that shows `tls` and asks for client certificates without requiring them. */
export function serverCredentials(tls: TlsMaterial): SwappableServerCredentials {
  const source = new CertificateSource(tls);
  const credentials = experimental.createCertificateProviderServerCredentials(
    source,
    source,
    false,
  );
  disableTickets(credentials);
  // A first watcher makes the credentials read the source at once; without one they start out empty and the first
  // connections would be dropped (grpc-js 1.14).
  credentials._addWatcher(() => {});
  // These options go to http2.createSecureServer as they are (grpc-js 1.14); it has no public door for the timeout.
  Object.assign(credentials._getConstructorOptions() ?? {}, {
    handshakeTimeout: rpcHandshakeTimeoutMs,
  });
  return { credentials, update: (next) => source.update(next) };
}

/**
 * Has the server send no session tickets.
 *
 * Nobody resumes a session here: a connection lasts for days, and each begins with a look at the certificates. A ticket holds
 * the whole session with the certificate of the client, two are sealed and sent on every connection, and OpenSSL keeps a
 * copy of the session for each. grpc-js (1.14) has no door for the option; should the method be gone in another version, they
 * are sent again, and a test tells.
 */
function disableTickets(credentials: ServerCredentials): void {
  const door = "calculateSecureContextOptions";
  const original: unknown = Reflect.get(credentials, door);
  if (typeof original !== "function") return;
  Reflect.set(credentials, door, () => {
    const options: object | null = Reflect.apply(original, credentials, []);
    return options && { ...options, secureOptions: constants.SSL_OP_NO_TICKET };
  });
}

/** Credentials for a client that expects the server to be `expected`. */
export function clientCredentials(tls: ClientTls, expected: Expected): ChannelCredentials {
  if (tls === "unverified") {
    return ChannelCredentials.createFromSecureContext(createSecureContext(), {
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
  }
  const own = "key" in tls ? { key: tls.key, cert: tls.certificate } : {};
  return ChannelCredentials.createFromSecureContext(
    createSecureContext({ ca: tls.roots, ...own }),
    { checkServerIdentity: (_host, certificate) => refusalOf(certificate, expected) },
  );
}

function refusalOf(certificate: PeerCertificate, expected: Expected): Error | undefined {
  try {
    checkExpected(identityOf(parseCertificate(certificate.raw)), expected);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

type ListenerOf<K extends "addCaCertificateListener" | "addIdentityCertificateListener"> =
  Parameters<experimental.CertificateProvider[K]>[0];

/** Hands the current certificate, key and roots to grpc-js, and again whenever they change. */
class CertificateSource implements experimental.CertificateProvider {
  #tls: TlsMaterial;
  readonly #roots = new Set<ListenerOf<"addCaCertificateListener">>();
  readonly #identities = new Set<ListenerOf<"addIdentityCertificateListener">>();

  constructor(tls: TlsMaterial) {
    this.#tls = tls;
  }

  update(tls: TlsMaterial): void {
    this.#tls = tls;
    for (const listener of this.#identities) this.#tellIdentity(listener);
    for (const listener of this.#roots) this.#tellRoots(listener);
  }

  addCaCertificateListener(listener: ListenerOf<"addCaCertificateListener">): void {
    this.#roots.add(listener);
    this.#tellRoots(listener);
  }

  removeCaCertificateListener(listener: ListenerOf<"addCaCertificateListener">): void {
    this.#roots.delete(listener);
  }

  addIdentityCertificateListener(listener: ListenerOf<"addIdentityCertificateListener">): void {
    this.#identities.add(listener);
    this.#tellIdentity(listener);
  }

  removeIdentityCertificateListener(listener: ListenerOf<"addIdentityCertificateListener">): void {
    this.#identities.delete(listener);
  }

  #tellRoots(listener: ListenerOf<"addCaCertificateListener">): void {
    listener({ caCertificate: Buffer.from(this.#tls.roots) });
  }

  #tellIdentity(listener: ListenerOf<"addIdentityCertificateListener">): void {
    listener({
      certificate: Buffer.from(this.#tls.certificate),
      privateKey: Buffer.from(this.#tls.key),
    });
  }
}
