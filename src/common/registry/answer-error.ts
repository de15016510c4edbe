/**
 * Turns the refusal of a registry into an error: HTTP status to code, and the registry's own words.
 *
 * Bodies follow the distribution specification: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":…}]}`, which Docker shows
 * as `manifest unknown: …`.
 */
import { ClusterError, type ErrorCode } from "../errors/cluster-error.ts";
import { registryAnswerBytesMax } from "../limits/limits.ts";
import type { WebResponse } from "./http.ts";

/** Reads the body of a refusal. Never throws. */
export async function answerError(response: WebResponse, what: string): Promise<ClusterError> {
  const words = await refusalText(response);
  return new ClusterError(codeOf(response.status), `${what}: ${words}`, {
    fields: { status: response.status },
  });
}

/** What the registry said, or the status in words. Never throws. */
export async function refusalText(response: WebResponse): Promise<string> {
  const words = await bodyText(response);
  const { status } = response;
  if (words !== "") return words;
  const known: Readonly<Record<number, string>> = {
    401: "unauthorized: authentication required",
    403: "denied: requested access to the resource is denied",
    404: "not found",
    429: "toomanyrequests: too many requests",
  };
  return known[status] ?? `unexpected status from the registry: ${status}`;
}

/** Code of an HTTP status from a registry. */
export function codeOf(status: number): ErrorCode {
  if (status === 401) return "unauthenticated";
  if (status === 403) return "permission-denied";
  if (status === 404) return "not-found";
  if (status === 429) return "resource-exhausted";
  return status >= 500 || status === 408 ? "unavailable" : "failed-precondition";
}

async function bodyText(response: WebResponse): Promise<string> {
  try {
    const body = await response.read(registryAnswerBytesMax);
    const json = JSON.parse(Buffer.from(body).toString("utf8")) as Record<string, unknown>;
    const errors = Array.isArray(json["errors"]) ? (json["errors"] as unknown[]) : [];
    const texts = errors.map((item) => {
      const { code, message } = (item ?? {}) as Record<string, unknown>;
      const name = String(code ?? "")
        .toLowerCase()
        .replaceAll("_", " ");
      return [name, String(message ?? "")].filter((part) => part !== "").join(": ");
    });
    const details = json["details"];
    const own = texts.join("; ") || (typeof details === "string" ? details : "");
    return own.slice(0, textLengthMax);
  } catch {
    // A page of HTML, or cut: the status has to do.
    return "";
  }
}

/** Longest text of a registry that is passed on to users. */
const textLengthMax = 1_000;
