/**
 * A program: gives a name in a registry the index of another name, with another image for one architecture. What is in that
 * image stays as it is; a note in its manifest gives it another digest.
 *
 * It is a program, as the registry may be in another network namespace: `pushVariantTo` starts it there.
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** What is pushed. */
interface Variant {
  /** `host:port/name` of the images. */
  readonly images: string;
  readonly from: string;
  readonly to: string;
  readonly architecture: string;
  readonly note: string;
}

/** Pushes it. @param networkOf A process whose network namespace the registry is in. */
export async function pushVariantTo(
  variant: Variant,
  networkOf: number | undefined,
): Promise<void> {
  const enter = networkOf === undefined ? [] : ["nsenter", `--net=/proc/${networkOf}/ns/net`];
  const self = fileURLToPath(import.meta.url);
  const [program = "", ...words] = [...enter, process.execPath, self, JSON.stringify(variant)];
  await promisify(execFile)(program, words);
}

interface Manifest {
  readonly type: string;
  readonly body: {
    readonly annotations?: Readonly<Record<string, string>>;
    readonly manifests?: readonly {
      readonly digest: string;
      readonly platform?: { readonly architecture?: string };
    }[];
  };
}

const kinds = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
];

async function push({ images, from, to, architecture, note }: Variant): Promise<void> {
  const [host = "", ...path] = images.split("/");
  const base = `http://${host}/v2/${path.join("/")}/manifests`;
  const index = await manifest(`${base}/${from}`);
  const entries = index.body.manifests ?? [];
  const old = entries.find(({ platform }) => platform?.architecture === architecture);
  if (old === undefined) throw new Error(`${from} is not for ${architecture}`);
  const image = await manifest(`${base}/${old.digest}`);
  const annotations = { note };
  const noted = { ...image, body: { ...image.body, annotations } };
  const made = await put(`${base}/${to}-${architecture}`, noted);
  const manifests = entries.map((entry) => (entry === old ? { ...entry, ...made } : entry));
  await put(`${base}/${to}`, { type: index.type, body: { ...index.body, manifests } });
}

async function manifest(url: string): Promise<Manifest> {
  const answer = await fetch(url, { headers: { accept: kinds.join(", ") } });
  if (!answer.ok) throw new Error(`${url}: ${await answer.text()}`);
  const body = (await answer.json()) as Manifest["body"];
  return { type: answer.headers.get("content-type") ?? "", body };
}

async function put(
  url: string,
  { type, body }: Manifest,
): Promise<{ readonly digest: string; readonly size: number }> {
  const text = JSON.stringify(body);
  const answer = await fetch(url, { method: "PUT", headers: { "content-type": type }, body: text });
  if (!answer.ok) throw new Error(`${url}: ${await answer.text()}`);
  const digest = answer.headers.get("docker-content-digest") ?? "";
  return { digest, size: Buffer.byteLength(text) };
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await push(JSON.parse(process.argv[2] ?? "") as Variant);
