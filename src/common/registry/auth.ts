/**
 * Who we are to a registry: Basic, Bearer tokens from its token service, identity tokens, ready-made tokens.
 *
 * Follows the distribution project's token authentication: the registry answers 401 with the address of a token service;
 * that gives a token for a scope, by GET with a password or by POST (OAuth 2) with an identity token.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../clock/clock.ts";
import type { RegistryAuth } from "../container/images.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { registryAnswerBytesMax, registryTokensMax } from "../limits/limits.ts";
import { answerError } from "./answer-error.ts";
import type { WebClient, WebResponse } from "./http.ts";
import type { Endpoint } from "./settings.ts";

/** One way in which a registry lets itself be convinced. */
export interface Challenge {
  readonly scheme: "basic" | "bearer";
  readonly realm: string;
  readonly service: string;
  readonly scope: string;
}

/** Reads `WWW-Authenticate`; what is not understood is left out. */
export function parseChallenges(header: string): Challenge[] {
  const all: { scheme: string; values: Map<string, string> }[] = [];
  // A word alone begins a challenge, `name=value` belongs to the one before; values in quotes may hold anything.
  const word = /([\w-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s]+)))?/g;
  for (const [, name = "", quoted, plain] of header.matchAll(word)) {
    const value = quoted ?? plain;
    if (value === undefined) all.push({ scheme: name.toLowerCase(), values: new Map() });
    else all.at(-1)?.values.set(name.toLowerCase(), value.replace(/\\(.)/g, "$1"));
  }
  return all.flatMap(({ scheme, values }) => {
    if (scheme !== "basic" && scheme !== "bearer") return [];
    const value = (name: string) => values.get(name) ?? "";
    return [{ scheme, realm: value("realm"), service: value("service"), scope: value("scope") }];
  });
}

/** A token and until when it may be used. */
interface Token {
  readonly text: string;
  readonly endMs: number;
  /** Given by some token services at log in, instead of keeping the password. */
  readonly identityToken: string;
}

/** Tokens of all registries, by realm, service, scope and user. */
export class TokenCache {
  readonly #clock: Clock;
  readonly #tokens = new Map<string, Token>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(key: string): Token | undefined {
    const token = this.#tokens.get(key);
    return token !== undefined && token.endMs > this.#clock.now() ? token : undefined;
  }

  set(key: string, token: { text: string; identityToken: string; lifeS: number }): Token {
    // Ten seconds before its end a token is not begun with any more; short-lived ones are used for half their life.
    const lifeMs = Math.max(token.lifeS * 500, token.lifeS * 1000 - 10_000);
    const kept = { ...token, endMs: this.#clock.now() + lifeMs };
    if (this.#tokens.size >= registryTokensMax) this.#tokens.clear();
    this.#tokens.set(key, kept);
    return kept;
  }

  delete(key: string): void {
    this.#tokens.delete(key);
  }
}

/** What an `Authorizer` needs. */
export interface AuthorizerOptions {
  readonly web: WebClient;
  readonly tokens: TokenCache;
  readonly endpoint: Endpoint;
  readonly auth: RegistryAuth | undefined;
}

/** Finds the Authorization header for one registry and one user. */
export class Authorizer {
  readonly #options: AuthorizerOptions;
  #challenge: Challenge | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** Takes note of a 401. Says whether trying again can help. */
  learn(response: WebResponse, scope: string): boolean {
    const before = this.#challenge;
    const challenges = parseChallenges(response.header("www-authenticate"));
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    this.#challenge = bearer ?? challenges[0];
    if (this.#challenge?.scheme !== "bearer") return before === undefined && challenges.length > 0;
    this.#options.tokens.delete(this.#key(this.#challenge, scope));
    return true;
  }

  /**
   * The header for requests of this scope, or "" when none is asked for.
   *
   * @throws ClusterError `unauthenticated` when the registry wants credentials and there are none, or refuses them.
   */
  async header(scope: string, signal: AbortSignal): Promise<string> {
    const { auth } = this.#options;
    const challenge = this.#challenge;
    if (challenge === undefined) return "";
    if (challenge.scheme === "bearer") {
      if (auth !== undefined && auth.registryToken !== "") return `Bearer ${auth.registryToken}`;
      return `Bearer ${(await this.token(scope, signal)).text}`;
    }
    if (auth === undefined || auth.username === "") {
      throw new ClusterError("unauthenticated", "no basic auth credentials");
    }
    return basic(auth);
  }

  /** The token for a scope. @throws ClusterError as `header` */
  async token(scope: string, signal: AbortSignal, login = false): Promise<Token> {
    const challenge = this.#challenge;
    if (challenge?.scheme !== "bearer") {
      throw new ClusterError("failed-precondition", "the registry takes no tokens");
    }
    const { tokens } = this.#options;
    const key = this.#key(challenge, scope);
    const kept = login ? undefined : tokens.get(key);
    return kept ?? tokens.set(key, await this.#fetch(challenge, { scope, signal, login }));
  }

  /** Whether the last challenge was one for tokens. */
  takesTokens(): boolean {
    return this.#challenge?.scheme === "bearer";
  }

  #key({ realm, service }: Challenge, scope: string): string {
    const { auth } = this.#options;
    const who = createHash("sha256")
      .update(JSON.stringify([auth?.username, auth?.password, auth?.identityToken]))
      .digest("base64");
    return [realm, service, scope, who].join("\n");
  }

  async #fetch(
    { realm, service }: Challenge,
    o: { scope: string; signal: AbortSignal; login: boolean },
  ): Promise<{ text: string; identityToken: string; lifeS: number }> {
    const { web, auth, endpoint } = this.#options;
    if (!URL.canParse(realm)) {
      throw new ClusterError(
        "failed-precondition",
        `${endpoint.host} names no valid token service: ${JSON.stringify(realm.slice(0, 256))}`,
      );
    }
    const { url, form } = tokenRequest(new URL(realm), { service, auth, ...o });
    const withPassword = auth !== undefined && auth.username !== "" && form === undefined;
    const response = await web.send({
      method: form === undefined ? "GET" : "POST",
      url,
      headers: {
        ...(withPassword ? { authorization: basic(auth) } : {}),
        ...(form === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" }),
      },
      ...(form === undefined ? {} : { body: Buffer.from(form.toString()) }),
      verify: endpoint.verify,
      trustHost: endpoint.host,
      signal: o.signal,
    });
    if (response.status !== 200) {
      throw await answerError(response, `token service ${url.host} of ${endpoint.host}`);
    }
    return tokenOf(await response.read(registryAnswerBytesMax), url.host);
  }
}

interface TokenWish {
  readonly service: string;
  readonly scope: string;
  readonly auth: RegistryAuth | undefined;
  readonly login: boolean;
}

/** With an identity token by POST, else by GET. */
function tokenRequest(url: URL, wish: TokenWish): { url: URL; form: URLSearchParams | undefined } {
  const { service, auth } = wish;
  const scopes = wish.scope === "" ? [] : wish.scope.split(" ");
  if (auth !== undefined && auth.identityToken !== "") {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      service,
      client_id: clientId,
      refresh_token: auth.identityToken,
    });
    if (scopes.length > 0) form.set("scope", scopes.join(" "));
    return { url, form };
  }
  if (service !== "") url.searchParams.set("service", service);
  for (const scope of scopes) url.searchParams.append("scope", scope);
  if (auth !== undefined && auth.username !== "") url.searchParams.set("account", auth.username);
  if (wish.login) {
    url.searchParams.set("offline_token", "true");
    url.searchParams.set("client_id", clientId);
  }
  return { url, form: undefined };
}

/** Token services show it in the list of a user's sessions. */
const clientId = "skep";

/** What a token lives for when the service does not say, by the specification. */
const defaultLifeS = 60;

function tokenOf(
  body: Uint8Array,
  host: string,
): { text: string; identityToken: string; lifeS: number } {
  const wrong = () =>
    new ClusterError("unavailable", `token service ${host} answered without a token`);
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(Buffer.from(body).toString("utf8")) as Record<string, unknown>;
  } catch {
    // What was answered may hold secrets and is not shown.
    throw wrong();
  }
  const text = json["token"] ?? json["access_token"];
  const lifeS = json["expires_in"];
  const identityToken = json["refresh_token"];
  if (typeof text !== "string" || text === "") throw wrong();
  return {
    text,
    identityToken: typeof identityToken === "string" ? identityToken : "",
    lifeS: typeof lifeS === "number" && lifeS > 0 ? lifeS : defaultLifeS,
  };
}

function basic({ username, password }: RegistryAuth): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}
