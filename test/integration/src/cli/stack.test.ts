/**
 * `skep stack` beside the stock clients: the same file gives the same services whichever of them deploys it, so that they may
 * take turns.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runStack } from "../../../../src/cli/stack/command.ts";
import { type DockerClient, dockerClients, runDocker } from "../../../support/docker.ts";
import { startEngine, type TestEngine } from "../../../support/engine.ts";
import { FakeRegistry } from "../../../support/fake-registry.ts";

/** Keys that all stock clients know. */
const file = `version: "3.8"
services:
  web:
    image: nginx:1
    command: ["a", "b c"]
    entrypoint: sh -c "x y"
    environment: {A: 1, B: "x", GONE: , FROM_CALLER: }
    env_file: ./env
    labels: {l1: v, l2: 3}
    hostname: h
    user: "1:2"
    working_dir: /w
    tty: true
    stdin_open: true
    stop_grace_period: 1m30s
    stop_signal: SIGINT
    init: true
    read_only: true
    sysctls: {net.core.somaxconn: 1024}
    cap_add: [NET_ADMIN, sys_time]
    cap_drop: [ALL]
    ulimits: {nofile: {soft: 10, hard: 20}, nproc: 5}
    dns: 8.8.8.8
    dns_search: [a.b]
    extra_hosts: ["foo:1.2.3.4", "bar:::1"]
    healthcheck: {test: ["CMD", "x"], interval: 1s, timeout: 2s, retries: 3, start_period: 4s}
    logging: {driver: json-file, options: {max-size: 10m}}
    ports: ["80", "8080:80", "9000-9001:9000-9001/udp", {target: 5, published: 6, mode: host, protocol: tcp}]
    networks: {front: {aliases: [w2]}, back: }
    volumes:
      - data:/d:ro
      - /h:/c
      - ./rel:/r
      - /anon
      - {type: tmpfs, target: /t, tmpfs: {size: 1000}}
      - {type: bind, source: /b, target: /b2, read_only: true, bind: {propagation: rshared}}
      - {type: volume, source: data2, target: /d2, volume: {nocopy: true}}
    secrets: [token, {source: t2, target: x, uid: "1", gid: "2", mode: 0440}]
    configs: [page, {source: page2, target: /p, mode: 0400}]
    deploy:
      labels: {dl: "1"}
      replicas: 2
      endpoint_mode: vip
      update_config: {parallelism: 2, delay: 10s, failure_action: rollback, monitor: 3s, max_failure_ratio: 0.3, order: start-first}
      rollback_config: {parallelism: 1}
      resources:
        limits: {cpus: "0.5", memory: 50M}
        reservations: {cpus: "0.25", memory: 20M, generic_resources: [{discrete_resource_spec: {kind: gpu, value: 2}}]}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}
      placement: {constraints: [node.role==manager], preferences: [{spread: node.labels.zone}], max_replicas_per_node: 1}
  plain: {image: busybox}
  on-failure: {image: "busybox:1.36", restart: "on-failure:4"}
  everywhere: {image: "example.com:5000/x/y", restart: always, deploy: {mode: global, endpoint_mode: dnsrr}}
networks:
  front: {driver: overlay, attachable: true, labels: {a: b}, ipam: {config: [{subnet: 10.3.0.0/24}]}}
  back: {internal: true}
volumes:
  data: {}
  data2: {driver: nfs, driver_opts: {o: p}, labels: {q: r}, name: vn}
secrets: {token: {file: ./token}, t2: {file: ./token, labels: {a: b}, name: real}}
configs: {page: {file: ./page}, page2: {file: ./page}}
`;

const deployWords = ["deploy", "--resolve-image", "never", "-c"];

describe("skep stack and the stock clients", function () {
  this.timeout(300_000);
  let engine: TestEngine;
  let folder: string;
  let compose: string;

  before(async () => {
    engine = await startEngine();
    folder = mkdtempSync(join(tmpdir(), "skep-stack-"));
    compose = join(folder, "compose.yaml");
    writeFileSync(compose, file);
    writeFileSync(join(folder, "env"), "B=file\nC=from file\n");
    writeFileSync(join(folder, "token"), "token");
    writeFileSync(join(folder, "page"), "page");
  });

  after(async () => {
    await engine?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function skep(...words: string[]): Promise<{ code: number; out: string; err: string }> {
    let out = "";
    let err = "";
    const code = await runStack(words, {
      environment: { DOCKER_HOST: `unix://${engine.socket}`, FROM_CALLER: "caller" },
      folder,
      out: (text) => {
        out += text;
      },
      fail: (text) => {
        err += text;
      },
    });
    return { code, out, err };
  }

  async function docker(client: DockerClient, ...words: string[]): Promise<string> {
    process.env["FROM_CALLER"] = "caller";
    try {
      const { code, stdout, stderr } = await runDocker(client, engine.socket, ["stack", ...words]);
      equal(code, 0, stderr);
      return stdout;
    } finally {
      delete process.env["FROM_CALLER"];
    }
  }

  async function specs(): Promise<Record<string, unknown>> {
    const { json } = await engine.send("GET", "/services");
    return Object.fromEntries(
      (json as { Spec: { Name: string } }[]).map(({ Spec }) => [Spec.Name, Spec]),
    );
  }

  for (const client of dockerClients()) {
    it(`makes the services that ${client.path} makes, and the other way round`, async () => {
      await docker(client, ...deployWords, compose, "shop");
      const theirs = await specs();
      equal(
        (await skep("plan", "--resolve-image", "never", "-c", compose, "shop")).out.split("\n")[0],
        "Stack shop: no change",
      );
      const { code, err } = await skep(...deployWords, compose, "shop");
      equal(code, 0, err);
      deepEqual(await specs(), theirs);
      await docker(client, ...deployWords, compose, "shop");
      deepEqual(await specs(), theirs);
      match(await docker(client, "ls"), /shop\s+4/);
      match((await skep("ls")).out, /^NAME\s+SERVICES\nshop\s+4\n$/);
      match(await docker(client, "services", "shop"), /shop_web\s+replicated\s+0\/2/);
      match((await skep("services", "shop")).out, /shop_web\s+replicated\s+0\/2\s+nginx:1/);
      await docker(client, "rm", "shop");
      deepEqual(await specs(), {});
    });
  }

  it("exports a file whose deployment changes nothing", async () => {
    equal((await skep(...deployWords, compose, "shop")).code, 0);
    const text = (await skep("export", "shop")).out;
    const exported = join(folder, "exported.yaml");
    writeFileSync(exported, text);
    const { code, out } = await skep("plan", "--resolve-image", "never", "-c", exported);
    equal(out.split("\n")[0], "Stack shop: no change");
    equal(code, 0);
    match((await skep("rm", "shop")).out, /Removing network shop_front/);
    equal((await skep("rm", "shop")).err, "Nothing found in stack: shop\n");
  });

  it("says what a deployment would change, and refuses a plan that no longer holds", async () => {
    const write = (text: string) => writeFileSync(compose, text);
    const image = "127.0.0.1:1/i";
    write(`services: {a: {image: '${image}', environment: {A: 1}}, b: {image: '${image}'}}`);
    equal((await skep(...deployWords, compose, "shop")).code, 0);
    write(
      `services: {a: {image: '${image}', environment: {A: 2}, deploy: {replicas: 3}}, c: {image: '${image}', ports: ['80:80']}}`,
    );
    const words = ["--resolve-image", "never", "--prune", "-c", compose, "shop"];
    const { out, code } = await skep("plan", ...words);
    equal(code, 3);
    const index = /^Plan (\d+)$/m.exec(out)?.[1] ?? "";
    equal(
      out.replace(/host-\d|\b[0-9a-z]{25}\b/g, "N"),
      `~ service shop_a
    Mode: Replicated 1 -> Replicated 3
    TaskTemplate.ContainerSpec.Env.A: (a value) -> (another value)
    starts 3 tasks
    slot 1: N
    slot 2: N
    slot 3: N
+ service shop_c
    starts 1 task
    slot 1: N
- service shop_b
! node N did not say what it has: node N is not available
! image 127.0.0.1:1/i:latest was not resolved, so that its platforms and what is to be pulled are not known: registries were not to be asked
Stack shop: 3 of 4 objects change
Plan ${index}
`,
    );
    equal((await skep("deploy", "--plan", index, ...words)).code, 0);
    const late = await skep("deploy", "--plan", index, ...words);
    equal(late.code, 1);
    match(late.err, /the cluster moved on since plan \d+: it is at \d+ now; make a plan again/);
    equal((await skep("plan", ...words)).code, 0);
    await skep("rm", "shop");
  });

  it("tries requests without making anything of them", async () => {
    const spec = (name: string, rest: object = {}) => ({
      Name: name,
      TaskTemplate: { ContainerSpec: { Image: "127.0.0.1:1/i" } },
      ...rest,
    });
    const tried = await engine.send("POST", "/services/create?dryRun=true", {
      body: spec("tried"),
    });
    equal(tried.status, 200);
    const { Objects, Services } = tried.json as {
      readonly Objects: readonly { readonly Name: string; readonly Action: string }[];
      readonly Services: readonly { readonly Tasks: readonly { readonly Action: string }[] }[];
    };
    deepEqual(
      Objects.map(({ Name, Action }) => `${Action} ${Name}`),
      ["create tried"],
    );
    deepEqual(
      Services[0]?.Tasks.map(({ Action }) => Action),
      ["start"],
    );
    deepEqual(await specs(), {});
    const bad = await engine.send("POST", "/services/create?dryRun=true", {
      body: spec("-"),
    });
    equal(bad.status, 400);
    const odd = { body: spec("x") };
    equal((await engine.send("POST", "/services/create?dryRun=so", odd)).status, 400);
    const local = { Name: "mine", Driver: "bridge" };
    const own = await engine.send("POST", "/networks/create?dryRun=1", { body: local });
    match((own.json as { message: string }).message, /this network is the node's own/);
    equal((await engine.send("GET", "/networks/mine")).status, 404);
    const port = { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] } };
    const creation = (Body: object, ID?: string) => ({
      ...{ Method: "POST", Path: "/services/create", Body },
      ...(ID !== undefined && { ID }),
    });
    const Requests = [
      {
        Method: "POST",
        Path: "/networks/create",
        ID: "n",
        Body: { Name: "net", Driver: "overlay" },
      },
      creation({ ...spec("one", port), Networks: [{ Target: "net" }] }),
      creation(spec("two", port)),
      { Method: "GET", Path: "/services" },
    ];
    const plan = (await engine.send("POST", "/skep/plan", { body: { Requests } })).json as {
      readonly Objects: readonly { readonly Name: string }[];
      readonly Refused: readonly { readonly Request: number; readonly Message: string }[];
    };
    deepEqual(
      plan.Objects.map(({ Name }) => Name),
      ["net", "one"],
    );
    match(plan.Refused[0]?.Message ?? "", /port '8080' is already in use by service 'one'/);
    match(plan.Refused[1]?.Message ?? "", /is no create, update or removal/);
    deepEqual(await specs(), {});
  });

  it("asks for an image that several services have once, and says what follows a changed config", async () => {
    const write = (content: string) =>
      writeFileSync(
        compose,
        `services:
  a: {image: '127.0.0.1:1/i', configs: [page]}
  b: {image: '127.0.0.1:1/i'}
configs: {page: {content: ${content}}}`,
      );
    write("one");
    const first = await skep("deploy", "-c", compose, "shop");
    equal(first.err.match(/could not be accessed on a registry/g)?.length, 1);
    const again = ["deploy", "--resolve-image", "never", "-c", compose, "shop"];
    equal((await skep(...again)).out, "Service shop_a is unchanged\nService shop_b is unchanged\n");
    write("two");
    equal(
      (await skep(...again)).out,
      `Updating config shop_page
Service shop_a is unchanged, and follows config shop_page
Service shop_b is unchanged
`,
    );
    await skep("rm", "shop");
  });

  it("asks each registry once for a plan, says which images it did not resolve, and asks none with never", async () => {
    const [one, two] = [await FakeRegistry.start(), await FakeRegistry.start()];
    for (const { behaviour } of [one, two]) behaviour.status = 503;
    const images = [`${one.host}/a`, `${one.host}/b`, `${two.host}/c`];
    const services = images.map((image, at) => `  s${at}: {image: '${image}'}`);
    writeFileSync(compose, `services:\n${services.join("\n")}\n`);
    try {
      const never = await skep("plan", "--resolve-image", "never", "-c", compose, "shop");
      equal(one.seen.length + two.seen.length, 0);
      const whole = images.map((image) => `${image}:latest`).join(", ");
      const lines = (out: string) => out.split("\n").filter((line) => line.startsWith("! image"));
      deepEqual(lines(never.out), [
        `! images ${whole} were not resolved, so that their platforms and what is to be pulled are not known: registries were not to be asked`,
      ]);
      const { out, err } = await skep("plan", "-c", compose, "shop");
      equal(err, "");
      const said = lines(out).join("\n");
      for (const image of images) match(said, new RegExp(`${image}:latest.* not resolved`));
      const asked = (registry: FakeRegistry) => registry.seen.map(({ path }) => path);
      deepEqual([asked(one).length, asked(two).length], [2, 1], `${asked(one)} ${asked(two)}`);
    } finally {
      await one.stop();
      await two.stop();
    }
  });

  it("asks registries side by side for a deployment, of what depends on others once these are there", async () => {
    const asked: string[] = [];
    const held = new Set<ServerResponse>();
    let isOpen = false;
    // Answers once three wait for it: one after the other they never do.
    const registry = createServer(({ url = "" }, response) => {
      if (url === "/v2/") return void response.end();
      asked.push(url);
      held.add(response);
      response.once("close", () => held.delete(response));
      isOpen ||= held.size >= 3;
      if (isOpen) for (const one of held) one.writeHead(503).end();
    });
    await new Promise<void>((resolve) => void registry.listen(0, "127.0.0.1", resolve));
    const host = `127.0.0.1:${(registry.address() as AddressInfo).port}`;
    const after = "depends_on: {a: {condition: service_healthy, required: false}}";
    const last = `  last: {image: '${host}/last', ${after}}`;
    const services = ["a", "b", "c"].map((name) => `  ${name}: {image: '${host}/${name}'}`);
    writeFileSync(compose, `services:\n${[...services, last].join("\n")}\n`);
    try {
      const { out, err, code } = await skep("deploy", "--timeout", "1ms", "-c", compose, "shop");
      equal(code, 0, err);
      deepEqual(out.match(/shop_\w+$/gm), [
        "shop_default",
        "shop_a",
        "shop_b",
        "shop_c",
        "shop_last",
      ]);
      equal(err.match(/could not be accessed on a registry/g)?.length, 4);
      const image = (url: string) => url.split("/")[2];
      deepEqual(asked.slice(0, 3).map(image).sort(), ["a", "b", "c"]);
      deepEqual(asked.slice(3).map(image), ["last"]);
    } finally {
      registry.close();
      await skep("rm", "shop");
    }
  });

  it("says which program of its node has the host port of a task", async () => {
    const nginx = { protocol: "tcp", port: 80, address: "::", program: "nginx (7)" } as const;
    const { dataPath } = engine.runtime;
    engine.runtime.dataPath = { ...dataPath, programsAt: async () => [nginx] };
    const image = "127.0.0.1:1/i";
    const ports =
      "[{target: 80, published: 80, mode: host}, {target: 81, published: 81, mode: host}]";
    const deploy = `{placement: {constraints: ['node.id==${engine.selfId}']}}`;
    writeFileSync(
      compose,
      `services: {a: {image: '${image}', ports: ${ports}, deploy: ${deploy}}}`,
    );
    const { out } = await skep("plan", "--resolve-image", "never", "-c", compose, "shop");
    engine.runtime.dataPath = dataPath;
    const warnings = out.split("\n").filter((line) => line.startsWith("! service"));
    deepEqual(warnings, [
      "! service shop_a: host port 80/tcp is taken on host-1: nginx (7) listens at ::",
    ]);
  });

  it("refuses with file, line and column, and wrong words with its usage", async () => {
    writeFileSync(compose, "services:\n  a: {image: i, imagee: j}\n");
    const wrong = await skep(...deployWords, compose, "shop");
    equal(
      wrong.err,
      `skep stack: ${compose}:2:17: services.a Additional property imagee is not allowed\n`,
    );
    equal(wrong.code, 1);
    equal((await skep("deploy", "--no-such-flag")).code, 2);
    equal((await skep("nothing")).code, 2);
    match(
      (await skep("deploy", "-c", join(folder, "gone.yaml"), "x")).err,
      /no such file or directory/,
    );
    match((await skep("ps", "gone")).err, /nothing found in stack: gone/);
  });

  it("waits for what a service depends on, and says what it waited for", async () => {
    writeFileSync(
      compose,
      "services:\n  a: {image: i, depends_on: {b: {condition: service_healthy}}}\n  b: {image: i}\n",
    );
    const { code, err, out } = await skep(
      "deploy",
      "--timeout",
      "300ms",
      "--resolve-image",
      "never",
      "-c",
      compose,
      "shop",
    );
    equal(out, "Creating network shop_default\nCreating service shop_b\n");
    match(
      err,
      /service shop_a was not deployed, as it depends on shop_b: service shop_b is not healthy after 300ms: 0 of 1 tasks run/,
    );
    equal(code, 1);
    await skep("rm", "shop");
  });
});
