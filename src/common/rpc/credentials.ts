/**
 * TLS for both ends of a call: which certificate is shown, who is trusted, and how it is swapped while running.
 *
 * Servers ask for a client certificate but take connections without one, since a joining node has none; `peer.ts` then
 * says who called. Clients check the server's certificate against the roots and, in place of its host name, that it is
 * a manager of this cluster: addresses are hints, the certificate is the identity.
 */
import { constants } from "node:crypto";
import {
  createSecureContext,
  createServer,
  type PeerCertificate,
  type Server,
  type TLSSocket,
} from "node:tls";
import { ChannelCredentials } from "@grpc/grpc-js";
import { identityOf, parseCertificate } from "../identity/certificate.ts";
import type { TlsMaterial } from "../identity/types.ts";
import { checkExpected, type Expected } from "../identity/verify.ts";
import { rpcHandshakeTimeoutMs } from "../limits/limits.ts";

/** What a TLS client asks for by ALPN: calls through gRPC, or one call by frames (`direct-client.ts`). */
const grpcProtocol = "h2";
/** As `grpcProtocol`, for direct streams. */
export const directProtocol = "skep-direct";

/** How a client checks the server: by roots, or not at all where the answer is checked by other means. */
export type ClientTls = TlsMaterial | { readonly roots: string } | "unverified";

/**
 * A server of TLS that shows `tls` and asks for client certificates without requiring them. It listens nowhere: connections are
 * emitted to it, and those that speak neither of the two protocols are cut.
 */
export function tlsServer(
  tls: TlsMaterial,
  onConnection: (socket: TLSSocket, protocol: "grpc" | "direct") => void,
): Server {
  const server = createServer({
    ...contextOf(tls),
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: rpcHandshakeTimeoutMs,
    ALPNProtocols: [grpcProtocol, directProtocol],
  });
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  return server.on("secureConnection", (socket) => {
    // Errors are of no use to those who have no call; whoever takes over the socket listens, too.
    socket.on("error", () => socket.destroy());
    if (socket.alpnProtocol === grpcProtocol) onConnection(socket, "grpc");
    else if (socket.alpnProtocol === directProtocol) onConnection(socket, "direct");
    else socket.destroy();
  });
}

/** Shows this certificate and trusts these roots on connections from now on. */
export function updateTlsServer(server: Server, tls: TlsMaterial): void {
  server.setSecureContext(contextOf(tls));
}

/**
 * Nobody resumes a session here: a connection lasts for days, and each begins with a look at the certificates. So no tickets
 * are sent: a ticket holds the whole session with the certificate of the client, two would be sealed and sent on every
 * connection, and OpenSSL keeps a copy of the session for each.
 */
function contextOf({ roots, key, certificate }: TlsMaterial) {
  return { ca: roots, key, cert: certificate, secureOptions: constants.SSL_OP_NO_TICKET };
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

/** What speaks against the server's certificate. */
export function refusalOf(certificate: PeerCertificate, expected: Expected): Error | undefined {
  try {
    checkExpected(identityOf(parseCertificate(certificate.raw)), expected);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
