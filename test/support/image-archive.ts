/**
 * An image with nothing but busybox as `docker save` writes one: a tar with the layer, the configuration and a list of both.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { pack } from "tar-stream";

/** One file of an archive. */
interface ArchiveEntry {
  readonly name: string;
  readonly data?: Buffer;
  readonly link?: string;
  readonly folder?: boolean;
  readonly mode?: number;
}

/**
 * The archive.
 * @param name `name:tag` it is loaded by.
 * @param config Of the image, in the API's words; beside PATH and `sh`.
 */
export async function busyboxArchive(name: string, config: object = {}): Promise<Buffer> {
  const layer = await tarOf([
    { name: "bin/busybox", data: readFileSync("/bin/busybox"), mode: 0o755 },
    ...applets().map((applet) => ({ name: `bin/${applet}`, link: "busybox" })),
    { name: "tmp", folder: true, mode: 0o1777 },
    {
      name: "etc/passwd",
      data: Buffer.from("root:x:0:0:root:/root:/bin/sh\nbee:x:7:8::/home:/bin/sh\n"),
    },
    { name: "etc/group", data: Buffer.from("root:x:0:\nhive:x:8:\nmeadow:x:9:bee\n") },
    { name: "data/honey", data: Buffer.from("sweet\n") },
  ]);
  const digest = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
  const image = Buffer.from(
    JSON.stringify({
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      os: "linux",
      created: "2026-01-02T03:04:05Z",
      config: { Env: ["PATH=/bin"], Cmd: ["sh"], ...config },
      rootfs: { type: "layers", diff_ids: [`sha256:${digest(layer)}`] },
      history: [{ created: "2026-01-02T03:04:05Z", created_by: "busybox" }],
    }),
  );
  const configName = `${digest(image)}.json`;
  const layerName = `${digest(layer)}/layer.tar`;
  const list = [{ Config: configName, RepoTags: [name], Layers: [layerName] }];
  return tarOf([
    { name: configName, data: image },
    { name: layerName, data: layer },
    { name: "manifest.json", data: Buffer.from(JSON.stringify(list)) },
  ]);
}

/** Its own name is left out: a link to itself could not be run. */
function applets(): readonly string[] {
  return execFileSync("/bin/busybox", ["--list"], { encoding: "utf8" })
    .split("\n")
    .filter((applet) => applet !== "" && applet !== "busybox");
}

/** A tar of these files. */
export async function tarOf(entries: readonly ArchiveEntry[]): Promise<Buffer> {
  const tar = pack();
  for (const { name, data, link, folder, mode = 0o644 } of entries) {
    if (folder === true) tar.entry({ name, type: "directory", mode });
    else if (link !== undefined) tar.entry({ name, type: "symlink", linkname: link });
    else tar.entry({ name, mode }, data ?? Buffer.alloc(0));
  }
  tar.finalize();
  const pieces: Buffer[] = [];
  for await (const piece of tar) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}
