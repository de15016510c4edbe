/**
 * One repository of one registry, opened for pulling or pushing: manifests, blobs, uploads.
 *
 * OCI distribution specification 1.1. Whatever comes is checked against its digest: what is read whole here, layers by who
 * stores them. Layers are read from an offset on, so that a cut transfer goes on where it stopped.
 */
import { createHash } from "node:crypto";
import { ClusterError } from "../errors/cluster-error.ts";
import { imageConfigBytesMax, manifestBytesMax } from "../limits/limits.ts";
import { answerError, codeOf, refusalText } from "./answer-error.ts";
import type { Authorizer } from "./auth.ts";
import type { WebClient, WebRequest, WebResponse } from "./http.ts";
import { manifestAccept } from "./manifest.ts";
import { familiarName, familiarText, type ImageReference, isDigest } from "./reference.ts";
import type { Endpoint } from "./settings.ts";

/** What a repository is opened for. */
export type Access = "pull" | "pull,push";

/** A manifest or index as the registry holds it. */
export interface RawManifest {
  readonly digest: string;
  readonly mediaType: string;
  readonly body: Uint8Array;
}

/** A blob on its way. */
export interface BlobStream {
  /** Where it begins: the offset asked for, or 0 when the registry knows no ranges. */
  readonly offsetBytes: number;
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** A blob to be uploaded. */
export interface Upload {
  readonly digest: string;
  readonly sizeBytes: number;
  /** Repository of the same registry that is likely to have it; "" for none. */
  readonly mountFrom: string;
  readonly content: () => AsyncIterable<Uint8Array>;
}

/** What a repository is made of. */
export interface RepositoryOptions {
  readonly web: WebClient;
  readonly endpoint: Endpoint;
  readonly authorizer: Authorizer;
  readonly reference: ImageReference;
  readonly access: Access;
  readonly signal: AbortSignal;
}

/** A repository at one endpoint. @throws ClusterError as `Images` says, from every method */
export class Repository {
  readonly #options: RepositoryOptions;
  /** Scopes that tokens must be good for, in the words of the token specification. */
  #scope: string;

  constructor(options: RepositoryOptions) {
    this.#options = options;
    this.#scope = `repository:${options.reference.repository}:${options.access}`;
  }

  /** Registry as it stands in references, for labels. */
  get domain(): string {
    return this.#options.reference.domain;
  }

  /** Reads a manifest by the tag or digest of the reference, or by the one given. */
  async manifest(byDigest = ""): Promise<RawManifest> {
    const { reference } = this.#options;
    const wanted = byDigest || reference.digest;
    const name = wanted || reference.tag || "latest";
    const response = await this.#send("GET", `manifests/${name}`, {
      accept: manifestAccept.join(", "),
    });
    if (response.status !== 200) throw await this.#manifestError(response, wanted);
    const said = response.header("docker-content-digest");
    const body = await response.read(manifestBytesMax);
    // A registry may use another algorithm than the one asked for; then its word says nothing about the content.
    const expected = wanted || (isDigest(said) ? said : "");
    const digest = digestOf(body, expected.startsWith("sha512:") ? "sha512" : "sha256");
    if (expected !== "" && digest !== expected) throw this.#wrongContent(expected, digest);
    return { digest, mediaType: response.header("content-type").split(";")[0] ?? "", body };
  }

  /** Reads a blob from an offset on; content is not checked here. */
  async blob(digest: string, offsetBytes: number): Promise<BlobStream> {
    const headers: Record<string, string> =
      offsetBytes > 0 ? { range: `bytes=${offsetBytes}-` } : {};
    const response = await this.#send("GET", `blobs/${digest}`, headers);
    if (response.status === 206 && rangeStart(response) === offsetBytes)
      return { offsetBytes, chunks: response.chunks() };
    if (response.status === 200) return { offsetBytes: 0, chunks: response.chunks() };
    if (response.status === 206) {
      response.discard();
      throw new ClusterError(
        "unavailable",
        `${this.#host}: answered another range than the one asked for`,
      );
    }
    throw await answerError(response, `${this.#host}: ${digest}`);
  }

  /** Reads a small blob whole, such as an image configuration, and checks it. */
  async smallBlob(digest: string): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    const { chunks } = await this.blob(digest, 0);
    for await (const piece of chunks) {
      length += piece.length;
      if (length > imageConfigBytesMax) {
        throw new ClusterError(
          "failed-precondition",
          `${this.#host}: ${digest} is longer than ${imageConfigBytesMax} bytes`,
        );
      }
      pieces.push(piece);
    }
    const body = Buffer.concat(pieces);
    const found = digestOf(body, digest.startsWith("sha512:") ? "sha512" : "sha256");
    if (found !== digest) throw this.#wrongContent(digest, found);
    return body;
  }

  /** Whether the registry has the blob. */
  async hasBlob(digest: string): Promise<boolean> {
    const response = await this.#send("HEAD", `blobs/${digest}`, {});
    if (response.status === 200 || response.status === 404) {
      response.discard();
      return response.status === 200;
    }
    throw new ClusterError(
      codeOf(response.status),
      `${this.#host}: ${await refusalText(response)}`,
    );
  }

  /** Brings a blob into the repository, or finds it there. */
  async upload(blob: Upload): Promise<"present" | "mounted" | "uploaded"> {
    if (await this.hasBlob(blob.digest)) return "present";
    const { status, location } = await this.#startUpload(blob);
    if (status === 201) return "mounted";
    const sent = await this.#request("PATCH", location, {
      headers: {
        "content-type": "application/octet-stream",
        "content-length": String(blob.sizeBytes),
      },
      body: blob.content(),
    });
    if (sent.status !== 202) throw await this.#pushError(sent);
    const next = locationOf(sent);
    sent.discard();
    next.searchParams.set("digest", blob.digest);
    const done = await this.#request("PUT", next, { headers: { "content-length": "0" } });
    if (done.status !== 201 && done.status !== 204) throw await this.#pushError(done);
    done.discard();
    return "uploaded";
  }

  /** Writes a manifest or index under the tag of the reference, or by digest only. Resolves with its digest. */
  async putManifest(manifest: Omit<RawManifest, "digest">, byDigest = ""): Promise<string> {
    const { reference } = this.#options;
    const digest = digestOf(manifest.body, "sha256");
    const name = byDigest || reference.tag || "latest";
    const response = await this.#request("PUT", this.#url(`manifests/${name}`), {
      headers: { "content-type": manifest.mediaType },
      body: manifest.body,
    });
    if (response.status !== 201 && response.status !== 200) throw await this.#pushError(response);
    response.discard();
    return digest;
  }

  async #startUpload(blob: Upload): Promise<{ status: number; location: URL }> {
    const url = this.#url("blobs/uploads/");
    if (blob.mountFrom !== "") {
      url.searchParams.set("mount", blob.digest);
      url.searchParams.set("from", blob.mountFrom);
      const scope = `repository:${blob.mountFrom}:pull`;
      if (!this.#scope.split(" ").includes(scope)) this.#scope = `${this.#scope} ${scope}`;
    }
    const response = await this.#request("POST", url, { headers: { "content-length": "0" } });
    if (response.status !== 202 && response.status !== 201) throw await this.#pushError(response);
    const location = response.status === 201 ? url : locationOf(response);
    response.discard();
    return { status: response.status, location };
  }

  get #host(): string {
    return this.#options.endpoint.host;
  }

  #url(path: string): URL {
    const { endpoint, reference } = this.#options;
    return new URL(`${endpoint.base}/v2/${reference.repository}/${path}`);
  }

  #send(
    method: "GET" | "HEAD",
    path: string,
    headers: Record<string, string>,
  ): Promise<WebResponse> {
    return this.#request(method, this.#url(path), { headers });
  }

  /** Answers one 401 with a new token; a stream that was sent cannot be sent again. */
  async #request(
    method: WebRequest["method"],
    url: URL,
    o: { headers: Record<string, string>; body?: Uint8Array | AsyncIterable<Uint8Array> },
  ): Promise<WebResponse> {
    const { web, endpoint, authorizer, signal } = this.#options;
    const replayable = o.body === undefined || o.body instanceof Uint8Array;
    // Uploads may be sent to another host, which gets no credentials either.
    const own = url.origin === new URL(endpoint.base).origin;
    for (let attempt = 0; ; attempt++) {
      const authorization = own ? await authorizer.header(this.#scope, signal) : "";
      const response = await web.send({
        method,
        url,
        headers: { ...(authorization === "" ? {} : { authorization }), ...o.headers },
        ...(o.body === undefined ? {} : { body: o.body }),
        verify: endpoint.verify,
        trustHost: endpoint.host,
        signal,
      });
      const again = response.status === 401 && own && replayable && attempt === 0;
      if (!again || !authorizer.learn(response, this.#scope)) return response;
      response.discard();
    }
  }

  async #manifestError(response: WebResponse, digest: string): Promise<ClusterError> {
    const { reference } = this.#options;
    const name = familiarName(reference);
    const words = await refusalText(response);
    const code = codeOf(response.status);
    const fields = { status: response.status };
    if (code === "unauthenticated" || code === "permission-denied") {
      const text = `pull access denied for ${name}, repository does not exist or may require 'docker login': ${words}`;
      return new ClusterError(code, text, { fields });
    }
    if (code === "not-found") {
      const what = digest === "" ? familiarText(reference) : `${name}@${digest}`;
      return new ClusterError(code, `manifest for ${what} not found: ${words}`, { fields });
    }
    return new ClusterError(code, `${this.#host}: ${name}: ${words}`, { fields });
  }

  async #pushError(response: WebResponse): Promise<ClusterError> {
    const words = await refusalText(response);
    const code = codeOf(response.status);
    const fields = { status: response.status };
    if (code === "unauthenticated" || code === "permission-denied") {
      const name = familiarName(this.#options.reference);
      return new ClusterError(code, `push access denied for ${name}: ${words}`, { fields });
    }
    return new ClusterError(code, `${this.#host}: ${words}`, { fields });
  }

  #wrongContent(expected: string, found: string): ClusterError {
    return new ClusterError(
      "failed-precondition",
      `registry ${this.#host} sent wrong content for ${familiarName(this.#options.reference)}: asked for ${expected}, got ${found}`,
    );
  }
}

/** Digest of content. */
export function digestOf(content: Uint8Array, algorithm: "sha256" | "sha512" = "sha256"): string {
  return `${algorithm}:${createHash(algorithm).update(content).digest("hex")}`;
}

/** First byte of the range an answer holds; -1 when it does not say. */
function rangeStart(response: WebResponse): number {
  const match = /^bytes (\d+)-/.exec(response.header("content-range"));
  return match === null ? -1 : Number(match[1]);
}

function locationOf(response: WebResponse): URL {
  const location = response.header("location");
  if (!URL.canParse(location, response.url.href)) {
    throw new ClusterError(
      "failed-precondition",
      `${response.url.host}: the registry did not say where to upload to`,
    );
  }
  return new URL(location, response.url);
}
