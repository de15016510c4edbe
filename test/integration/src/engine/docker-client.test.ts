/**
 * The Engine API driven by the stock docker clients: what users type and what they are told.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dockerClients, runDocker } from "../../../support/docker.ts";
import { startEngine, type TestEngine, testTask } from "../../../support/engine.ts";
import { until } from "../../../support/wait.ts";

/** A stack with what is awkward: a config from a file, two networks, a global service, deploy labels. */
const stackFile = `
version: "3.8"
services:
  web:
    image: nginx:1
    ports: ["8081:80"]
    networks: [front, back]
    configs: [motd]
    environment: { A: "1" }
    healthcheck: { test: ["CMD", "true"], interval: 10s }
    deploy:
      replicas: 2
      labels: { "a.b": c }
      update_config: { order: start-first, failure_action: rollback }
      resources: { limits: { cpus: "0.5", memory: 64M } }
      placement: { constraints: ["node.role == worker"], preferences: [{ spread: node.labels.zone }] }
  db:
    image: redis
    networks: [back]
    deploy: { mode: global }
networks:
  front: { driver: overlay }
  back: { driver: overlay, attachable: true }
configs:
  motd: { file: ./motd }
`;

describe("engine with a stock docker client", () => {
  for (const client of dockerClients()) {
    describe(client.name, () => {
      let engine: TestEngine;
      before(async () => {
        engine = await startEngine();
      });
      after(() => engine.stop());

      /** Runs a command of simple words, and further arguments as they are, that must succeed; its output without the last line end. */
      const docker = async (command: string, ...more: string[]): Promise<string> => {
        const args = [...command.split(" "), ...more];
        const { code, stdout, stderr } = await runDocker(client, engine.socket, args);
        assert.equal(code, 0, `docker ${args.join(" ")}: ${stderr}`);
        return stdout.trimEnd();
      };
      /** Runs a command that must fail; what it says. */
      const refused = async (command: string, ...more: string[]): Promise<string> => {
        const args = [...command.split(" "), ...more];
        const { code, stdout, stderr } = await runDocker(client, engine.socket, args);
        assert.notEqual(code, 0, `docker ${args.join(" ")} succeeded: ${stdout}`);
        return stderr;
      };

      it("shows the version", async () => {
        assert.equal(await docker("version --format {{.Server.Version}}"), "0.1.0");
        assert.match(await docker("version"), /API version: +1\.47 \(minimum version 1\.24\)/);
      });

      it("shows info with the swarm section", async () => {
        const info = await docker("info");
        assert.match(info, /Swarm: active/);
        assert.match(info, /Is Manager: true/);
        assert.match(info, /Managers: 1/);
        assert.match(info, /Nodes: 2/);
        assert.match(info, /Data Path Port: 4789/);
        assert.match(info, /Default Address Pool: 10\.0\.0\.0\/8/);
        assert.match(info, /Expiry Duration: 3 months/);
      });

      it("lists nodes and marks itself", async () => {
        const lines = await docker(
          "node ls --format",
          "{{.Hostname}} {{.Self}} {{.Status}} {{.ManagerStatus}}",
        );
        assert.deepEqual(
          lines
            .split("\n")
            .map((line) => line.trimEnd())
            .sort(),
          ["host-1 true Ready Leader", "host-2 false Ready"],
        );
        assert.equal(
          await docker("node ls -q --filter role=worker --format {{.Hostname}}"),
          "host-2",
        );
        assert.equal(await docker("node inspect self --format {{.ID}}"), engine.selfId);
      });

      it("updates a node", async () => {
        await docker("node update --label-add zone=a --availability drain host-2");
        const shown = await docker(
          "node inspect host-2 --format",
          "{{.Spec.Availability}} {{.Spec.Labels.zone}}",
        );
        assert.equal(shown, "drain a");
      });

      it("refuses to demote the last manager and to remove a node that is up", async () => {
        assert.match(
          await refused("node demote host-1"),
          /rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm/,
        );
        assert.match(await refused("node rm host-2"), /is not down and can't be removed/);
        assert.match(await refused("node rm host-1"), /must be demoted to worker before removal/);
        assert.match(await refused("node rm nobody"), /node nobody not found|No such node: nobody/);
      });

      it("keeps secrets and never shows their data", async () => {
        const { code, stdout, stderr } = await runDocker(
          client,
          engine.socket,
          ["secret", "create", "--label", "a=b", "password", "-"],
          { input: "s3cret" },
        );
        assert.equal(code, 0, stderr);
        assert.match(stdout, /^[0-9a-z]{25}\n$/);
        assert.equal(await docker("secret ls --format {{.Name}} --filter label=a=b"), "password");
        const inspected = await docker("secret inspect password");
        assert.ok(!inspected.includes(Buffer.from("s3cret").toString("base64")));
        const again = await runDocker(
          client,
          engine.socket,
          ["secret", "create", "password", "-"],
          { input: "x" },
        );
        assert.match(again.stderr, /code = AlreadyExists desc = secret password already exists/);
        assert.match(
          (
            await runDocker(client, engine.socket, ["secret", "create", "no/good", "-"], {
              input: "x",
            })
          ).stderr,
          /invalid name, only 64 \[a-zA-Z0-9-_\.\] characters allowed/,
        );
        assert.equal(await docker("secret rm password"), "password");
        assert.match(
          await refused("secret inspect password"),
          /secret password not found|No such secret: password/,
        );
        assert.match(
          await refused("secret rm password"),
          /secret password not found|No such secret: password/,
        );
      });

      it("keeps configs with their data", async () => {
        const created = await runDocker(client, engine.socket, ["config", "create", "site", "-"], {
          input: "hello",
        });
        assert.equal(created.code, 0, created.stderr);
        assert.equal(
          await docker("config inspect --format", '{{printf "%s" .Spec.Data}}', "site"),
          "hello",
        );
        assert.equal(await docker("config rm site"), "site");
      });

      it("makes, shows, changes and removes a service", async () => {
        const secret = await runDocker(client, engine.socket, ["secret", "create", "key", "-"], {
          input: "k",
        });
        assert.equal(secret.code, 0, secret.stderr);
        const id = await docker(
          "service create --detach --no-resolve-image --name web --replicas 3 --publish 8080:80 --secret key --label tier=front --constraint node.role==worker --limit-memory 64M --update-delay 10s --env A=1 --mount type=volume,source=data,target=/data nginx:1",
        );
        assert.match(id, /^[0-9a-z]{25}$/);
        assert.equal(
          await docker("service ls --format", "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}"),
          "web replicated 0/3 nginx:1",
        );
        assert.match(await docker("service inspect --pretty web"), /RestartPolicy|Mounts:/);
        const spec = JSON.parse(await docker("service inspect --format", "{{json .Spec}}", "web"));
        assert.equal(spec.TaskTemplate.RestartPolicy.Delay, 5_000_000_000);
        assert.equal(spec.TaskTemplate.ContainerSpec.StopGracePeriod, 10_000_000_000);
        assert.equal(spec.UpdateConfig.Delay, 10_000_000_000);
        assert.equal(await docker("service ps web"), await docker("service ps", id.slice(0, 8)));
        assert.match(
          await refused("secret rm key"),
          /secret 'key' is in use by the following service: web/,
        );
        assert.match(
          await refused(
            "service create --detach --no-resolve-image --name other --publish 8080:80 nginx:1",
          ),
          /code = InvalidArgument desc = port '8080' is already in use by service 'web' \(\w+\) as an ingress port/,
        );
      });

      it("rolls a service back, scales and removes it", async () => {
        await docker("service update --detach --no-resolve-image --image nginx:2 --replicas 5 web");
        assert.equal(
          await docker("service ls --format", "{{.Replicas}} {{.Image}}"),
          "0/5 nginx:2",
        );
        await docker("service rollback --detach web");
        assert.equal(
          await docker("service ls --format", "{{.Replicas}} {{.Image}}"),
          "0/3 nginx:1",
        );
        await docker("service scale --detach web=1");
        assert.equal(await docker("service ls --format {{.Replicas}}"), "0/1");
        assert.equal(await docker("service rm web"), "web");
        assert.match(await refused("service inspect web"), /[Nn]o such service: web/);
        await docker("secret rm key");
      });

      it("warns once about an image it cannot pin and creates the service", async () => {
        const { code, stdout, stderr } = await runDocker(client, engine.socket, [
          "service",
          "create",
          "--detach",
          "--name",
          "plain",
          "nginx",
        ]);
        assert.equal(code, 0, stderr);
        assert.match(stderr, /could not be accessed on a registry to record/);
        assert.match(stdout, /^[0-9a-z]{25}\n$/);
        await docker("service rm plain");
      });

      it("makes, shows and removes overlay networks", async () => {
        const id = await docker(
          "network create -d overlay --attachable --label x=y --subnet 10.9.0.0/24 back",
        );
        assert.match(id, /^[0-9a-z]{25}$/);
        const names = await docker("network ls --format", "{{.Name}} {{.Driver}} {{.Scope}}");
        assert.deepEqual(names.split("\n").sort(), [
          "back overlay swarm",
          "bridge bridge local",
          "docker_gwbridge bridge local",
          "host host local",
          "ingress overlay swarm",
          "none null local",
        ]);
        assert.equal(
          await docker(
            "network inspect --format",
            "{{.Attachable}} {{(index .IPAM.Config 0).Subnet}}",
            "back",
          ),
          "true 10.9.0.0/24",
        );
        assert.match(
          await refused("network create -d overlay back"),
          /network with name back already exists/,
        );
        assert.match(
          await refused("network rm bridge"),
          /bridge is a pre-defined network and cannot be removed/,
        );
        const service = await docker(
          "service create --detach --no-resolve-image --name inside --network back nginx",
        );
        assert.match(
          await refused("network rm back"),
          new RegExp(`network ${id} is in use by service ${service}`),
        );
        assert.match(
          await refused("service create --detach --no-resolve-image --network ingress nginx"),
          /Service cannot be explicitly attached to the ingress network "ingress"/,
        );
        await docker(
          "service create --detach --no-resolve-image --name outside --network bridge nginx",
        );
        await docker("service rm inside outside");
        assert.equal(await docker("network rm back"), "back");
      });

      it("shows and rotates join tokens and the unlock key", async () => {
        const before = await docker("swarm join-token -q worker");
        assert.match(before, /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
        const after = await docker("swarm join-token -q --rotate worker");
        assert.notEqual(after, before);
        assert.match(
          await docker("swarm update --autolock=true --task-history-limit 7"),
          /SWMKEY-1-/,
        );
        assert.match(await docker("swarm unlock-key -q"), /^SWMKEY-1-/);
        assert.match(await docker("info"), /Task History Retention Limit: 7/);
        await docker("swarm update --autolock=false");
        assert.match(
          await refused("swarm update --cert-expiry 10m"),
          /minimum certificate expiry time is: 1h0m0s/,
        );
        assert.match(await docker("swarm ca"), /BEGIN CERTIFICATE/);
      });

      it("refuses a second init and a leave without force", async () => {
        assert.match(await refused("swarm init"), /This node is already part of a swarm/);
        assert.match(
          await refused("swarm leave"),
          /Removing the last manager erases all current state of the swarm/,
        );
      });

      it("deploys, shows and removes a stack", async () => {
        const folder = mkdtempSync(join(tmpdir(), "skep-stack-"));
        try {
          writeFileSync(join(folder, "motd"), "hello");
          writeFileSync(join(folder, "stack.yml"), stackFile);
          const file = join(folder, "stack.yml");
          await docker("stack deploy --resolve-image never -c", file, "shop");
          const services = await docker(
            "stack services --format",
            "{{.Name}} {{.Replicas}}",
            "shop",
          );
          assert.deepEqual(services.split("\n").sort(), ["shop_db 0/0", "shop_web 0/2"]);
          assert.match(await docker("stack ls"), /shop +2/);
          await docker("stack deploy --resolve-image never --prune -c", file, "shop");
          const networks = await docker(
            "network ls -q --filter label=com.docker.stack.namespace=shop",
          );
          assert.equal(networks.split("\n").length, 2);
          await docker("stack rm shop");
          assert.equal(await docker("config ls -q"), "");
        } finally {
          rmSync(folder, { recursive: true });
        }
      });

      it("follows a service until its tasks run", async () => {
        const args = ["service", "create", "--no-resolve-image", "--name", "slow", "nginx"];
        const running = runDocker(client, engine.socket, args);
        const service = await until(() => engine.store.view().find("service", "name", "slow")[0], {
          withinMs: 60_000,
          what: "the service",
        });
        await engine.store.update((tx) => {
          const fields = { serviceId: service.id, slot: 1, nodeId: engine.selfId };
          tx.create(
            "task",
            testTask("0000000000000000000000001", {
              ...fields,
              spec: service.spec?.task,
              specVersion: 0,
            }),
          );
        });
        const { code, stdout, stderr } = await running;
        assert.equal(code, 0, stderr);
        assert.match(stdout, /Service (\w+ )?converged/);
        assert.match(await docker("service ps slow"), /slow\.1 .* host-1 +Running +Running/);
        await docker("service rm slow");
        await engine.store.update((tx) => tx.remove("task", "0000000000000000000000001"));
      });

      it("streams events", async () => {
        const since = String(Math.floor(Date.now() / 1000) - 1);
        await runDocker(client, engine.socket, ["secret", "create", "watched", "-"], {
          input: "x",
        });
        await docker("secret rm watched");
        const until = String(Math.ceil(Date.now() / 1000) + 1);
        const events = await docker(
          "events --since",
          since,
          "--until",
          until,
          "--filter",
          "scope=swarm",
          "--filter",
          "type=secret",
          "--format",
          "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}",
        );
        assert.deepEqual(
          events.split("\n").filter((line) => line.includes("watched")),
          ["secret create watched", "secret remove watched"],
        );
      });

      it("makes, lists and removes containers and volumes beside the swarm's objects", async () => {
        assert.equal(await docker("ps -q"), "");
        const id = await docker("create --name box --label a=b --network none busybox cat");
        assert.equal(await docker("ps -aq --no-trunc --filter label=a=b"), id);
        assert.equal(
          await docker("ps -a --format", "{{.Names}} {{.Image}} {{.Status}}"),
          "box busybox Created",
        );
        assert.equal(await docker("inspect --format", "{{.Config.Cmd}}", "box"), "[cat]");
        assert.equal(await docker("rm box"), "box");
        assert.match(await refused("rm box"), /No such container: box/);
        assert.equal(await docker("images --format {{.Repository}}:{{.Tag}}"), "busybox:latest");
        assert.equal(await docker("volume create data"), "data");
        assert.equal(await docker("volume ls -q"), "data");
        assert.equal(await docker("volume rm data"), "data");
        assert.match(await refused("create --gpus all busybox"), /could not select device driver/);
      });

      it("says why without a swarm, on a worker, and when locked", async () => {
        engine.setStatus({ state: "inactive", controlAvailable: false, isManager: false });
        assert.match(
          await refused("node ls"),
          /This node is not a swarm manager\. Use "docker swarm init" or "docker swarm join"/,
        );
        engine.setStatus({ state: "active" });
        assert.match(
          await refused("service ls"),
          /Worker nodes can't be used to view or modify cluster state/,
        );
        engine.setStatus({ state: "locked" });
        assert.match(
          await refused("secret ls"),
          /Swarm is encrypted and needs to be unlocked before it can be used/,
        );
        engine.setStatus({ state: "active", controlAvailable: true, isManager: true });
      });
    });
  }
});
