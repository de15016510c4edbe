/**
 * Versions of the Engine API: which are served and how they compare. Pure.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";

/** The newest version served; also that of requests without one in their path. */
export const apiVersion = "1.47";
/** The oldest version served. */
export const apiVersionMin = "1.24";

/** Whether `a` is older than `b`; both `major.minor`. */
export function olderThan(a: string, b: string): boolean {
  const [aMajor = 0, aMinor = 0] = a.split(".").map(Number);
  const [bMajor = 0, bMinor = 0] = b.split(".").map(Number);
  return aMajor === bMajor ? aMinor < bMinor : aMajor < bMajor;
}

/** @throws ClusterError `invalid-argument` with Docker's text for a version that is not served. */
export function requireServed(version: string): void {
  if (version === apiVersion) return;
  if (olderThan(version, apiVersionMin))
    throw new ClusterError(
      "invalid-argument",
      `client version ${version} is too old. Minimum supported API version is ${apiVersionMin}, ` +
        "please upgrade your client to a newer version",
    );
  if (olderThan(apiVersion, version))
    throw new ClusterError(
      "invalid-argument",
      `client version ${version} is too new. Maximum supported API version is ${apiVersion}`,
    );
}
