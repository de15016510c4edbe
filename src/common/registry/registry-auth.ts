/**
 * The credentials that travel with a service (`--with-registry-auth`), out of Docker's form of them.
 */
import type { RegistryAuth } from "../container/images.ts";
import { ClusterError } from "../errors/cluster-error.ts";

/** @param text Base64 (of URLs or plain) of JSON, as in the API's X-Registry-Auth; empty for none. @throws ClusterError */
export function registryAuthOf(text: string): RegistryAuth | undefined {
  if (text === "") return undefined;
  const value = parsed(text);
  const field = (name: string) => {
    const found = value[name];
    return typeof found === "string" ? found : "";
  };
  const auth = {
    username: field("username"),
    password: field("password"),
    identityToken: field("identitytoken"),
    registryToken: field("registrytoken"),
    serverAddress: field("serveraddress"),
  };
  // The client sends an empty object when it has none.
  return Object.entries(auth).some(([name, value]) => name !== "serverAddress" && value !== "")
    ? auth
    : undefined;
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, "base64url").toString());
    if (typeof value === "object" && value !== null) return { ...value };
  } catch {
    // Refused below.
  }
  throw new ClusterError(
    "invalid-argument",
    "the registry credentials of the service cannot be read",
  );
}
