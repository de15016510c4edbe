/**
 * Debian's docker-registry as a child on a given address: plain or with TLS under an authority of its own, open or with a
 * password, in this or in another network namespace. And the test images, pushed to it.
 */
import { execFile, spawn } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { freePort } from "./free-port.ts";
import { until } from "./wait.ts";

const run = promisify(execFile);
const top = fileURLToPath(new URL("../../..", import.meta.url));

/** Whom a registry with a password lets in. */
export const registryUser = { name: "bee", password: "bees" } as const;
/** The registry takes bcrypt only, which Node does not have; this is the password above at its lowest cost. */
const htpasswd = `${registryUser.name}:$2b$05$skepskepskepskepskepseQiRlvnBTlfdpPGU/CczZs/oz5esCcoe\n`;

/** How a registry is to be. */
export interface RegistryWish {
  /** 127.0.0.1 when left out. */
  readonly host?: string;
  /** A free one when left out, which is for this network namespace only. */
  readonly port?: number;
  readonly tls?: boolean;
  readonly password?: boolean;
  /** A process whose network namespace it runs in. */
  readonly networkOf?: number;
}

/** A registry that runs. */
export interface TestRegistry {
  /** `host:port`, as in image names. */
  readonly address: string;
  readonly pid: number;
  /** PEM of the authority to trust; "" without TLS. */
  readonly authority: string;
  /** A `certs.d` folder that has it. */
  readonly certsFolder: string;
  /** Its files; blobs are below `docker/registry/v2`. */
  readonly dataFolder: string;
  /** Pushes all test images below `address[/folder]`; resolves with the digests by name (`busybox:1`). */
  pushTestImages(folder?: string): Promise<Record<string, string>>;
  /** Ends it and removes its files. */
  stop(): Promise<void>;
}

/** Starts a registry; resolves when it answers. */
export async function startRegistry(wish: RegistryWish = {}): Promise<TestRegistry> {
  const host = wish.host ?? "127.0.0.1";
  const port = wish.port ?? (await freePort());
  const folder = mkdtempSync(join(tmpdir(), "skep-registry-"));
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const certsFolder = join(folder, "certs.d");
  if (wish.tls === true) await makeCertificates(folder, { host, address });
  writeFileSync(join(folder, "htpasswd"), htpasswd);
  writeFileSync(join(folder, "config.json"), JSON.stringify(config(folder, wish, address)));
  const enter =
    wish.networkOf === undefined ? [] : ["nsenter", `--net=/proc/${wish.networkOf}/ns/net`];
  // JSON is YAML too.
  const words = [...enter, "docker-registry", "serve", join(folder, "config.json")];
  const log = openSync(join(folder, "log"), "w");
  const child = spawn(words[0] ?? "", words.slice(1), { stdio: ["ignore", log, log] });
  closeSync(log);
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const stop = async () => {
    child.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  const answered = () => {
    if (child.exitCode !== null) throw new Error(readFileSync(join(folder, "log"), "utf8"));
    return readFileSync(join(folder, "log"), "utf8").includes("listening on");
  };
  await until(answered, { withinMs: 60_000, everyMs: 20, what: "the registry listens" }).catch(
    async (error: unknown) => {
      await stop();
      throw error;
    },
  );
  return {
    ...{ address, pid: child.pid ?? 0, certsFolder, stop },
    authority: wish.tls === true ? readFileSync(join(folder, "ca.crt"), "utf8") : "",
    dataFolder: join(folder, "data"),
    pushTestImages: (below = "") =>
      pushTestImagesTo(below === "" ? address : `${address}/${below}`, wish, certsFolder),
  };
}

/** Pushes the test images to any registry; `also` names what is pushed beside the usual ones. */
export async function pushTestImagesTo(
  target: string,
  wish: RegistryWish & { readonly also?: "registry" | "echo" | "shop" } = {},
  certsFolder = "",
): Promise<Record<string, string>> {
  const { name, password } = registryUser;
  const enter =
    wish.networkOf === undefined ? [] : ["nsenter", `--net=/proc/${wish.networkOf}/ns/net`];
  const script = join(top, "scripts/test-images.mjs");
  // They are made from what may have to be fetched, and the other network may lead nowhere.
  if (wish.networkOf !== undefined) await run(process.execPath, [script]);
  const words = [
    ...[...enter, process.execPath, script, "push", target],
    ...(wish.password === true ? ["--user", name, "--password", password] : []),
    ...(wish.tls === true ? ["--certs", certsFolder] : []),
    ...(wish.also === undefined ? [] : ["--with", wish.also]),
  ];
  const { stdout } = await run(words[0] ?? "", words.slice(1));
  const lines = stdout.trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.slice(target.length + 1).split(" ")));
}

function config(folder: string, wish: RegistryWish, address: string): object {
  return {
    version: "0.1",
    log: { level: "info", accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: join(folder, "data") },
      delete: { enabled: true },
      maintenance: { uploadpurging: { enabled: false } },
    },
    http: {
      addr: address,
      secret: "of no use to anybody",
      ...(wish.tls === true && {
        tls: { certificate: join(folder, "server.crt"), key: join(folder, "server.key") },
      }),
    },
    ...(wish.password === true && {
      auth: { htpasswd: { realm: "the hive", path: join(folder, "htpasswd") } },
    }),
  };
}

/** An authority, and a certificate for the host under it. */
async function makeCertificates(
  folder: string,
  o: { host: string; address: string },
): Promise<void> {
  const at = (name: string) => join(folder, name);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const isAddress = /^[0-9.]+$|:/.test(o.host);
  await run("openssl", [
    ...["req", "-x509", ...key, "-days", "30", "-subj", "/CN=authority of the tests"],
    ...["-keyout", at("ca.key"), "-out", at("ca.crt")],
  ]);
  await run("openssl", [
    ...["req", "-x509", ...key, "-days", "30", "-subj", "/CN=registry"],
    ...["-addext", `subjectAltName=${isAddress ? "IP" : "DNS"}:${o.host}`],
    ...["-addext", "basicConstraints=critical,CA:FALSE"],
    ...["-CA", at("ca.crt"), "-CAkey", at("ca.key")],
    ...["-keyout", at("server.key"), "-out", at("server.crt")],
  ]);
  const trusted = join(folder, "certs.d", o.address);
  mkdirSync(trusted, { recursive: true });
  writeFileSync(join(trusted, "ca.crt"), readFileSync(at("ca.crt")));
}
