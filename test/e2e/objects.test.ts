/**
 * Secrets, configs, networks, services and stacks made, listed, changed and removed through the leader and the followers,
 * and seen as events, with every docker client of this machine. Tasks are not made yet, so services stay at none running.
 */
import { equal, match } from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DockerClient, dockerClients } from "../support/docker.ts";
import { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";

const managers = ["m1", "m2", "m3"];
const composeFile = `version: "3.8"
services:
  web:
    image: example.com/web:1
    secrets: [token]
    configs: [page]
    networks: [front]
    deploy: {replicas: 2}
secrets:
  token: {file: ./token}
configs:
  page: {file: ./page}
networks:
  front: {driver: overlay, attachable: true}
`;

describe("objects of a swarm", function () {
  this.timeout(300_000);
  let lab: SwarmLab;

  before(async () => {
    lab = await SwarmLab.up("skep-e2e-objects", managers);
    await lab.form(managers);
  });

  after(() => lab?.down());

  for (const client of dockerClients()) {
    describe(`by ${client.path}`, () => {
      for (const [position, writer] of managers.entries()) {
        const reader = managers[(position + 1) % managers.length] ?? "";

        it(`makes, shows, labels and removes secrets and configs through ${writer}`, async () => {
          lab.client = client;
          for (const kind of ["secret", "config"]) {
            const id = await lab.docker(
              writer,
              [kind, "create", "--label", "a=b", "one", "-"],
              "payload",
            );
            match(id, /^[0-9a-z]{25}$/);
            equal(await named(reader, kind), "one");
            const shown = await lab.docker(reader, [
              kind,
              "inspect",
              "one",
              "--format",
              "{{.ID}} {{.Spec.Labels.a}}",
            ]);
            equal(shown, `${id} b`);
            await lab.refused(reader, [kind, "create", "one", "-"], /AlreadyExists/, "other");
            equal(await lab.docker(reader, [kind, "rm", "one"]), "one");
            await lab.refused(writer, [kind, "inspect", "one"], /one/);
          }
        });

        it(`makes, shows and removes networks through ${writer}`, async () => {
          await lab.docker(writer, [
            "network",
            "create",
            "-d",
            "overlay",
            "--attachable",
            "--subnet",
            "10.9.0.0/24",
            "net",
          ]);
          const text = await lab.docker(reader, [
            "network",
            "inspect",
            "net",
            "--format",
            "{{.Driver}} {{.Scope}} {{.Attachable}} {{(index .IPAM.Config 0).Subnet}}",
          ]);
          equal(text, "overlay swarm true 10.9.0.0/24");
          await lab.refused(
            reader,
            ["network", "create", "-d", "overlay", "net"],
            /already exists|AlreadyExists/,
          );
          await lab.docker(reader, ["network", "rm", "net"]);
          await lab.refused(writer, ["network", "inspect", "net"], /net/);
        });

        it(`makes, updates and removes services through ${writer}`, async () => {
          const words = [
            "service",
            "create",
            "--detach",
            "--no-resolve-image",
            "--name",
            "web",
            "--replicas",
            "2",
            "example.com/web:1",
          ];
          match(await lab.docker(writer, words), /[0-9a-z]{25}/);
          equal(
            await lab.docker(reader, [
              "service",
              "ls",
              "--format",
              "{{.Name}} {{.Mode}} {{.Replicas}}",
            ]),
            "web replicated 0/2",
          );
          await lab.docker(reader, [
            "service",
            "update",
            "--detach",
            "--no-resolve-image",
            "--label-add",
            "x=y",
            "--replicas",
            "3",
            "web",
          ]);
          equal(
            await lab.docker(writer, [
              "service",
              "inspect",
              "web",
              "--format",
              "{{.Spec.Labels.x}} {{.Spec.Mode.Replicated.Replicas}} {{.PreviousSpec.Mode.Replicated.Replicas}}",
            ]),
            "y 3 2",
          );
          match(
            await lab.docker(reader, ["service", "inspect", "--pretty", "web"]),
            /Replicas:\s+3/,
          );
          await lab.docker(writer, ["service", "ps", "web"]);
          equal(await lab.docker(reader, ["service", "rm", "web"]), "web");
          equal(await lab.docker(writer, ["service", "ls", "--quiet"]), "");
        });
      }

      it("deploys a stack and removes it, and tells of both in docker events on every manager", async () => {
        const folder = lab.scratch();
        const file = join(folder, "compose.yml");
        writeFileSync(file, composeFile);
        writeFileSync(join(folder, "token"), "secret");
        writeFileSync(join(folder, "page"), "config");
        const streams = managers.map((name) => events(client, name));
        try {
          await lab.docker("m2", ["secret", "create", "marker", "-"], "x");
          for (const stream of streams) {
            await until(() => stream.text().includes("secret create"), {
              withinMs: 60_000,
              what: "events flow",
            });
          }
          await lab.docker("m2", ["stack", "deploy", "--resolve-image", "never", "-c", file, "st"]);
          match(await lab.docker("m1", ["stack", "ls"]), /st\s+1/);
          match(await lab.docker("m3", ["stack", "services", "st"]), /st_web\s+replicated\s+0\/2/);
          equal(await named("m1", "secret"), "marker st_token");
          await lab.refused(
            "m1",
            ["secret", "rm", "st_token"],
            /is in use by the following service/,
          );
          await lab.refused("m3", ["network", "rm", "st_front"], /in use by service/);
          await lab.docker("m3", ["stack", "rm", "st"]);
          await lab.docker("m3", ["secret", "rm", "marker"]);
          equal(await named("m1", "config"), "");
          for (const stream of streams) {
            for (const event of [
              "network create",
              "secret create",
              "config create",
              "service create",
              "service remove",
              "network remove",
            ]) {
              await until(() => stream.text().includes(event), {
                withinMs: 60_000,
                what: `the event ${event}`,
              });
            }
          }
        } finally {
          for (const stream of streams) stream.end();
        }
      });
    });
  }

  async function named(node: string, kind: string): Promise<string> {
    const text = await lab.docker(node, [kind, "ls", "--format", "{{.Name}}"]);
    return text.split("\n").sort().join(" ");
  }

  /** `docker events` of the swarm's scope, running until ended. */
  function events(client: DockerClient, node: string): { text(): string; end(): void } {
    const { socket } = lab.playground.node(node);
    const since = `${Math.floor(Date.now() / 1000) - 1}`;
    const child = spawn(client.path, ["events", "--filter", "scope=swarm", "--since", since], {
      env: { ...process.env, DOCKER_HOST: `unix://${socket}` },
      stdio: ["ignore", "pipe", "ignore"],
    });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    return { text: () => text, end: () => void child.kill() };
  }
});
