/**
 * A registry in this process for what a real one does not do on command: cut transfers, lies about digests, redirects to
 * another host, tokens. Also records what it was asked.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** One request as it came. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly authorization: string;
  readonly range: string;
  readonly body: string;
}

/** How it answers. */
export interface FakeBehaviour {
  /** What a client has to show; undefined for nothing. */
  auth?: "basic" | "bearer";
  /** Body bytes of a layer after which the connection is cut, once per entry. */
  cuts: number[];
  /** Blobs are fetched there. */
  redirectBlobsTo?: string;
  /** Answers ranges with the whole. */
  ignoresRanges?: boolean;
  /** Answers everything with this. */
  status?: number;
  /** Stands in the header instead of the true digest. */
  claimedDigest?: string;
  /** Waits for it before a layer is sent. */
  gate?: Promise<void>;
  /** The same, once nothing is left to be cut. */
  gateAfterCut?: Promise<void>;
}

/** The user it knows. */
export const fakeUser = { name: "bee", password: "honey", identityToken: "nectar" } as const;

/** A registry on loopback. */
export class FakeRegistry {
  readonly seen: SeenRequest[] = [];
  readonly behaviour: FakeBehaviour = { cuts: [] };
  readonly #content = new Map<string, { body: Uint8Array; type: string }>();
  readonly #tokens = new Set<string>();
  readonly #server: Server;
  /** Host and port. */
  host = "";

  private constructor() {
    this.#server = createServer((message, response) => void this.#answer(message, response));
  }

  static async start(): Promise<FakeRegistry> {
    const registry = new FakeRegistry();
    await new Promise<void>((resolve) => {
      registry.#server.listen(0, "127.0.0.1", resolve);
    });
    registry.host = `127.0.0.1:${(registry.#server.address() as AddressInfo).port}`;
    return registry;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Makes content be there by its digest; resolves with that. */
  put(body: Uint8Array | string | object, type = "application/octet-stream"): string {
    const bytes =
      body instanceof Uint8Array
        ? body
        : Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    this.#content.set(digest, { body: bytes, type });
    return digest;
  }

  /** What is there under a name or digest. */
  get(reference: string): Uint8Array {
    return this.#content.get(reference)?.body ?? new Uint8Array(0);
  }

  /** Gives a tag, or a digest that is a lie, to content. */
  name(reference: string, digest: string): void {
    const found = this.#content.get(digest);
    if (found !== undefined) this.#content.set(reference, found);
  }

  /** Requests whose path has this in it. */
  requests(part: string): SeenRequest[] {
    return this.seen.filter(({ path }) => path.includes(part));
  }

  /** Forgets all tokens, as if they had run out. */
  dropTokens(): void {
    this.#tokens.clear();
  }

  async #answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of message) pieces.push(piece as Buffer);
    const path = message.url ?? "";
    const authorization = message.headers.authorization ?? "";
    const body = Buffer.concat(pieces).toString("utf8");
    const range = message.headers.range ?? "";
    this.seen.push({ method: message.method ?? "", path, authorization, range, body });
    if (path.startsWith("/token")) this.#giveToken(response, { path, authorization, body });
    else if (this.behaviour.status !== undefined)
      refuse(response, this.behaviour.status, "UNAVAILABLE");
    else if (!this.#knows(authorization) && !path.startsWith("/elsewhere/"))
      this.#challenge(response);
    else if (/^\/v2\/$/.test(path)) response.end("{}");
    else await this.#giveContent(response, { path, range, head: message.method === "HEAD" });
  }

  #knows(authorization: string): boolean {
    const { auth } = this.behaviour;
    if (auth === undefined) return true;
    if (auth === "bearer") return this.#tokens.has(authorization.replace(/^Bearer /, ""));
    return authorization === basicHeader();
  }

  #challenge(response: ServerResponse): void {
    const realm = `http://${this.host}/token`;
    const header =
      this.behaviour.auth === "basic"
        ? 'Basic realm="the hive"'
        : `Bearer realm="${realm}",service="hive, inner",scope="repository:any:pull"`;
    response.setHeader("www-authenticate", header);
    refuse(response, 401, "UNAUTHORIZED");
  }

  #giveToken(
    response: ServerResponse,
    o: { path: string; authorization: string; body: string },
  ): void {
    const form = new URLSearchParams(o.body);
    const refused =
      o.body === ""
        ? o.authorization !== "" && o.authorization !== basicHeader()
        : form.get("refresh_token") !== fakeUser.identityToken;
    if (refused) {
      refuse(response, 401, "UNAUTHORIZED");
      return;
    }
    const token = `token-${this.#tokens.size + 1}-${this.seen.length}`;
    this.#tokens.add(token);
    const offline = o.path.includes("offline_token=true");
    response.end(
      JSON.stringify({
        token,
        expires_in: 300,
        ...(offline ? { refresh_token: fakeUser.identityToken } : {}),
      }),
    );
  }

  async #giveContent(
    response: ServerResponse,
    o: { path: string; range: string; head: boolean },
  ): Promise<void> {
    const name = o.path.slice(o.path.lastIndexOf("/") + 1);
    const found = this.#content.get(name);
    const isBlob = o.path.includes("/blobs/");
    if (found === undefined) {
      refuse(response, 404, isBlob ? "BLOB_UNKNOWN" : "MANIFEST_UNKNOWN");
      return;
    }
    const { redirectBlobsTo, ignoresRanges, claimedDigest, gate } = this.behaviour;
    if (isBlob && redirectBlobsTo !== undefined) {
      response.setHeader("location", `http://${redirectBlobsTo}/elsewhere/${name}`);
      response.statusCode = 307;
      response.end();
      return;
    }
    // Configurations are small.
    const isLayer = (isBlob || o.path.startsWith("/elsewhere/")) && found.body.length > 100_000;
    if (isLayer) await gate;
    if (isLayer && this.behaviour.cuts.length === 0) await this.behaviour.gateAfterCut;
    const start = ignoresRanges === true ? 0 : Number(/^bytes=(\d+)-/.exec(o.range)?.[1] ?? 0);
    const { body } = found;
    response.statusCode = start > 0 ? 206 : 200;
    response.setHeader("content-type", found.type);
    response.setHeader("content-length", body.length - start);
    response.setHeader("docker-content-digest", claimedDigest ?? digestOfBody(body));
    if (start > 0)
      response.setHeader("content-range", `bytes ${start}-${body.length - 1}/${body.length}`);
    const cut = isLayer ? this.behaviour.cuts.shift() : undefined;
    if (o.head) response.end();
    else if (cut === undefined) response.end(body.subarray(start));
    else response.write(body.subarray(start, start + cut), () => response.socket?.destroy());
  }
}

function digestOfBody(body: Uint8Array): string {
  return `sha256:${createHash("sha256").update(body).digest("hex")}`;
}

function basicHeader(): string {
  return `Basic ${Buffer.from(`${fakeUser.name}:${fakeUser.password}`).toString("base64")}`;
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ errors: [{ code, message: `${code.toLowerCase()} here` }] }));
}
