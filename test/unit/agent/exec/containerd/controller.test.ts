/**
 * Drives task containers over a runtime in memory: pulls, adoption, health, ends, and what is left behind.
 */
import { deepEqual, equal, notEqual, rejects } from "node:assert/strict";
import {
  type ContainerExecutorOptions,
  containerExecutor,
} from "../../../../../agent/exec/containerd/executor.ts";
import type { Controller } from "../../../../../agent/exec/controller.ts";
import type { Executor } from "../../../../../agent/exec/executor.ts";
import {
  Annotations,
  ContainerSpec,
  Endpoint,
  EndpointSpec,
  Node,
  NodeDescription,
  NodeSpec,
  PortConfig,
  PullOptions,
  Task,
  TaskSpec,
} from "../../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../../src/common/log/log.ts";
import { type FakeRuntime, fakeRuntime } from "../../../../support/fake-runtime.ts";
import { settled } from "../../../../support/message-queue.ts";
import { noRuntime } from "../../../../support/no-runtime.ts";

const never = new AbortController().signal;

function task(id: string, container: Partial<ContainerSpec> = {}): Task {
  return Task.create({
    id,
    slot: 1,
    nodeId: "n",
    serviceAnnotations: Annotations.create({ name: "web" }),
    spec: TaskSpec.create({
      container: ContainerSpec.create({ image: "busybox", ...container }),
    }),
  });
}

describe("agent/exec/containerd/controller", () => {
  let runtime: FakeRuntime;
  let executor: Executor;
  let clock: FakeClock;
  let drain: ContainerExecutorOptions["drain"];
  let listened: NonNullable<ContainerExecutorOptions["listened"]>;
  let preferLocal: boolean;

  beforeEach(() => {
    [runtime, clock, drain] = [fakeRuntime(), new FakeClock(), async () => {}];
    listened = async () => [];
    preferLocal = false;
    executor = executorOf();
  });

  function executorOf(
    over: FakeRuntime | ReturnType<typeof noRuntime> = runtime,
    loaded = Promise.resolve(),
  ): Executor {
    return containerExecutor({
      runtime: over,
      describe: () => NodeDescription.create({ hostname: "h" }),
      loaded,
      drain: (container, signal) => drain(container, signal),
      listened: (...asked) => listened(...asked),
      preferLocal,
      clock,
      log: silentLog,
    });
  }

  function controller(one: Task): Controller {
    const dependencies = { secret: () => undefined, config: () => undefined };
    return executor.controller({ task: one, nodeId: "n", dependencies });
  }

  function publishing(id: string): Controller {
    const ports = [PortConfig.create({ protocol: "tcp", targetPort: 80 })];
    const endpoint = Endpoint.create({ spec: EndpointSpec.create({ ports }) });
    return controller({ ...task(id), endpoint });
  }

  async function running(one = task("t")): Promise<Controller> {
    const made = controller(one);
    await made.prepare(never);
    equal(await made.start(never), undefined);
    return made;
  }

  it("pulls, makes and starts the container of the task", async () => {
    const one = await running();
    const [container] = runtime.containers.list();
    equal(container?.name, "web.1.t");
    equal(container?.state.phase, "running");
    deepEqual(one.status(), { containerId: container?.id, pid: 42, exitCode: 0 });
    deepEqual(executor.taskIds(), ["t"]);
  });

  it("goes on with what is there instead of making it a second time", async () => {
    await running();
    const again = await running();
    equal(runtime.containers.list().length, 1);
    equal(again.isSettled(), true);
  });

  it("is stopped when its connections have had time, and not before", async () => {
    const one = await running();
    let end = () => {};
    const drained: string[] = [];
    drain = ({ name }) => {
      drained.push(name);
      return new Promise((resolve) => {
        end = resolve;
      });
    };
    const stopped = one.shutdown(never);
    await settled();
    deepEqual(drained, ["web.1.t"]);
    equal(runtime.containers.list()[0]?.state.phase, "running");
    end();
    await stopped;
    equal(runtime.containers.list()[0]?.state.phase, "exited");
  });

  it("is not waited for when it ends by itself, or its connections cannot be known", async () => {
    const one = await running();
    drain = (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
    const stopped = one.shutdown(never);
    await runtime.containers.kill("web.1.t", "KILL");
    await stopped;
    drain = () => Promise.reject(new Error("no such process"));
    await (await running(task("u"))).shutdown(never);
    deepEqual(
      runtime.containers.list().map(({ state }) => state.phase),
      ["exited", "exited"],
    );
  });

  it("is not stopped when the agent stops while it is waited for", async () => {
    const one = await running();
    const over = new AbortController();
    drain = (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
    const stopped = one.shutdown(over.signal);
    await settled();
    over.abort(new Error("stopping"));
    await rejects(stopped, /stopping/);
    equal(runtime.containers.list()[0]?.state.phase, "running");
  });

  it("is started when it listens at its published ports, unless a health check says so", async () => {
    const asked: (readonly [number, unknown])[] = [];
    let listens = () => {};
    listened = (pid, terms) => {
      asked.push([pid, terms]);
      return new Promise((resolve) => {
        listens = () => resolve([]);
      });
    };
    const started = publishing("t").start(never);
    let isStarted = false;
    void started.then(() => {
      isStarted = true;
    });
    await settled();
    deepEqual(asked, [[42, { ports: [{ protocol: "tcp", port: 80 }], limitMs: 10_000 }]]);
    equal(isStarted, false);
    listens();
    equal(await started, undefined);
    await running(task("u"));
    equal(asked.length, 1);
  });

  it("is not waited for until it listens when it ends before", async () => {
    listened = (_pid, _terms, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
    const started = publishing("t").start(never);
    await settled();
    await runtime.containers.kill("web.1.t", "KILL");
    equal((await started)?.exitCode, 137);
  });

  it("tells how it ended", async () => {
    const one = await running();
    const end = one.wait(never);
    await runtime.containers.kill("web.1.t", "KILL");
    const { exitCode, lost, error } = await end;
    deepEqual([exitCode, lost, error], [137, false, ""]);
  });

  it("tells at once of an end that came before", async () => {
    await running();
    await runtime.containers.stop("web.1.t");
    const { exitCode } = await controller(task("t")).wait(never);
    equal(exitCode, 143);
  });

  it("takes none for lost before it is known which there are", async () => {
    await running();
    let know = () => {};
    executor = executorOf(
      runtime,
      new Promise((resolve) => {
        know = resolve;
      }),
    );
    const list = runtime.containers.list.bind(runtime.containers);
    runtime.containers.list = () => [];
    const end = controller(task("t")).wait(never);
    const ready = executor.ready(never);
    await settled();
    runtime.containers.list = list;
    know();
    await ready;
    await settled();
    await runtime.containers.kill("web.1.t", "KILL");
    equal((await end).exitCode, 137);
  });

  it("tells the ports of the node that lead to it, the one that was chosen for it included", async () => {
    const port = (targetPort: number, publishedPort: number) =>
      PortConfig.create({ targetPort, publishedPort, publishMode: "host" });
    const ports = [port(80, 8080), port(81, 0), PortConfig.create({ targetPort: 82 })];
    const one = controller({ ...task("t"), endpoint: Endpoint.create({ ports }) });
    deepEqual(one.ports(), []);
    await one.prepare(never);
    deepEqual(one.ports(), []);
    const [container] = runtime.containers.list();
    if (container !== undefined) await runtime.networks.give(container);
    const [first, second, ...others] = one.ports();
    deepEqual([first, others], [port(80, 8080), []]);
    deepEqual([second?.targetPort, second?.publishMode], [81, "host"]);
    notEqual(second?.publishedPort, 0);
  });

  it("waits 15 s at most for that before the node says hello", async () => {
    executor = executorOf(runtime, new Promise(() => {}));
    const ready = executor.ready(never);
    await clock.advance(15_000);
    await ready;
  });

  it("counts a container that was removed as lost", async () => {
    const one = await running();
    const end = one.wait(never);
    await runtime.containers.remove("web.1.t", { force: true });
    equal((await end).lost, true);
    equal(one.isSettled(), false);
    equal((await controller(task("other")).wait(never)).lost, true);
  });

  it("counts one that ran as lost when its start was not written before the node went down", async () => {
    const one = controller(task("t"));
    await one.prepare(never);
    const { lost, exitCode, error } = await one.wait(never);
    deepEqual([lost, exitCode, error], [true, 255, "the node went down while the container ran"]);
    equal(one.isSettled(), false);
  });

  it("stops it, and has nothing to stop otherwise", async () => {
    const one = await running();
    await one.shutdown(never);
    equal(one.status()?.exitCode, 143);
    await one.shutdown(never);
    await controller(task("other")).shutdown(never);
  });

  it("removes it, and has nothing to remove otherwise", async () => {
    const one = await running();
    await one.remove();
    await one.remove();
    deepEqual(executor.taskIds(), []);
    await running();
    await executor.discard("t");
    deepEqual(runtime.containers.list(), []);
  });

  it("uses the image that is here when it cannot be pulled", async () => {
    runtime.images.add("missing:1");
    await controller(task("t", { image: "missing:1" })).prepare(never);
    equal(runtime.containers.list().length, 1);
  });

  it("does not wait again for a registry that was not reached a moment ago, while the image is here", async () => {
    runtime.images.add("busybox:latest");
    let pulls = 0;
    let isSilent = true;
    const pull = runtime.images.pull.bind(runtime.images);
    runtime.images.pull = (request) => {
      pulls++;
      const message = 'Get "https://registry-1.docker.io/v2/": dial tcp: i/o timeout';
      return isSilent ? Promise.reject(new ClusterError("unavailable", message)) : pull(request);
    };
    for (const id of ["t", "u"]) await controller(task(id)).prepare(never);
    equal(pulls, 1);
    await rejects(controller(task("v", { image: "missing:2" })).prepare(never), /i\/o timeout/);
    await controller(task("w", { image: "10.0.0.1:5000/busybox" }))
      .prepare(never)
      .catch(() => {});
    equal(pulls, 3);
    isSilent = false;
    await clock.advance(60_000);
    await controller(task("x")).prepare(never);
    equal(pulls, 4);
  });

  it("does not ask for an image that is here when it is told so", async () => {
    preferLocal = true;
    executor = executorOf();
    runtime.images.add("busybox:latest");
    runtime.images.pull = () => Promise.reject(new Error("asked"));
    await controller(task("t")).prepare(never);
    await rejects(controller(task("u", { image: "missing:2" })).prepare(never), /asked/);
  });

  it("asks for an image as the label of the container says", async () => {
    runtime.images.add("busybox:latest");
    runtime.images.pull = () => Promise.reject(new Error("asked"));
    const policy = (pull: string) => ({ labels: { "skep.pull": pull } });
    for (const pull of ["missing", "never"]) {
      await controller(task(pull, policy(pull))).prepare(never);
      const gone = controller(task(`${pull}-gone`, { image: "gone:2", ...policy(pull) }));
      await rejects(gone.prepare(never), pull === "never" ? /skep\.pull=never keeps it/ : /asked/);
    }
  });

  it("does not use an image that is here when the registry has none for this node", async () => {
    runtime.images.add("busybox:latest");
    const message = "no matching manifest for linux/amd64 in the manifest list entries";
    runtime.images.pull = () => Promise.reject(new ClusterError("not-found", message));
    await rejects(controller(task("t")).prepare(never), { message });
  });

  it("says why it cannot be pulled when it is not here", async () => {
    await rejects(controller(task("t", { image: "missing:2" })).prepare(never), /missing/);
    deepEqual(runtime.containers.list(), []);
  });

  it("pulls with the credentials of the service", async () => {
    const auth = { username: "u", password: "p", serveraddress: "r" };
    const registryAuth = Buffer.from(JSON.stringify(auth)).toString("base64url");
    await running(task("t", { pull: PullOptions.create({ registryAuth }) }));
    equal(runtime.images.lastAuth?.username, "u");
    const pull = PullOptions.create({ registryAuth: "{" });
    const bad = task("v", { image: "other", pull });
    await rejects(controller(bad).prepare(never), /credentials/);
  });

  it("pulls what only an emulator runs where node or service allow it", async () => {
    const asked: unknown[] = [];
    const pull = runtime.images.pull.bind(runtime.images);
    runtime.images.pull = (request) => {
      asked.push(request.emulated);
      return pull(request);
    };
    const labels = { "skep.emulation": "allow" };
    await controller(task("a")).prepare(never);
    const serviceAnnotations = Annotations.create({ name: "web", labels });
    await controller({ ...task("b"), serviceAnnotations }).prepare(never);
    const annotations = Annotations.create({ labels });
    executor.nodeChanged(Node.create({ spec: NodeSpec.create({ annotations }) }));
    await controller(task("c")).prepare(never);
    deepEqual(asked, [false, true, true]);
  });

  it("gives a pull up when the task is to stop", async () => {
    const stop = new AbortController();
    runtime.images.pull = ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(new Error("cut")), { once: true });
      });
    const preparing = controller(task("t")).prepare(stop.signal);
    stop.abort(new Error("to stop"));
    await rejects(preparing, /to stop/);
    deepEqual(runtime.containers.list(), []);
  });

  describe("with a health check", () => {
    const { containers } = fakeRuntime();
    type Health = NonNullable<ReturnType<typeof containers.find>["state"]["health"]>;
    let health: Health["status"];
    let tell: () => void;

    beforeEach(() => {
      health = "starting";
      const list = runtime.containers.list.bind(runtime.containers);
      runtime.containers.list = () =>
        list().map((container) => ({
          ...container,
          state: {
            ...container.state,
            health: { status: health, failingStreak: 0, probes: [] },
          },
        }));
      tell = () => runtime.containers.tell("web.1.t", `health_status: ${health}`);
    });

    it("has started once it is healthy", async () => {
      const one = controller(task("t"));
      await one.prepare(never);
      let isUp = false;
      const up = one.start(never).then((exit) => {
        isUp = true;
        return exit;
      });
      await settled();
      equal(isUp, false);
      health = "healthy";
      tell();
      equal(await up, undefined);
    });

    it("is stopped when it is unhealthy, whenever that is", async () => {
      const one = controller(task("t"));
      await one.prepare(never);
      health = "unhealthy";
      const early = await one.start(never);
      deepEqual([early?.exitCode, early?.error], [143, "dockerexec: unhealthy container"]);
      await one.remove();
      health = "healthy";
      const two = await running();
      const end = two.wait(never);
      await settled();
      health = "unhealthy";
      tell();
      const late = await end;
      deepEqual([late.exitCode, late.error], [143, "dockerexec: unhealthy container"]);
    });
  });

  describe("with hooks", () => {
    const hooked = (label: string, ...commands: readonly string[]) =>
      task("t", {
        labels: { [label]: JSON.stringify(commands.map((command) => ({ command: [command] }))) },
      });
    let ran: string[];
    let phases: string[];

    beforeEach(() => {
      [ran, phases] = [[], []];
      const { containers } = runtime;
      containers.startExec = async (id) => {
        const { config, containerId } = containers.findExec(id);
        ran.push(config.command.join(" "));
        phases.push(containers.find(containerId).state.phase);
        let end = () => {};
        const ended = new Promise<void>((resolve) => {
          end = resolve;
        });
        return {
          tty: false,
          output: (async function* () {
            if (config.command[0] === "endless") await ended;
            yield { stream: "stderr" as const, data: Buffer.from("why\n") };
          })(),
          write: async () => {},
          closeStdin: async () => {},
          close: end,
        };
      };
      const find = containers.findExec.bind(containers);
      containers.findExec = (id) => {
        const found = find(id);
        return { ...found, exitCode: found.config.command[0] === "bad" ? 3 : 0 };
      };
    });

    it("runs those for its start one after the other, before it counts as up", async () => {
      await running(hooked("skep.post-start", "one", "two"));
      deepEqual(ran, ["one", "two"]);
      deepEqual(phases, ["running", "running"]);
    });

    it("fails with the first that fails, and stops its container", async () => {
      const one = controller(hooked("skep.post-start", "one", "bad", "two"));
      const exit = await one.start(never);
      equal(exit?.error, 'post_start hook "bad" ended with code 3: why');
      deepEqual(ran, ["one", "bad"]);
      equal(runtime.containers.list()[0]?.state.phase, "exited");
    });

    it("runs those for its stop before it stops, whether they are well or not", async () => {
      const one = await running(hooked("skep.pre-stop", "bad", "two"));
      await one.shutdown(never);
      deepEqual(ran, ["bad"]);
      deepEqual(phases, ["running"]);
      equal(runtime.containers.list()[0]?.state.phase, "exited");
    });

    it("stops without them once they took as long as it has to stop", async () => {
      const one = await running(hooked("skep.pre-stop", "endless"));
      const stopped = one.shutdown(never);
      await settled();
      equal(runtime.containers.list()[0]?.state.phase, "running");
      await clock.advance(10_000);
      await stopped;
      equal(runtime.containers.list()[0]?.state.phase, "exited");
    });
  });

  describe("while the runtime is away", () => {
    it("tries again for a while what needs it", async () => {
      const start = runtime.containers.start.bind(runtime.containers);
      let refusals = 2;
      runtime.containers.start = async (id) => {
        if (refusals-- > 0) throw new ClusterError("unavailable", "containerd is away");
        await start(id);
      };
      const one = controller(task("t"));
      await one.prepare(never);
      const started = one.start(never);
      await settled();
      await clock.advance(500);
      equal(await started, undefined);
    });

    it("gives up after 15 s", async () => {
      runtime.containers.create = () =>
        Promise.reject(new ClusterError("unavailable", "containerd is away"));
      const preparing = controller(task("t")).prepare(never);
      const failed = rejects(preparing, /containerd is away/);
      await settled();
      await clock.advance(15_000);
      await failed;
    });

    it("says why when there is none at all", async () => {
      executor = executorOf(noRuntime("containerd is not installed"));
      deepEqual(executor.taskIds(), []);
      const failed = rejects(controller(task("t")).prepare(never), /containerd is not installed/);
      await settled();
      await clock.advance(15_000);
      await failed;
    });

    it("waits for it with a pull, too, but not for a registry", async () => {
      const { images } = runtime;
      const find = images.find.bind(images);
      const pull = images.pull.bind(images);
      const away = () => Promise.reject(new ClusterError("unavailable", "away"));
      [images.pull, images.find] = [away, away];
      const preparing = controller(task("t")).prepare(never);
      await settled();
      [images.pull, images.find] = [pull, find];
      await clock.advance(250);
      await preparing;
      images.pull = away;
      await rejects(controller(task("u", { image: "other" })).prepare(never), /away/);
    });
  });
});
