/** The scenarios whose texts are compared, each with what it leaves behind taken away afterwards. */
import type { Step } from "./lane.ts";

/** The image of all services. */
export const image = "skep-bench:1";

/** A sequence of commands. */
export interface Scenario {
  readonly name: string;
  readonly steps: readonly Step[];
}

const sleeper = ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; echo up; sleep 1000 & wait"];
const grace = ["--stop-grace-period", "1s"];

const step = (text: string, more: Omit<Step, "words"> = {}): Step => ({
  words: text.split(" "),
  ...more,
});

/** Makes a service without waiting. */
function create(name: string, flags: string, command: readonly string[] = sleeper): Step {
  const more = flags === "" ? [] : flags.split(" ");
  const words = ["service", "create", "--detach", "--no-resolve-image", "--name", name];
  return { words: [...words, ...grace, ...more, image, ...command] };
}

const pretty = (name: string, more: Omit<Step, "words"> = {}) =>
  step(`service inspect --pretty ${name}`, more);
const ps = (name: string, more: Omit<Step, "words"> = {}) =>
  step(`service ps --no-trunc ${name}`, more);
const shell = (script: string) => ["/bin/busybox", "sh", "-c", script];

/** Services through their life. */
export const scenarios: readonly Scenario[] = [
  {
    name: "flags",
    steps: [
      step("network create --driver overlay compared", { quiet: true }),
      step("secret create key -", { input: "honey", quiet: true }),
      step("config create page -", { input: "page", quiet: true }),
      create("plain", "--replicas 0", []),
      pretty("plain"),
      step("service inspect plain"),
      create(
        "full",
        "--replicas 0 --label a=b --label c --container-label d=e --env X=1 --env Y=2 --workdir /tmp " +
          "--user 1:2 --group 7 --hostname {{.Task.Name}} --tty --init --stop-signal SIGQUIT --read-only " +
          "--cap-add NET_ADMIN --cap-drop MKNOD --sysctl net.core.somaxconn=99 --ulimit nofile=9:10 " +
          "--limit-cpu 0.5 --limit-memory 50M --limit-pids 30 --reserve-cpu 0.1 --reserve-memory 8M " +
          "--constraint node.role==manager --constraint node.labels.a!=b --placement-pref spread=node.labels.z " +
          "--replicas-max-per-node 3 --network compared --publish 8080:80 --publish mode=host,target=53,published=5353,protocol=udp " +
          "--dns 1.1.1.1 --dns-option debug --dns-search a.b --host h:1.2.3.4 " +
          "--mount type=bind,src=/tmp,dst=/t,readonly --mount type=volume,src=v,dst=/v --mount type=tmpfs,dst=/m " +
          "--secret key --config source=page,target=/etc/page,mode=0400,uid=1,gid=2 " +
          "--health-cmd true --health-interval 3s --health-timeout 2s --health-retries 4 --health-start-period 1s " +
          "--restart-condition on-failure --restart-delay 2s --restart-max-attempts 3 --restart-window 9s " +
          "--update-parallelism 2 --update-delay 3s --update-monitor 4s --update-failure-action rollback --update-max-failure-ratio 0.25 --update-order start-first " +
          "--rollback-parallelism 2 --rollback-delay 3s --rollback-monitor 4s --rollback-failure-action continue --rollback-max-failure-ratio 0.5 --rollback-order start-first " +
          "--log-driver json-file --log-opt max-size=1m",
      ),
      pretty("full", { until: /Ports:/ }),
      step("service inspect full"),
      create("dns", "--replicas 0 --endpoint-mode dnsrr --no-healthcheck --network compared"),
      pretty("dns"),
      create("none", "--replicas 0 --restart-condition none --restart-max-attempts 0"),
      pretty("none"),
      step(
        "service update --detach --label-add x=y --env-rm X --publish-rm 80 --constraint-rm node.role==manager full",
      ),
      pretty("full"),
      step("service inspect full"),
      step("service ls", { sorted: true }),
      step("service ls --filter mode=replicated --format {{.Name}}"),
      step("service ls --filter name=full"),
      step("service ls --filter label=a"),
      step("service ls --filter nothing=x"),
      step("service inspect absent"),
      pretty("absent"),
      step("service inspect --format {{.Spec.Name}} full plain"),
    ],
  },
  {
    name: "runs",
    steps: [
      {
        words: [
          "service",
          "create",
          "--no-resolve-image",
          "--name",
          "web",
          "--replicas",
          "2",
          ...grace,
          image,
          ...sleeper,
        ],
        progress: true,
      },
      step("service ls"),
      step("service ps --filter node=m1 web", { places: true }),
      ps("web", { places: true }),
      step("service ps web", { places: true }),
      step("service ps --filter desired-state=running web", { places: true }),
      step("service ps --filter desired-state=shutdown web"),
      step("service ps --filter desired-state=odd web"),
      step("service ps --filter name=web.1 web", { places: true }),
      step("service ps --filter nothing=x web"),
      step("service ps --filter node=absent web"),
      step("service ps absent"),
      step("service ps web absent", { places: true }),
      step(
        "service ps --format {{.Name}}|{{.Image}}|{{.Node}}|{{.DesiredState}}|{{.Error}}|{{.Ports}} web",
        { places: true },
      ),
      step("service ps --quiet --no-trunc web"),
      step("node ps", { places: true }),
      step("node ps m1 w1", { places: true }),
      step("node ps absent"),
      pretty("web"),
      step("service scale web=3", { progress: true }),
      step("service scale web=1", { progress: true }),
      ps("web", { places: true }),
      step("service scale web=-1"),
      step("service scale web=x"),
      step("service scale web"),
      step("service scale absent=1"),
      step("service scale --detach web=2 absent=1"),
      step("service rm absent web"),
      step("service rm web"),
      {
        words: [
          "service",
          "create",
          "--no-resolve-image",
          "--name",
          "all",
          "--mode",
          "global",
          ...grace,
          image,
          ...sleeper,
        ],
        progress: true,
      },
      step("service ls"),
      ps("all", { sorted: true }),
      pretty("all"),
      step("service scale all=2"),
      step("service inspect all"),
    ],
  },
  {
    name: "updates",
    steps: [
      create("web", "--replicas 2 --update-monitor 1s --rollback-monitor 1s --restart-delay 500ms"),
      ps("web", { until: /(Running AGO[\s\S]*){2}/, quiet: true }),
      step("service update --rollback web"),
      step("service update --env-add A=1 web", { progress: true }),
      pretty("web"),
      ps("web", { places: true }),
      step("service update --detach --env-add A=2 --update-delay 40s web"),
      pretty("web", { until: /updating[\s\S]*progress/ }),
      step("service update --detach --env-add A=3 --update-delay 0s web"),
      pretty("web", { until: /completed/ }),
      step("service rollback web", { progress: true }),
      pretty("web"),
      step("service update --force web", { progress: true }),
      step("service update --detach --replicas 1 web"),
      pretty("web", { until: /completed/ }),
      step("service update absent"),
      step("service update --detach web"),
      step("service rollback absent"),
      step("service inspect web"),
      // One that does not want to stop: its successor waits for it.
      create("slow", "--stop-grace-period 8s", shell("trap '' TERM; sleep 1000 & wait; wait")),
      ps("slow", { until: /Running AGO/, quiet: true }),
      step("service update --detach --force slow"),
      ps("slow", { until: /Ready +Ready AGO/, places: true }),
      ps("slow", {
        until: /Shutdown +Failed AGO|Shutdown +Shutdown AGO|Complete AGO/,
        places: true,
      }),
    ],
  },
  {
    name: "starts",
    steps: [
      // It never gets well.
      create(
        "web",
        "--health-interval 500ms --health-start-period 600s --health-cmd false --update-order start-first --update-monitor 1s --rollback-monitor 1s",
      ),
      ps("web", { until: /Starting AGO/, places: true }),
      step("service ls"),
      pretty("web"),
      step("service update --detach --force web"),
      ps("web", { until: /(Starting AGO[\s\S]*){2}/, places: true }),
      pretty("web", { until: /updating/ }),
      step("service update --no-healthcheck web", { progress: true }),
      pretty("web", { until: /completed/ }),
      ps("web", { until: /Shutdown +Shutdown AGO[\s\S]*Shutdown +Shutdown AGO/, places: true }),
      step(
        "service update --detach --health-cmd false --health-start-period 600s --update-order stop-first web",
      ),
      ps("web", { until: /Starting AGO/, places: true }),
      step("service ls"),
      step("service rollback web", { progress: true }),
      ps("web", { until: /(Shutdown +Shutdown AGO[\s\S]*){4}/, places: true }),
      step("service scale web=0", { progress: true }),
      step("service ps --filter desired-state=shutdown web", { until: /NAME/ }),
    ],
  },
  {
    name: "broken",
    steps: [
      // Without a pause Docker's swarm takes the second place on now and then, before it sees that the first one failed.
      create(
        "web",
        "--replicas 2 --update-monitor 1s --rollback-monitor 1s --update-delay 2s --rollback-delay 2s --restart-delay 30s",
      ),
      ps("web", { until: /(Running AGO[\s\S]*){2}/, quiet: true }),
      { words: ["service", "update", "--detach", "--args", "/bin/busybox sh -c 'exit 4'", "web"] },
      pretty("web", { until: /paused/ }),
      ps("web", { places: true }),
      step("service ps web", { places: true }),
      step("service inspect web"),
      step("service rollback web", { progress: true }),
      pretty("web"),
      ps("web", { places: true }),
      {
        words: [
          "service",
          "update",
          "--update-failure-action",
          "rollback",
          "--args",
          "/bin/busybox sh -c 'exit 5'",
          "web",
        ],
        progress: true,
      },
      pretty("web", { until: /rollback_completed/ }),
      step("service inspect web"),
      { words: ["service", "update", "--rollback", "web"] },
      {
        words: [
          "service",
          "update",
          "--detach",
          "--update-failure-action",
          "continue",
          "--args",
          "/bin/busybox sh -c 'exit 6'",
          "web",
        ],
      },
      pretty("web", { until: /completed/ }),
      {
        words: [
          "service",
          "update",
          "--update-failure-action",
          "pause",
          "--args",
          "/bin/busybox sh -c 'exit 7'",
          "web",
        ],
        progress: true,
      },
      pretty("web", { until: /paused/ }),
      {
        words: [
          "service",
          "update",
          "--detach",
          "--update-failure-action",
          "rollback",
          "--args",
          "/bin/busybox sh -c 'exit 8'",
          "web",
        ],
      },
      pretty("web", { until: /rollback_paused/ }),
      step("service update --rollback web", { progress: true }),
      pretty("web"),
    ],
  },
  {
    name: "failures",
    steps: [
      create("code", "--restart-condition none", shell("exit 3")),
      create("done", "--restart-condition none", shell("exit 0")),
      create("absent-command", "--restart-condition none", ["no-such-program"]),
      create("absent-source", "--restart-condition none --mount type=bind,src=/no/where,dst=/x"),
      create("absent-user", "--restart-condition none --user nobody-here"),
      create(
        "unhealthy",
        "--restart-condition none --health-interval 500ms --health-retries 1 --health-cmd false",
        shell("sleep 1000"),
      ),
      create("killed", "--restart-condition none", shell("kill -9 $$; exit 1")),
      create("no-folder", "--restart-condition none --workdir /bin/busybox"),
      create(
        "memory",
        "--restart-condition none --limit-memory 8M",
        shell("x=0123456789; while :; do x=$x$x; done"),
      ),
      {
        words: [
          "service",
          "create",
          "--detach",
          "--no-resolve-image",
          "--name",
          "absent-image",
          "--restart-condition",
          "none",
          "10.77.0.1:1/absent:1",
        ],
      },
      {
        words: [
          "service",
          "create",
          "--detach",
          "--name",
          "unresolved",
          "--replicas",
          "0",
          "10.77.0.1:1/absent:1",
        ],
      },
      ps("code", { until: /Failed/, places: true }),
      ps("done", { until: /Complete/, places: true }),
      ps("absent-command", { until: /Rejected|Failed/, places: true }),
      step("service ps absent-command", { places: true }),
      ps("absent-source", { until: /Rejected|Failed/, places: true }),
      ps("absent-user", { until: /Rejected|Failed/, places: true }),
      ps("unhealthy", { until: /Failed/, places: true }),
      ps("killed", { until: /Failed/, places: true }),
      ps("no-folder", { until: /Rejected|Failed/, places: true }),
      ps("memory", { until: /Failed/, places: true }),
      ps("absent-image", { until: /Rejected|Failed/, places: true }),
      step("service ps absent-image", { places: true }),
      pretty("unresolved"),
      step("service ls", { sorted: true }),
      create("again", "--restart-delay 500ms --restart-max-attempts 2", shell("exit 1")),
      ps("again", { until: /(Shutdown +Failed AGO[\s\S]*){3}/, places: true }),
      create("logs", "--log-driver odd --restart-condition none"),
      create("volume", "--mount type=volume,src=v,dst=/v,volume-driver=odd"),
      ps("logs", { until: /Rejected|Failed|suitable/, places: true }),
      ps("volume", { until: /Rejected|Failed|suitable/, places: true }),
    ],
  },
  {
    name: "waits",
    steps: [
      create("constraint", "--constraint node.labels.a==b"),
      create("memory", "--reserve-memory 900G"),
      create("processors", "--reserve-cpu 900"),
      create("kind", "--generic-resource gpu=1"),
      create(
        "port",
        "--replicas 2 --constraint node.role==manager --label skep.listen=0 --publish mode=host,target=80,published=8080",
      ),
      create("most", "--replicas 3 --replicas-max-per-node 1"),
      create("both", "--reserve-memory 900G --constraint node.role==worker"),
      ps("constraint", { until: /suitable/, places: true }),
      step("service ps constraint", { places: true }),
      ps("memory", { until: /suitable/, places: true }),
      ps("processors", { until: /suitable/, places: true }),
      ps("kind", { until: /suitable/, places: true }),
      step("service ps --no-trunc --format {{.CurrentState}}|{{.Error}} port", {
        until: /Running[\s\S]*suitable|suitable[\s\S]*Running/,
        sorted: true,
      }),
      step("service ps --filter node=m1 port", { places: true }),
      step("service ps --no-trunc --format {{.CurrentState}}|{{.Error}} most", {
        until:
          /(Running[\s\S]*){2}suitable|suitable[\s\S]*(Running[\s\S]*){2}|Running[\s\S]*suitable[\s\S]*Running/,
        sorted: true,
      }),
      ps("both", { until: /suitable/, places: true }),
      step("node update --availability drain m1"),
      step("node update --availability pause w1"),
      create("closed", ""),
      ps("closed", { until: /suitable/, places: true }),
      step("node update --availability active m1"),
      step("node update --availability active w1"),
      step("service ls", {
        until:
          /^(?=[\s\S]* closed +replicated +1\/1)(?=[\s\S]* most +replicated +2\/3)[\s\S]* port +replicated +1\/2/,
        sorted: true,
      }),
      {
        words: [
          "service",
          "create",
          "--name",
          "open",
          "--mode",
          "global",
          "--constraint",
          "node.labels.a==b",
          image,
        ],
        progress: true,
      },
      step("service ls --filter name=open"),
      pretty("open"),
    ],
  },
  {
    name: "moves",
    steps: [
      step("node update --label-add disk=ssd w1", { until: /^w1/ }),
      create("web", "--constraint node.labels.disk==ssd --restart-delay 500ms"),
      create("drained", "--constraint node.hostname!=none --replicas 2 --restart-delay 500ms"),
      create("everywhere", "--mode global --restart-delay 500ms"),
      ps("web", { until: /Running AGO/ }),
      ps("drained", { until: /(Running AGO[\s\S]*){2}/, quiet: true }),
      ps("everywhere", { until: /(Running AGO[\s\S]*){2}/, quiet: true }),
      step("node update --label-rm disk w1"),
      // Held back until then: in Docker's swarm by the restart delay, in ours until its predecessor has stopped.
      ps("web", { until: /Running +Pending AGO +"no suitable/ }),
      step("service ps web"),
      step("node update --availability drain w1"),
      step(
        "service ps --no-trunc --format {{.Name}}|{{.Node}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}} drained",
        {
          until: /^(?=[\s\S]*Shutdown AGO)([\s\S]*Running\|Running AGO){2}/,
          sorted: true,
        },
      ),
      ps("everywhere", { until: /Shutdown AGO/, sorted: true }),
      step("service ls", { until: /drained +replicated +2\/2/, sorted: true }),
      step("node ls --format {{.Hostname}}|{{.Status}}|{{.Availability}}|{{.ManagerStatus}}"),
      step("node update --availability active w1"),
      step(
        "service ps --no-trunc --format {{.Name}}|{{.Node}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}} everywhere",
        {
          until: /(Running AGO[\s\S]*){2}/,
          sorted: true,
        },
      ),
    ],
  },
  {
    name: "lost",
    steps: [
      create("web", "--replicas 2 --restart-delay 500ms"),
      ps("web", { until: /(Running AGO[\s\S]*){2}/, places: true }),
      step("node ls --format {{.Hostname}}|{{.Status}}|{{.Availability}}|{{.ManagerStatus}}", {
        before: (lab) => lab.killNode("w1"),
        until: /w1\|Down/,
      }),
      ps("web", { until: /(Running AGO[\s\S]*){3}/, places: true }),
      step("node ps --no-trunc w1", { places: true }),
      step("service ls"),
      step("node ls --format {{.Hostname}}|{{.Status}}|{{.Availability}}|{{.ManagerStatus}}", {
        before: (lab) => lab.startNode("w1"),
        until: /w1\|Ready/,
      }),
      ps("web", {
        until: /Shutdown +Shutdown AGO|Shutdown +Failed AGO|Shutdown +Complete AGO/,
        places: true,
      }),
      step("service ls"),
    ],
  },
  {
    name: "jobs",
    steps: [
      create("job", "--mode replicated-job --replicas 3 --max-concurrent 2", shell("exit 0")),
      step("service ls", { until: /3\/3 completed/ }),
      step(
        "service ps --no-trunc --format {{.Image}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}} job",
        { sorted: true, until: /(Complete AGO[\s\S]*){3}/ },
      ),
      pretty("job"),
      step("service inspect job"),
      create("every", "--mode global-job", shell("exit 0")),
      step("service ls --filter name=every", { until: /2\/2 completed/ }),
      step(
        "service ps --no-trunc --format {{.Image}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}} every",
        { sorted: true },
      ),
      pretty("every"),
      create("bad", "--mode replicated-job --restart-condition none", shell("exit 9")),
      step("service ps --no-trunc --format {{.DesiredState}}|{{.CurrentState}}|{{.Error}} bad", {
        until: /Failed/,
      }),
      step("service ls --filter name=bad"),
      {
        words: [
          "service",
          "create",
          "--no-resolve-image",
          "--name",
          "shown",
          "--mode",
          "replicated-job",
          "--replicas",
          "2",
          image,
          ...shell("exit 0"),
        ],
        progress: true,
      },
      {
        words: [
          "service",
          "create",
          "--no-resolve-image",
          "--name",
          "shown-all",
          "--mode",
          "global-job",
          image,
          ...shell("exit 0"),
        ],
        progress: true,
      },
      step("service update --force --detach job"),
      step("service ls --filter name=job", { until: /3\/3 completed/ }),
      step("service scale job=4", { progress: true }),
      step("service ls --filter mode=replicated-job --format {{.Name}}", { sorted: true }),
      step("service rollback job", { progress: true }),
      step("service update --update-parallelism 2 job", { progress: true }),
      step("service update --replicas-max-per-node 2 job", { progress: true }),
    ],
  },
  {
    name: "logs",
    steps: [
      create(
        "talk",
        "--env A=b --container-label l=m --log-opt env=A --log-opt labels=l",
        shell("echo one; echo two; echo err >&2; sleep 1000"),
      ),
      step("service logs talk", { until: /^(?=[\s\S]*one)(?=[\s\S]*two)[\s\S]*err/, sorted: true }),
      step("service logs --raw talk", { sorted: true }),
      step("service logs --no-task-ids talk", { sorted: true }),
      step("service logs --no-trunc talk", { sorted: true }),
      step("service logs --no-resolve talk", { sorted: true }),
      step("service logs --timestamps talk", { sorted: true }),
      step("service logs --details talk", { sorted: true }),
      step("service logs --tail 0 talk", { sorted: true }),
      step("service logs --tail x talk", { sorted: true }),
      step("service logs absent"),
      create("quiet", "--log-driver none", shell("echo hidden; sleep 1000")),
      ps("quiet", { until: /Running AGO/, quiet: true }),
      step("service logs quiet"),
      create("tty", "--tty", shell("echo hello; sleep 1000")),
      ps("tty", { until: /Running AGO/, quiet: true }),
      step("service logs tty"),
      step("service logs --raw tty", { until: /hello/ }),
    ],
  },
];
