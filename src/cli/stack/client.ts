/**
 * The requests of `skep stack` to a manager, with the pieces of the answers that the commands use.
 */
import { ClusterError, type ErrorCode } from "../../common/errors/cluster-error.ts";
import { namespaceLabel } from "../../stack/translate/context.ts";
import { type ApiHost, type ApiRequest, ask, messageOf } from "../api.ts";

/** A part of an answer. */
export type Json = { readonly [key: string]: unknown };

/** An object of the cluster as the API shows it. */
export interface ApiObject {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: Json;
  readonly raw: Json;
}

/** What stacks are made of, as the API's paths name it. */
export type ObjectKind = "services" | "networks" | "secrets" | "configs";

/** An answer, and whether it was asked for just now. */
export interface RegistryAnswer {
  readonly answer: Promise<unknown>;
  readonly isNew: boolean;
}

const codes: Readonly<Record<number, ErrorCode>> = {
  400: "invalid-argument",
  403: "permission-denied",
  404: "not-found",
  409: "already-exists",
  501: "unimplemented",
  503: "unavailable",
};

/** Asks one daemon. */
export class StackClient {
  readonly #host: ApiHost;
  /** By name and credentials. */
  readonly #images = new Map<string, Promise<unknown>>();

  constructor(host: ApiHost) {
    this.#host = host;
  }

  /** The answer as JSON; undefined when there is none. @throws ClusterError with the daemon's message. */
  async call(request: ApiRequest): Promise<unknown> {
    const { status, text } = await ask(this.#host, request);
    if (status >= 300) {
      const said = `Error response from daemon: ${messageOf(text)}`;
      throw new ClusterError(codes[status] ?? "unknown", said);
    }
    return text === "" ? undefined : JSON.parse(text);
  }

  /** An answer that comes in pieces. @throws ClusterError with the daemon's message. */
  async stream(path: string, onData: (piece: Buffer) => void): Promise<void> {
    const { status, text } = await ask(this.#host, { method: "GET", path, onData });
    if (status !== 200)
      throw new ClusterError(
        codes[status] ?? "unknown",
        `Error response from daemon: ${messageOf(text)}`,
      );
  }

  /**
   * What the registry of an image says of it, asked once. The answer rejects with the daemon's message.
   *
   * @param o.withinS How long the daemon may wait for the registry; undefined: as long as it does for itself.
   */
  image(
    name: string,
    o: {
      readonly headers: Readonly<Record<string, string>>;
      readonly withinS: number | undefined;
    },
  ): RegistryAnswer {
    const { headers, withinS } = o;
    const key = JSON.stringify([name, headers]);
    const known = this.#images.get(key);
    if (known !== undefined) return { answer: known, isNew: false };
    const query = withinS === undefined ? "" : `?timeout=${withinS}`;
    const path = `/distribution/${encodeURIComponent(name).replaceAll("%2F", "/")}/json${query}`;
    const answer = this.call({ method: "GET", path, headers });
    this.#images.set(key, answer);
    return { answer, isNew: true };
  }

  /** Objects of a stack. */
  ofStack(kind: ObjectKind, stack: string): Promise<readonly ApiObject[]> {
    return this.#list(kind, { label: { [`${namespaceLabel}=${stack}`]: true } });
  }

  /** Objects with exactly these names. */
  async byName(
    kind: ObjectKind,
    names: readonly string[],
  ): Promise<ReadonlyMap<string, ApiObject>> {
    if (names.length === 0) return new Map();
    const wanted = new Set(names);
    const found = await this.#list(kind, {
      name: Object.fromEntries(names.map((name) => [name, true])),
    });
    return new Map(found.filter(({ name }) => wanted.has(name)).map((one) => [one.name, one]));
  }

  /** Services that are part of any stack. */
  stackServices(): Promise<readonly ApiObject[]> {
    return this.#list("services", { label: { [namespaceLabel]: true } });
  }

  /** Services, with the count of their tasks in `raw.ServiceStatus`. */
  async servicesWithStatus(stack: string): Promise<readonly ApiObject[]> {
    const filters = encode({ label: { [`${namespaceLabel}=${stack}`]: true } });
    const list = await this.call({
      method: "GET",
      path: `/services?status=true&filters=${filters}`,
    });
    return (list as readonly Json[]).map(objectFrom);
  }

  /** One object; undefined when it is not there. */
  async find(kind: ObjectKind, name: string): Promise<ApiObject | undefined> {
    try {
      return objectFrom(
        (await this.call({ method: "GET", path: `/${kind}/${encodeURIComponent(name)}` })) as Json,
      );
    } catch (error) {
      if (error instanceof ClusterError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  /** Tasks of services. */
  async tasks(
    filters: Readonly<Record<string, Readonly<Record<string, boolean>>>>,
  ): Promise<readonly Json[]> {
    return (await this.call({
      method: "GET",
      path: `/tasks?filters=${encode(filters)}`,
    })) as readonly Json[];
  }

  /** The nodes. */
  async nodes(): Promise<readonly Json[]> {
    return (await this.call({ method: "GET", path: "/nodes" })) as readonly Json[];
  }

  /** Names of networks by id; what is no id stands for itself. */
  async networkNames(): Promise<(id: string) => string> {
    const list = (await this.call({ method: "GET", path: "/networks" })) as readonly Json[];
    const names = new Map(list.map((network) => [String(network["Id"]), String(network["Name"])]));
    return (id) => names.get(id) ?? id;
  }

  /** Makes an object; its id. */
  async create(
    kind: ObjectKind,
    body: Json,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const made = (await this.call({
      method: "POST",
      path: `/${kind}/create`,
      body,
      headers,
    })) as Json;
    return String(made["ID"] ?? made["Id"] ?? "");
  }

  /** Changes an object. */
  async update(
    kind: ObjectKind,
    { id, version }: ApiObject,
    o: { readonly body: Json; readonly headers?: Readonly<Record<string, string>> | undefined },
  ): Promise<void> {
    const path = `/${kind}/${id}/update?version=${version}`;
    await this.call({ method: "POST", path, body: o.body, headers: o.headers ?? {} });
  }

  /** Removes an object; one that is gone is no fault. */
  async remove(kind: ObjectKind, id: string): Promise<void> {
    try {
      await this.call({ method: "DELETE", path: `/${kind}/${id}` });
    } catch (error) {
      if (!(error instanceof ClusterError) || error.code !== "not-found") throw error;
    }
  }

  async #list(kind: ObjectKind, filters: object): Promise<readonly ApiObject[]> {
    const list = await this.call({ method: "GET", path: `/${kind}?filters=${encode(filters)}` });
    return (list as readonly Json[]).map(objectFrom);
  }
}

function encode(filters: object): string {
  return encodeURIComponent(JSON.stringify(filters));
}

/** Networks have their fields at the top, the others in `Spec`. */
function objectFrom(raw: Json): ApiObject {
  const spec = (raw["Spec"] as Json | undefined) ?? raw;
  const version = (raw["Version"] as { readonly Index?: number } | undefined)?.Index ?? 0;
  return {
    id: String(raw["ID"] ?? raw["Id"] ?? ""),
    name: String(spec["Name"] ?? ""),
    version,
    labels: (spec["Labels"] as Readonly<Record<string, string>> | null | undefined) ?? {},
    spec,
    raw,
  };
}
