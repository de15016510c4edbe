/**
 * Containers by the stock docker clients on a real daemon: what people type, and what they see.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { mountsIn } from "../../../../agent/volumes/mounting.ts";
import { dockerClients } from "../../../support/docker.ts";
import { DockerSession } from "../../../support/docker-session.ts";
import { busyboxArchive } from "../../../support/image-archive.ts";
import { loopFilesBelow } from "../../../support/leaks.ts";
import { type RealDaemon, startDaemon } from "../../../support/real-daemon.ts";
import { wholeDisk } from "../../../support/stack-keys.ts";
import { until } from "../../../support/wait.ts";

describe("docker run on a real daemon", function () {
  this.timeout(300_000);
  let daemon: RealDaemon;
  before(async () => {
    daemon = await startDaemon();
    const [client] = dockerClients();
    assert.ok(client, "scripts/setup brings a docker client");
    const archive = await busyboxArchive("busybox:1");
    const loaded = await new DockerSession(client, daemon).run(["load"], archive);
    assert.equal(loaded.code, 0, `${loaded.stderr}${daemon.log()}`);
  });
  after(() => daemon?.stop());

  for (const client of dockerClients()) {
    describe(`${client.name}: processes`, () => {
      let d: DockerSession;
      before(() => {
        d = new DockerSession(client, daemon);
      });
      afterEach(() => d.clean());

      it("keeps the outputs apart and gives the exit code", async () => {
        const words = "run --rm --network none busybox:1 sh -c".split(" ");
        const result = await d.run([...words, "echo out; echo err >&2; exit 7"]);
        assert.deepEqual(result, { stdout: "out\n", stderr: "err\n", code: 7 });
        assert.equal(await d.docker("ps -aq"), "");
      });

      it("carries much through standard input, whole", async () => {
        const bytes = Buffer.alloc(8 * 2 ** 20, "0123456789abcdef\n");
        const words = "run --rm -i --network none busybox:1 sha256sum".split(" ");
        const { stdout, code } = await d.run(words, bytes);
        assert.equal(code, 0);
        assert.equal(stdout.split(" ")[0], createHash("sha256").update(bytes).digest("hex"));
      });

      it("gives a terminal of the person's size, which follows it", async () => {
        const script =
          "until stty size | grep [0-9]; do sleep 0.05; done; tty; trap 'stty size; exit 9' WINCH; echo trapped; while :; do sleep 0.1; done";
        const flag = `${d.daemon.dir}/resize-${client.name}`;
        const resizing = `T=$(tty); (until [ -e ${flag} ]; do sleep 0.1; done; stty rows 44 <$T) &`;
        const command = d.onTerminal(
          33,
          77,
          `${resizing} $docker run --rm -it --network none busybox:1 sh -c "${script}"`,
        );
        await command.printed(/33 77\s+\/dev\/pts\/0\s+trapped/);
        writeFileSync(flag, "");
        await command.printed("44 77");
        assert.equal(await command.code, 9);
      });

      it("passes on what describes the process", async () => {
        const described = await d.sh(
          "-e A=1 -w /tmp -u bee --hostname hive",
          "echo $A $PWD $(id -u):$(id -g) $(hostname)",
        );
        assert.equal(described, "1 /tmp 7:8 hive");
        assert.equal(await d.sh("-u 5:6", "id -u; id -g"), "5\n6");
        assert.equal(await d.sh("-u bee --group-add 44", "id -G"), "8 9 44");
        assert.equal(
          await d.docker("run --rm --network none --entrypoint echo busybox:1 a b"),
          "a b",
        );
        assert.match(await d.sh("--init", "tr '\\0' ' ' </proc/1/cmdline"), /init.*sh -c/);
        assert.equal(await d.sh("--sysctl kernel.shmmni=99", "cat /proc/sys/kernel/shmmni"), "99");
        assert.equal(await d.sh("--add-host bee:1.2.3.4", "grep bee /etc/hosts"), "1.2.3.4\tbee");
        assert.equal(await d.sh("--oom-score-adj 55", "cat /proc/self/oom_score_adj"), "55");
        assert.equal(await d.sh("--ulimit nofile=99:100", "ulimit -Sn; ulimit -Hn"), "99\n100");
      });

      it("mounts what it is told to", async () => {
        const readOnly = await d.sh("--read-only", "touch /x 2>&1 || true");
        assert.equal(readOnly, "touch: /x: Read-only file system");
        const size = "df -k $at | tail -1 | awk '{print $2}'";
        assert.equal(
          await d.sh("--tmpfs /t:size=1m,mode=700 -e at=/t", `stat -c %a /t; ${size}`),
          "700\n1024",
        );
        assert.equal(await d.sh("--shm-size 3m -e at=/dev/shm", size), "3072");
        const bound = await d.sh(`-v ${d.daemon.dir}/made:/m`, "echo x >/m/y; cat /m/y");
        assert.equal(bound, "x");
        assert.equal(readFileSync(`${d.daemon.dir}/made/y`, "utf8"), "x\n");
        const refused = await d.sh(`-v ${d.daemon.dir}/made:/m:ro`, "touch /m/z 2>&1 || true");
        assert.match(refused, /Read-only file system/);
      });

      it("holds capabilities and system calls back, and gives them", async () => {
        const status = (flags: string, name: string) =>
          d.sh(flags, `grep ${name}: /proc/self/status | cut -f2`);
        assert.equal(await status("", "CapEff"), "00000000a80425fb");
        assert.equal(await status("--cap-drop ALL --cap-add CHOWN", "CapEff"), "0000000000000001");
        assert.equal(await status("--security-opt no-new-privileges", "NoNewPrivs"), "1");
        assert.equal(await status("", "Seccomp"), "2");
        assert.equal(await status("--security-opt seccomp=unconfined", "Seccomp"), "0");
      });

      it("holds to rules for devices and limits of block devices", async () => {
        const run = "run --rm --network none";
        const open = "mknod /k c 1 11; (: > /k) 2>&1 && echo opened || true";
        assert.match(await d.docker(`${run} busybox:1 sh -c`, open), /not permitted/);
        const rule = ["c 1:11 rw", "busybox:1", "sh", "-c", open];
        assert.equal(await d.docker(`${run} --device-cgroup-rule`, ...rule), "opened");
        const disk = wholeDisk();
        const rates = ["read-bps", "write-bps", "read-iops", "write-iops"];
        const flags = rates.map((rate, i) => `--device-${rate} ${disk}:${1_048_577 + i}`);
        const show = "cat /sys/fs/cgroup/blkio/blkio.throttle.*_device /sys/fs/cgroup/io.max 2>&1";
        const limits = await d.sh(flags.join(" "), `${show} || true`);
        for (const i of rates.keys()) assert.match(limits, new RegExp(`\\b${1_048_577 + i}\\b`));
        const weight = "cat /sys/fs/cgroup/blkio/blkio*.weight /sys/fs/cgroup/io*.weight || true";
        assert.match(await d.sh("--blkio-weight 300", weight), /\b300\b|\b2930\b/);
        const refused = await d.refused(`${run} --device-read-bps /dev/null:1mb busybox:1 true`);
        assert.match(refused.stderr, /\/dev\/null is no block device/);
        await d.sleeper("held", `--device-read-bps ${disk}:1mb`);
        const format = "{{json .HostConfig.BlkioDeviceReadBps}}";
        assert.deepEqual(JSON.parse(await d.inspect("held", format)), [
          { Path: disk, Rate: 1_048_576 },
        ]);
      });

      it("keeps a container within the size of its own layer", async () => {
        const write =
          "echo honey >>/x; cat /x; dd if=/dev/zero of=/big bs=1M count=64 2>&1; rm /big";
        const flags = "--network none --name small --storage-opt size=16m";
        const full = await d.run(["run", ...flags.split(" "), "busybox:1", "sh", "-c", write]);
        assert.match(full.stdout, /^honey\n.*No space left on device/s);
        assert.match(
          await d.sh("", "dd if=/dev/zero of=/big bs=1M count=64 2>&1"),
          /64\+0 records out/,
        );
        assert.match(await d.docker("start -a small"), /^honey\nhoney\n/);
        const layers = `${d.daemon.dir}/data/layers`;
        const mounted = () => mountsIn(layers).filter((path) => path !== layers);
        const rests = (after: string) =>
          until(() => mounted().length === 0, {
            withinMs: 60_000,
            what: `it rests after ${after}`,
          });
        await rests("its end");
        assert.match(await d.docker("diff small"), /^A \/x$/m);
        await rests("diff");
        assert.match(await d.docker("ps -as --filter name=small"), / [\d.]+ ?k?B \(virtual/);
        await rests("ps -s");
        assert.match((await d.run(["cp", "small:/x", "-"])).stdout, /honey\nhoney\n/);
        await rests("cp");
        await d.docker("commit small small:1");
        await rests("commit");
        assert.equal(await d.docker("run --rm --network none small:1 cat /x"), "honey\nhoney");
        await d.docker("rmi small:1");
        assert.equal(await d.inspect("small", "{{.HostConfig.StorageOpt.size}}"), "16m");
        await d.docker("rm small");
        await until(() => loopFilesBelow(d.daemon.dir).length === 0, {
          withinMs: 60_000,
          what: "its loop device to be free",
        });
        assert.deepEqual(readdirSync(layers), []);
        assert.deepEqual(mounted(), []);
        const refusals = [
          ["size=1k", /HostConfig.StorageOpt: size "1k" is not a size from 4m to 8t, such as 1g/],
          ["size=much", /size "much" is not a size from/],
          ["color=red", /HostConfig.StorageOpt: unknown option "color": only size is known/],
        ] as const;
        for (const [option, text] of refusals) {
          const { stderr } = await d.refused(`run --rm --storage-opt ${option} busybox:1 true`);
          assert.match(stderr, text);
        }
      });

      it("joins the networks there are", async () => {
        assert.equal(await d.sh("", "tail -n +3 /proc/net/dev | wc -l"), "1");
        assert.equal(
          await d.docker("run --rm --network host busybox:1 readlink /proc/self/ns/net"),
          readlinkSync("/proc/self/ns/net"),
        );
        await d.sleeper("net");
        assert.equal(
          await d.docker("run --rm --network container:net busybox:1 readlink /proc/self/ns/net"),
          await d.docker("exec net readlink /proc/self/ns/net"),
        );
      });

      it("says why it could not start, with Docker's exit codes", async () => {
        const cases = [
          [
            "run --rm busybox:1 /no/such",
            127,
            /no such file or directory|executable file not found/,
          ],
          ["run --rm busybox:1 nosuch", 127, /exec: "nosuch": executable file not found in \$PATH/],
          ["run --rm busybox:1 /etc", 126, /permission denied|is a directory/],
          ["run --rm -u nobody-here busybox:1 true", 125, /unable to find user nobody-here/],
          ["run --rm --memory 1m busybox:1 true", 125, /Minimum memory limit allowed is 6MB/],
          ["run --rm --cap-add NOPE busybox:1 true", 125, /invalid (capability|CapAdd).*NOPE/i],
          ["run --rm --log-driver nope busybox:1 true", 125, /nope/],
          ["run --rm --workdir x busybox:1 true", 125, /it needs to be an absolute path/],
          ["run --rm --runtime nope busybox:1 true", 125, /unknown or invalid runtime name: nope/],
          [
            "run --rm --mount type=bind,source=/no/such,target=/x busybox:1 true",
            125,
            /bind source path does not exist: \/no\/such/,
          ],
          [
            "run --rm 127.0.0.1:1/none:1",
            125,
            /Unable to find image '127\.0\.0\.1:1\/none:1' locally/,
          ],
        ] as const;
        for (const [command, code, text] of cases) {
          const result = await d.refused(command.replace("run --rm", "run --rm --network none"));
          assert.match(result.stderr, text, command);
          assert.equal(result.code, code, `${command}: ${result.stderr}`);
        }
        assert.equal(await d.docker("ps -aq"), "");
      });

      it("runs processes in it: exit code, input, user, terminal", async () => {
        await d.sleeper("box", "-e A=1");
        const failed = await d.run(["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 3"]);
        assert.deepEqual(failed, { stdout: "out\n", stderr: "err\n", code: 3 });
        const bytes = Buffer.alloc(4 * 2 ** 20, "abcdefghijklmno\n");
        const { stdout } = await d.run(["exec", "-i", "box", "sha256sum"], bytes);
        assert.equal(stdout.split(" ")[0], createHash("sha256").update(bytes).digest("hex"));
        const words = "exec -e B=2 -w /tmp -u bee box sh -c";
        assert.equal(await d.docker(words, "echo $A $B $PWD $(id -u)"), "1 2 /tmp 7");
        const missing = await d.refused("exec box nosuch");
        assert.match(missing.stderr + missing.stdout, /executable file not found in \$PATH/);
        assert.ok([126, 127].includes(missing.code), `${missing.code}`);
        await d.docker("exec -d box sh -c", "echo there >/tmp/f");
        await until(
          async () => (await d.run(["exec", "box", "cat", "/tmp/f"])).stdout === "there\n",
          {
            withinMs: 60_000,
            what: "the detached process",
          },
        );
        const command = d.onTerminal(
          21,
          66,
          "$docker exec -it box sh -c 'until stty size | grep [0-9]; do sleep 0.05; done; read x; echo got $x; exit 4'",
        );
        await command.printed("21 66");
        command.child.stdin.write("honey\n");
        await command.printed("got honey");
        assert.equal(await command.code, 4);
      });

      it("is left by the detach keys, and runs on", async () => {
        const command = d.onTerminal(
          20,
          80,
          "$docker run -it --network none --name kept busybox:1 sh",
        );
        await command.printed("#");
        command.child.stdin.write("\x10\x11");
        await command.code;
        assert.equal(await d.inspect("kept", "{{.State.Running}}"), "true");
      });
    });
    describe(`${client.name}: lives`, () => {
      let d: DockerSession;
      before(() => {
        d = new DockerSession(client, daemon);
      });
      afterEach(() => d.clean());

      it("is shown by ps and inspect", async () => {
        const id = await d.sleeper("seen", "--label tier=front -v /anon --memory 64m --cpus 0.5");
        assert.equal(
          await d.docker("ps -q --no-trunc --filter name=^seen$ --filter status=running"),
          id,
        );
        assert.match(
          await d.docker(
            "ps --format",
            '{{.Names}}|{{.Image}}|{{.Command}}|{{.Status}}|{{.Label "tier"}}',
          ),
          /^seen\|busybox:1\|"sleep 1000"\|Up .*\|front$/,
        );
        const cases = [
          [
            "{{.State.Status}} {{.Path}} {{.Args}} {{.Config.Image}}",
            "running sleep [1000] busybox:1",
          ],
          ["{{.HostConfig.NetworkMode}} {{(index .Mounts 0).Destination}}", "none /anon"],
          ["{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}", "67108864 500000000"],
        ] as const;
        for (const [format, text] of cases) assert.equal(await d.inspect("seen", format), text);
        await d.docker("update --memory 96m --memory-swap 200m seen");
        assert.equal(await d.inspect("seen", "{{.HostConfig.Memory}}"), `${96 * 2 ** 20}`);
        assert.match(await d.docker("top seen"), /sleep 1000/);
        assert.match(
          await d.docker("stats --no-stream --format", "{{.Name}} {{.PIDs}}"),
          /^seen 1$/,
        );
      });

      it("stops, starts, restarts, pauses and ends by signals", async () => {
        const script = "trap 'exit 3' TERM; echo trapped; while :; do sleep 0.05; done";
        await d.docker("run -d --network none --name life busybox:1 sh -c", script);
        await until(async () => (await d.docker("logs life")) === "trapped", {
          withinMs: 60_000,
          what: "the trap is set",
        });
        assert.equal(await d.docker("stop life"), "life");
        assert.equal(await d.inspect("life", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
        assert.match(await d.docker("ps -a --format {{.Status}}"), /^Exited \(3\) /);
        assert.equal(await d.docker("start life"), "life");
        const pid = await d.inspect("life", "{{.State.Pid}}");
        await d.docker("restart -t 1 life");
        assert.notEqual(await d.inspect("life", "{{.State.Pid}}"), pid);
        await d.docker("pause life");
        assert.match(await d.docker("ps --format {{.Status}}"), /\(Paused\)$/);
        assert.match((await d.refused("exec life true")).stderr, /is paused/);
        await d.docker("unpause life");
        await d.docker("kill life");
        assert.equal(await d.docker("wait life"), "137");
        assert.match((await d.refused("kill life")).stderr, /is not running/);
        await d.docker("rename life other");
        assert.equal(await d.docker("rm other"), "other");
      });

      it("is attached to, and gets the signals and the input of the client", async () => {
        const script = "trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.05; done";
        const run = "run --network none --name signals busybox:1 sh -c";
        const command = d.start([...run.split(" "), script]);
        await command.printed("up");
        const second = d.start(["attach", "signals"]);
        // Of this container alone: the other client has had one of the same name.
        const id = await d.inspect("signals", "{{.Id}}");
        const events = `events --since 1h --filter event=attach --filter container=${id}`;
        const told = d.start([...events.split(" "), "--format", "{{.ID}}"]);
        await told.printed(/\w+\n\w+\n/);
        told.child.kill();
        command.child.kill("SIGTERM");
        assert.deepEqual([await command.code, await second.code], [5, 5]);
        assert.match(second.output(), /got/);
        const again = await d.run(
          ["run", "-i", "--rm", "--network", "none", "busybox:1", "cat"],
          "honey",
        );
        assert.equal(again.stdout, "honey");
      });

      it("refuses what cannot be, in Docker's words", async () => {
        const id = await d.sleeper("held");
        const taken = await d.refused("run --network none --name held busybox:1");
        assert.ok(
          taken.stderr.includes(
            `Conflict. The container name "/held" is already in use by container "${id}". You have to remove (or rename) that container to be able to reuse that name.`,
          ),
          taken.stderr,
        );
        const cases = [
          ["rm held", /container is running|You cannot remove a running container/],
          ["inspect nothing", /[Nn]o such object: nothing/],
          ["logs nothing", /No such container: nothing/],
          ["stop nothing", /No such container: nothing/],
          ["exec nothing true", /No such container: nothing/],
          [
            "rmi busybox:1",
            /conflict: unable to remove repository reference "busybox:1" \(must force\)/,
          ],
        ] as const;
        for (const [command, text] of cases) assert.match((await d.refused(command)).stderr, text);
      });

      it("is started again by its restart policy", async () => {
        await d.docker(
          "run -d --network none --name again --restart on-failure:2 busybox:1 sh -c",
          "exit 4",
        );
        const format = "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}";
        await until(async () => (await d.inspect("again", format)) === "2 exited 4", {
          withinMs: 60_000,
          what: "two restarts",
        });
      });

      it("is probed by its health check", async () => {
        const flags = "run -d --network none --name probed --health-interval 1s --health-retries 1";
        await d.docker(`${flags} --health-cmd`, "test -e /ok", "busybox:1", "sleep", "1000");
        assert.match(await d.docker("ps --format {{.Status}}"), /health: starting|unhealthy/);
        await d.docker("exec probed touch /ok");
        await until(
          async () => (await d.inspect("probed", "{{.State.Health.Status}}")) === "healthy",
          {
            withinMs: 60_000,
            what: "health",
          },
        );
        assert.equal(await d.docker("ps -q --filter health=healthy"), await d.docker("ps -q"));
      });

      it("tells events as they come", async () => {
        const since = `${Date.now() / 1000}`;
        const filter = ["--filter", "container=told", "--format", "{{.Action}}"];
        const command = d.start(["events", "--since", since, ...filter]);
        await d.docker("run --rm --network none --name told busybox:1 true");
        await command.printed("destroy");
        command.child.kill();
        await command.code;
        assert.deepEqual(command.output().trim().split("\n"), [
          "create",
          "attach",
          "start",
          "die",
          "destroy",
        ]);
      });

      it("keeps what was logged, and follows it", async () => {
        const script = "echo one; echo two >&2; until [ -e /go ]; do sleep 0.05; done; echo three";
        await d.docker("run -d --network none --name logged busybox:1 sh -c", script);
        const following = d.run(["logs", "-f", "logged"]);
        const early = async () => {
          const { stdout, stderr } = await d.run(["logs", "logged"]);
          return stdout === "one\n" && stderr === "two\n";
        };
        await until(early, { withinMs: 60_000, what: "the first lines are logged" });
        await d.docker("exec logged touch /go");
        const followed = await following;
        assert.deepEqual(followed, { stdout: "one\nthree\n", stderr: "two\n", code: 0 });
        assert.equal(await d.docker("logs --tail 1 logged"), "three");
        const lines = (await d.docker("logs -t logged")).split("\n").map((line) => line.split(" "));
        assert.deepEqual(
          lines.map(([, text]) => text),
          ["one", "three"],
        );
        const [first, last] = lines.map(([time = ""]) => time);
        for (const time of [first, last])
          assert.match(time ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
        assert.equal(await d.docker(`logs --since ${last} logged`), "three");
        assert.equal(await d.docker(`logs --until ${first} logged`), "one");
        assert.equal(await d.docker("run --rm -t --network none busybox:1 echo raw"), "raw");
      });
    });
  }
});
