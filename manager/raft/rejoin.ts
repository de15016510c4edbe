/**
 * The call of a member that lost entries of its log: "put me, under a new id, in place of my old one".
 */
import { Client } from "@grpc/grpc-js";
import {
  RaftRejoinRequest,
  RaftRejoinResponse,
  RaftTransportService,
} from "../../src/common/api/generated/api.ts";
import type { TlsMaterial } from "../../src/common/identity/types.ts";
import { membershipTimeoutMs } from "../../src/common/limits/limits.ts";
import { errorFromStatus } from "../../src/common/rpc/status.ts";
import { asBuffer } from "./peer.ts";
import { dialCredentials, type ExpectedPeer, peerDialOptions } from "./peer-tls.ts";

/**
 * Asks one peer; resolves once the change is in force.
 *
 * @throws ClusterError unavailable when the peer does not lead or cannot be reached.
 */
export async function askToReplace(options: {
  readonly address: string;
  readonly tls: TlsMaterial;
  readonly expected: ExpectedPeer;
  readonly request: RaftRejoinRequest;
}): Promise<void> {
  const credentials = dialCredentials(options.tls, options.expected);
  const client = new Client(options.address, credentials, peerDialOptions);
  try {
    await new Promise<void>((resolve, reject) => {
      client.makeUnaryRequest(
        RaftTransportService.rejoin.path,
        (request: RaftRejoinRequest) => asBuffer(RaftRejoinRequest.encode(request)),
        (bytes: Buffer) => RaftRejoinResponse.decode(bytes),
        options.request,
        { deadline: Date.now() + 2 * membershipTimeoutMs },
        (error) => (error ? reject(errorFromStatus(error)) : resolve()),
      );
    });
  } finally {
    client.close();
  }
}
