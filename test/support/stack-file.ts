/**
 * Compose files for tests that deploy them.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Services that wait for each other, with what only files of the current specification say. */
export const stackFile = `x-sleeper: &sleeper
  image: \${IMAGE:?which}
  command: ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]
  stop_grace_period: 1s
services:
  web:
    <<: *sleeper
    depends_on: {db: {condition: service_healthy}}
    shm_size: 96m
    tmpfs: "/scratch:size=1m"
    ulimits: {nofile: 512}
    sysctls: {net.core.somaxconn: 77}
    domainname: skep.test
    cpu_shares: 512
    pull_policy: missing
    configs: [{source: page, target: /etc/page}]
    networks: {back: {ipv4_address: 10.98.7.77}}
    deploy: {placement: {constraints: [node.hostname==w1]}}
  db:
    <<: *sleeper
    depends_on: {prepare: {condition: service_completed_successfully}}
    networks: [back]
    healthcheck: {test: ["CMD", "true"], interval: 200ms}
    deploy: {placement: {constraints: [node.hostname==w1]}}
  prepare:
    image: $IMAGE
    command: "true"
    networks: [back]
    deploy: {mode: replicated-job}
configs: {page: {content: "image $IMAGE"}}
networks: {back: {ipam: {config: [{subnet: 10.98.7.0/24}]}}}
`;

/**
 * Writes a Compose file with everything a stack can have that has to go before it may come again: names, ports, networks,
 * a volume, a config and a secret. Returns its path.
 */
export function writeBusyStack(folder: string, image: string): string {
  const file = join(folder, "compose.yml");
  writeFileSync(join(folder, "page"), "page");
  writeFileSync(join(folder, "key"), "key");
  writeFileSync(file, busyStack(image));
  return file;
}

function busyStack(image: string): string {
  return `version: "3.8"
x-sleeper: &sleeper
  image: ${image}
  command: ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]
  stop_grace_period: 1s
services:
  web:
    <<: *sleeper
    ports: ["8080:80"]
    networks: [front, back]
    configs: [{source: page, target: /etc/page}]
    deploy: {replicas: 3}
  db:
    <<: *sleeper
    networks: [back]
    secrets: [key]
    volumes: ["data:/data"]
networks: {front: {}, back: {ipam: {config: [{subnet: 10.98.9.0/24}]}}}
configs: {page: {file: ./page}}
secrets: {key: {file: ./key}}
volumes: {data: {}}
`;
}
