/**
 * The `X-Registry-Auth` header → `RegistryAuth`. Pure.
 */
import type { RegistryAuth } from "../../common/container/images.ts";
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { bodyObject } from "./reader.ts";

/**
 * URL-safe base64 of a JSON object, with or without padding; undefined when there are no credentials in it.
 * @throws ClusterError `invalid-argument` for what is none.
 */
export function registryAuthFromHeader(header: string): RegistryAuth | undefined {
  if (header === "" || header === "null") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(header, "base64url").toString("utf8"));
  } catch (error) {
    throw new ClusterError(
      "invalid-argument",
      "invalid X-Registry-Auth header: must be base64 of JSON",
      { cause: error },
    );
  }
  if (value === null) return undefined;
  const json = bodyObject(value);
  const auth: RegistryAuth = {
    username: json.string("username"),
    password: json.string("password"),
    identityToken: json.string("identitytoken"),
    registryToken: json.string("registrytoken"),
    serverAddress: json.string("serveraddress"),
  };
  const { username, password, identityToken, registryToken } = auth;
  const isEmpty = [username, password, identityToken, registryToken].every((text) => text === "");
  return isEmpty ? undefined : auth;
}
