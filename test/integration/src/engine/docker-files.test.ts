/**
 * Files, images and volumes by the stock docker clients on a real daemon.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { dockerClients } from "../../../support/docker.ts";
import { DockerSession } from "../../../support/docker-session.ts";
import { busyboxArchive, tarOf } from "../../../support/image-archive.ts";
import { type RealDaemon, startDaemon } from "../../../support/real-daemon.ts";
import { startRegistry, type TestRegistry } from "../../../support/registry.ts";

describe("docker's files, images and volumes on a real daemon", function () {
  this.timeout(300_000);
  let daemon: RealDaemon;
  let registry: TestRegistry;
  before(async () => {
    registry = await startRegistry();
    daemon = await startDaemon();
    const [client] = dockerClients();
    assert.ok(client, "scripts/setup brings a docker client");
    const archive = await busyboxArchive("busybox:1");
    const loaded = await new DockerSession(client, daemon).run(["load"], archive);
    assert.deepEqual(loaded.stdout, "Loaded image: busybox:1\n", `${loaded.stderr}${daemon.log()}`);
  });
  after(async () => {
    await daemon?.stop();
    await registry?.stop();
  });

  for (const client of dockerClients()) {
    describe(`${client.name}: files`, () => {
      let d: DockerSession;
      before(() => {
        d = new DockerSession(client, daemon);
      });
      afterEach(() => d.clean());

      it("copies files and folders both ways, running or not", async () => {
        const from = join(d.daemon.dir, "from");
        mkdirSync(join(from, "sub"), { recursive: true });
        writeFileSync(join(from, "sub", "f"), "honey");
        await d.docker("create --network none --name still busybox:1 cat /made/sub/f");
        await d.sleeper("moving");
        for (const name of ["still", "moving"]) {
          await d.docker(`cp ${from} ${name}:/made`);
          const to = join(d.daemon.dir, `to-${client.name}-${name}`);
          await d.docker(`cp ${name}:/made/sub/f ${to}`);
          assert.equal(readFileSync(to, "utf8"), "honey");
        }
        assert.equal(await d.docker("start -a still"), "honey");
        assert.equal(await d.docker("exec moving cat /made/sub/f"), "honey");
        const tar = await tarOf([{ name: "x", data: Buffer.from("tarred") }]);
        assert.equal((await d.run(["cp", "-", "moving:/tmp"], tar)).code, 0);
        assert.equal(await d.docker("exec moving cat /tmp/x"), "tarred");
        const missing = await d.refused(`cp moving:/none ${from}`);
        assert.match(
          missing.stderr,
          /Could not find the file \/none in container moving|No such container:path/,
        );
        assert.match(
          (await d.refused(`cp ${from} moving:/no/such/x`)).stderr,
          /no such|No such|not find/i,
        );
        const diff = (await d.docker("diff moving")).split("\n");
        for (const line of ["A /made", "A /made/sub", "A /made/sub/f", "A /tmp/x"])
          assert.ok(diff.includes(line), diff.join());
      });

      it("makes images of containers, and of archives", async () => {
        await d.docker("run --network none --name changed busybox:1 sh -c", "echo new >/file");
        const id = await d.docker(
          "commit -m why -a me --change",
          'CMD ["cat","/file"]',
          "changed",
          "kept:1",
        );
        assert.match(id, /^sha256:[0-9a-f]{64}$/);
        assert.equal(await d.docker("run --rm --network none kept:1"), "new");
        assert.equal(await d.inspect("kept:1", "{{.Author}} {{.Comment}}"), "me why");
        const file = join(d.daemon.dir, `${client.name}.tar`);
        await d.docker(`export -o ${file} changed`);
        const imported = await d.docker("import --change", "CMD cat /file", file, "flat:1");
        assert.match(imported, /^sha256:[0-9a-f]{64}$/);
        assert.equal(await d.docker("run --rm --network none flat:1"), "new");
        await d.docker("rm changed");
        await d.docker("rmi kept:1 flat:1");
      });

      it("shows what is on the disk, and prunes what has stopped", async () => {
        await d.docker(
          "run --network none --name done busybox:1 sh -c",
          "dd if=/dev/zero of=/big bs=1M count=2 2>/dev/null",
        );
        assert.match(await d.docker("system df"), /Containers +1 +0 /);
        assert.match(await d.docker("ps -as --format {{.Size}}"), /^2\.\d+MB \(virtual /);
        assert.match(await d.docker("container prune -f"), /Total reclaimed space: 2\.\d+MB/);
        assert.match(
          await d.docker("info --format", "{{.Containers}} {{.Images}} {{.Driver}}"),
          /^0 \d+ overlayfs$/,
        );
        assert.match(await d.docker("version"), /containerd:\s+Version:\s+1\./);
      });
    });
    describe(`${client.name}: images`, () => {
      let d: DockerSession;
      let address: string;
      before(() => {
        d = new DockerSession(client, daemon);
        address = registry.address;
      });
      afterEach(() => d.clean());

      it("lists, inspects, names and removes them", async () => {
        assert.match(
          await d.docker("images --format", "{{.Repository}}:{{.Tag}} {{.Size}}", "busybox:1"),
          /^busybox:1 \d.*MB$/,
        );
        const id = await d.inspect("busybox:1", "{{.Id}}");
        assert.equal(await d.docker("images -q --no-trunc busybox:1"), id);
        assert.equal(
          await d.docker("image inspect --format {{.Os}}/{{.Config.Cmd}}", id.slice(7, 19)),
          "linux/[sh]",
        );
        assert.match(await d.docker("history --format {{.CreatedBy}} busybox:1"), /^busybox$/);
        await d.docker("tag busybox:1 other/name:2");
        assert.equal(await d.inspect("other/name:2", "{{.Id}}"), id);
        assert.match(await d.docker("rmi other/name:2"), /^Untagged: other\/name:2$/);
        assert.match((await d.refused("rmi other/name:2")).stderr, /No such image: other\/name:2/);
        assert.match(
          (await d.refused("tag busybox:1 Bad")).stderr,
          /repository name must be lowercase|invalid reference/,
        );
      });

      it("saves and loads them", async () => {
        await d.docker(`tag busybox:1 saved:${client.name}`);
        const file = join(d.daemon.dir, `save-${client.name}.tar`);
        await d.docker(`save -o ${file} saved:${client.name}`);
        assert.ok(statSync(file).size > 1e6);
        await d.docker(`rmi saved:${client.name}`);
        assert.equal(await d.docker(`load -i ${file}`), `Loaded image: saved:${client.name}`);
        await d.docker(`rmi saved:${client.name}`);
      });

      it("pushes and pulls them", async () => {
        const name = `${address}/bees/box:${client.name}`;
        await d.docker(`tag busybox:1 ${name}`);
        assert.match(
          await d.docker(`push ${name}`),
          new RegExp(`${client.name}: digest: sha256:[0-9a-f]{64} size: \\d+`),
        );
        await d.docker(`rmi ${name}`);
        const pulled = await d.docker(`pull ${name}`);
        assert.match(pulled, new RegExp(`${client.name}: Pulling from bees/box`));
        assert.match(pulled, /Digest: sha256:[0-9a-f]{64}\n/);
        assert.match(pulled, /Status: (Downloaded newer image|Image is up to date) for /);
        assert.equal(await d.docker(`run --rm --network none ${name} echo hi`), "hi");
        assert.match(await d.inspect(name, "{{index .RepoDigests 0}}"), /bees\/box@sha256:/);
        await d.docker(`rmi ${name}`);
        assert.match((await d.refused(`inspect ${name}`)).stderr, /[Nn]o such object/);
        assert.ok(
          !(await d.docker("images --digests")).includes("bees/box"),
          "digests go with the tag",
        );
        const missing = await d.refused(`pull ${address}/bees/none:1`);
        assert.match(
          missing.stderr,
          /manifest for .*bees\/none:1 not found|manifest unknown|not found/,
        );
        assert.match(
          (await d.refused("pull 127.0.0.1:1/x:1")).stderr,
          /connection refused|ECONNREFUSED/,
        );
        assert.match((await d.refused("search x")).stderr, /searching a registry is not supported/);
      });
    });
    describe(`${client.name}: volumes`, () => {
      let d: DockerSession;
      before(() => {
        d = new DockerSession(client, daemon);
      });
      afterEach(async () => {
        await d.clean();
        await d.docker("volume prune -f");
      });

      it("makes, shows, shares and removes them", async () => {
        assert.equal(await d.docker("volume create --label a=b hive"), "hive");
        assert.equal(await d.docker("volume ls -q --filter label=a=b"), "hive");
        const point = await d.docker("volume inspect --format {{.Mountpoint}} hive");
        await d.docker("run --rm --network none -v hive:/v busybox:1 sh -c", "echo 1 >/v/f");
        assert.equal(readFileSync(join(point, "f"), "utf8"), "1\n");
        const id = await d.sleeper("user", "-v hive:/v:ro");
        assert.match((await d.refused("exec user touch /v/g")).stderr, /Read-only file system/);
        const refused = await d.refused("volume rm hive");
        assert.ok(
          refused.stderr.includes(`remove hive: volume is in use - [${id}]`),
          refused.stderr,
        );
        assert.equal(await d.docker("ps -q --no-trunc --filter volume=hive"), id);
        await d.docker("rm -f user");
        assert.equal(await d.docker("volume rm hive"), "hive");
        assert.match((await d.refused("volume inspect hive")).stderr, /no such volume/i);
      });

      it("fills an empty one from the image, and removes nameless ones with their container", async () => {
        assert.equal(
          await d.docker("run --rm --network none -v fresh:/data busybox:1 cat /data/honey"),
          "sweet",
        );
        const none = await d.refused(
          "run --rm --network none -v bare:/data:nocopy busybox:1 cat /data/honey",
        );
        assert.match(none.stderr, /No such file/);
        await d.docker("run --rm --network none -v /data busybox:1 true");
        const left = (await d.docker("volume ls -q")).split("\n").sort();
        assert.deepEqual(left, ["bare", "fresh"]);
        await d.docker("volume rm bare fresh");
        await d.docker("run --network none --name anon -v /data busybox:1 true");
        assert.match(await d.docker("volume ls -q --filter dangling=false"), /^[0-9a-f]{64}$/);
        await d.docker("rm -v anon");
        assert.equal(await d.docker("volume ls -q"), "");
      });

      it("keeps much data whole on its way through cp", async () => {
        const bytes = Buffer.alloc(16 * 2 ** 20, "0123456789abcdef");
        const file = join(d.daemon.dir, "large");
        writeFileSync(file, bytes);
        await d.sleeper("large", "-v big:/v");
        await d.docker(`cp ${file} large:/v/f`);
        const sum = await d.docker("exec large sha256sum /v/f");
        assert.equal(sum.split(" ")[0], createHash("sha256").update(bytes).digest("hex"));
        await d.docker(`cp large:/v/f ${file}.back`);
        assert.equal(Buffer.compare(readFileSync(`${file}.back`), bytes), 0);
        await d.docker("rm -f large");
        await d.docker("volume rm big");
      });
    });
  }
});
