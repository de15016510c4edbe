/** Stacks by the stock client: what it says while it deploys, lists and removes them. */
import type { Step } from "./lane.ts";
import { image, type Scenario } from "./scenarios.ts";

const step = (text: string, more: Omit<Step, "words"> = {}): Step => ({
  words: text.split(" "),
  ...more,
});
const deploy = (name: string, file: string): Step =>
  step(`stack deploy --detach=true --resolve-image never -c - ${name}`, {
    input: file,
    sorted: true,
  });

const shop = `version: "3.8"
services:
  web:
    image: ${image}
    ports: ["8080:80"]
    environment: {A: b}
    configs: [{source: page, target: /etc/page}]
    deploy: {replicas: 0, labels: {x: y}}
  db:
    image: ${image}
    networks: [back]
    volumes: ["data:/data"]
    devices: ["/dev/null:/dev/null"]
    restart: "no"
    deploy: {replicas: 0}
networks: {back: {}}
configs: {page: {file: /etc/hostname}}
volumes: {data: {}}
`;
const running = `version: "3.8"
services:
  web:
    image: ${image}
    command: ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]
    deploy: {replicas: 2}
`;
const one = (lines: string) =>
  `version: "3.8"\nservices:\n  web:\n    image: ${image}\n    deploy: {replicas: 0}\n${lines}\n`;

/** A stack through its life. */
export const stacks: readonly Scenario[] = [
  {
    name: "stacks",
    steps: [
      deploy("shop", shop),
      deploy("shop", shop),
      step("stack ls"),
      step("stack services shop", { sorted: true }),
      step("stack services --filter name=shop_web shop"),
      step("stack ps shop"),
      step("stack ps absent"),
      step("stack services absent"),
      step("service inspect shop_web"),
      step("service inspect shop_db"),
      step("config ls --format {{.Name}}"),
      step("network rm shop_back", { quiet: true }),
      deploy("shop", one("    ports: [8080:81]")),
      step("stack services shop", { sorted: true }),
      deploy("other", one("    ports: [8080:81]")),
      deploy("other", one("    networks: [absent]")),
      deploy("other", one("    odd: 1")),
      deploy("other", one("    secrets: [absent]")),
      deploy("other", one("    mem_limit: 1m")),
      deploy("other", `${one("")}networks: {out: {external: true, name: absent}}`),
      deploy(
        "other",
        `${one("    networks: [out]")}networks: {out: {external: true, name: absent}}`,
      ),
      deploy("other", `${one("    secrets: [out]")}secrets: {out: {external: true, name: absent}}`),
      deploy("runs", running),
      step("stack ps --no-trunc runs", { until: /(Running AGO[\s\S]*){2}/, places: true }),
      step("stack ps --filter desired-state=shutdown runs"),
      step("stack services runs", { until: /2\/2/ }),
      step("stack services --format {{.Name}}|{{.Mode}}|{{.Replicas}} runs"),
      step("stack ls"),
      step("stack rm runs"),
      step("stack rm absent"),
      step("stack rm shop other", { sorted: true }),
      step("stack ls"),
      step("service ls"),
    ],
  },
];
