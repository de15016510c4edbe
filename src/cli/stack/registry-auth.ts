/**
 * Credentials of the caller for a registry, from the file in which `docker login` keeps them.
 */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { defaultDomain, parseReference } from "../../common/registry/reference.ts";

const hubKey = "https://index.docker.io/v1/";

/** The value of `X-Registry-Auth` for an image; undefined when there are no credentials. */
export function registryAuth(image: string, environment: NodeJS.ProcessEnv): string | undefined {
  const { domain } = parseReference(image);
  const folder = environment["DOCKER_CONFIG"] || join(environment["HOME"] || homedir(), ".docker");
  const entry = authsOf(join(folder, "config.json"))[domain === defaultDomain ? hubKey : domain];
  if (entry === undefined) return undefined;
  const [username = "", ...password] = Buffer.from(entry.auth ?? "", "base64")
    .toString()
    .split(":");
  const sent = {
    username,
    password: password.join(":"),
    serveraddress: domain === defaultDomain ? hubKey : domain,
    ...(entry.identitytoken !== undefined && { identitytoken: entry.identitytoken }),
  };
  return Buffer.from(JSON.stringify(sent)).toString("base64url");
}

interface Entry {
  readonly auth?: string;
  readonly identitytoken?: string;
}

function authsOf(path: string): Readonly<Record<string, Entry | undefined>> {
  try {
    const { auths }: { auths?: Record<string, Entry> } = JSON.parse(readFileSync(path, "utf8"));
    return auths ?? {};
  } catch {
    // No such file, or none of ours to read: there are no credentials.
    return {};
  }
}
