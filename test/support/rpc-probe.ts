/**
 * A program that makes one RPC call as somebody would who has no right to: run on a simulated host by the end-to-end
 * tests. Takes the folder with the credentials (`-` for none), the address, the method's path and the size of the message;
 * prints the status code and text. Trusts every server: it is the server that is tested.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { ChannelCredentials, Client, type ServiceError } from "@grpc/grpc-js";

const [folder = "-", address = "", path = "", bytes = "0"] = process.argv.slice(2);
const own =
  folder === "-"
    ? {}
    : {
        key: readFileSync(join(folder, "key.pem")),
        cert: readFileSync(join(folder, "cert.pem")),
      };
const credentials = ChannelCredentials.createFromSecureContext(createSecureContext(own), {
  rejectUnauthorized: false,
  checkServerIdentity: () => undefined,
});
const client = new Client(address, credentials);
const same = (value: Buffer) => value;
client.makeUnaryRequest(
  path,
  same,
  same,
  Buffer.alloc(Number(bytes)),
  { deadline: Date.now() + 8_000 },
  (error: ServiceError | null) => {
    process.stdout.write(error === null ? "OK" : `${error.code} ${error.details}`);
    client.close();
  },
);
