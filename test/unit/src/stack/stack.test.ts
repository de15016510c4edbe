/** Tests of src/stack/translate/stack.ts: what a whole file becomes, and that it is printed as it was read. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is read here
import { deepEqual, equal, match } from "node:assert/strict";
import { projectText } from "../../../../src/stack/print.ts";
import { stackSpecs as specsOf } from "../../../../src/stack/translate/stack.ts";
import { projectOf, projectOfText, refusalOf, specsOfText } from "../../../support/compose.ts";

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? null));

describe("src/stack/translate/stack", () => {
  it("makes the networks that services are in", () => {
    const { networks, externalNetworks } = specsOfText(
      "services: {a: {image: i, networks: [n, e]}}\nnetworks: {n: {internal: true, attachable: true, enable_ipv6: true, driver_opts: {o: 1}, labels: {l: x}, ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1, ip_range: 10.1.0.0/25, aux_addresses: {h: 10.1.0.9}}]}}, e: {external: true}, unused: {}}",
    );
    deepEqual(externalNetworks, ["e"]);
    deepEqual(plain(networks.map(({ body }) => body)), [
      {
        Name: "shop_n",
        Driver: "overlay",
        Options: { o: "1" },
        Internal: true,
        Attachable: true,
        EnableIPv6: true,
        Labels: { l: "x", "com.docker.stack.namespace": "shop" },
        IPAM: {
          Config: [
            {
              Subnet: "10.1.0.0/24",
              Gateway: "10.1.0.1",
              IPRange: "10.1.0.0/25",
              AuxiliaryAddresses: { h: "10.1.0.9" },
            },
          ],
        },
      },
    ]);
  });

  it("reads payloads from files, the file itself, and variables", () => {
    const files = {
      "c.yaml":
        "services: {}\nsecrets: {a: {file: ./f}, b: {environment: V}, e: {external: true}}\nconfigs: {c: {content: 'x ${V}', labels: {l: 1}, template_driver: golang}}",
      f: "data",
    };
    const project = projectOf({ files, environment: { V: "value" } });
    const text = (data: unknown) => Buffer.from(String(data), "base64").toString();
    const { secrets, configs } = specsOf(project);
    deepEqual(
      secrets.map(({ name, body }) => [name, text(body["Data"])]),
      [
        ["shop_a", "data"],
        ["shop_b", "value"],
      ],
    );
    deepEqual(plain(configs[0]?.body), {
      Name: "shop_c",
      Labels: { l: "1", "com.docker.stack.namespace": "shop" },
      Data: Buffer.from("x value").toString("base64"),
      Templating: { Name: "golang" },
    });
  });

  for (const [text, message] of [
    [
      "services: {}\nsecrets: {s: {environment: GONE}}",
      /^compose\.yaml:2:11: secrets\.s: environment variable "GONE" required is not set$/,
    ],
    [
      "services: {}\nconfigs: {s: {file: gone}}",
      /^compose\.yaml:2:11: configs\.s: open \/p\/gone: no such file/,
    ],
  ] as const)
    it(`refuses ${JSON.stringify(text)}`, () =>
      match(
        refusalOf(() => specsOfText(text)),
        message,
      ));

  it("takes over the volumes and folders of other services, its own first", () => {
    const { services } = specsOfText(
      "services:\n  a: {image: i, volumes: ['own:/own'], volumes_from: ['b:ro']}\n  b: {image: i, volumes: ['v:/v', '/h:/h', 'v:/own'], tmpfs: /t, volumes_from: [c]}\n  c: {image: i, volumes: ['w:/w']}\nvolumes: {own: , v: , w: }",
    );
    deepEqual(
      services.map(({ key }) => key),
      ["c", "b", "a"],
    );
    const mounts = plain(services[2]?.body) as {
      TaskTemplate: { ContainerSpec: { Mounts: Record<string, unknown>[] } };
    };
    deepEqual(
      mounts.TaskTemplate.ContainerSpec.Mounts.map(
        ({ Source, Target, ReadOnly }) => `${Source} ${Target} ${ReadOnly ?? false}`,
      ),
      ["shop_own /own false", "shop_v /v true", "/h /h true", "shop_w /w true"],
    );
  });

  it("puts services after those they depend on", () => {
    const { services } = specsOfText(
      "services:\n  a: {image: i, depends_on: {c: {condition: service_healthy}}}\n  b: {image: i}\n  c: {image: i, depends_on: [b]}",
    );
    deepEqual(
      services.map(({ key }) => key),
      ["b", "c", "a"],
    );
    equal(services[2]?.dependsOn["c"]?.condition, "service_healthy");
  });

  it("prints a project that reads as the same project", () => {
    const text =
      "name: shop\nservices:\n  a:\n    image: i\n    command: [echo, $$HOME, 'no', '012', '1e3', '~']\n    entrypoint: null\n    environment: {A: 'x: y', B: , C: \"1\\n2\"}\n    init: false\n    ports: ['80:80', '9:9/udp']\n    volumes: [v:/v, ./b:/b]\n    deploy: {resources: {limits: {memory: 1g}}, update_config: {delay: 90s}}\n    depends_on: [b]\n    ulimits: {nofile: 5}\n    secrets: [{source: s, mode: 0440}]\n  b: {image: i, profiles: [x]}\nvolumes: {v: {}}\nsecrets: {s: {file: ./s}}";
    const first = projectText(projectOfText(text, { profiles: ["x"] }).model);
    const second = projectText(projectOfText(first, { profiles: ["x"] }).model);
    equal(second, first);
    match(first, /\$\$HOME/);
  });
});
