/** Tests of src/stack/load.ts, merge.ts, extends.ts, include.ts and project.ts: files → one project. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is read here
import { deepEqual, equal, match } from "node:assert/strict";
import { projectOf, projectOfText, refusalOf, type TestProject } from "../../../support/compose.ts";

/** Services as they come out, image `i` left away. */
function services(test: TestProject): Record<string, unknown> {
  const { services: found } = JSON.parse(JSON.stringify(projectOf(test).model)) as {
    services: Record<string, { image?: string }>;
  };
  return Object.fromEntries(
    Object.entries(found).map(([key, { image, ...rest }]) => [
      key,
      image === "i" ? { ...rest } : { image, ...rest },
    ]),
  );
}

/** Service `a` of two files, each of which says these lines of it. */
function merged(base: string, over: string): unknown {
  const file = (lines: string) =>
    `services:\n  a:\n    image: i\n${lines.replace(/^/gm, "    ")}\nvolumes: {v: , w: }\nsecrets: {s: {content: x}}\nnetworks: {n: , m: }\n`;
  return services({
    files: { "a.yaml": file(base), "b.yaml": file(over) },
    paths: ["a.yaml", "b.yaml"],
  })["a"];
}

describe("src/stack/merge", () => {
  for (const [name, base, over, expected] of [
    ["later values win", "user: x", "user: y", { user: "y" }],
    ["commands are replaced", "command: [a, b]", "command: [c]", { command: ["c"] }],
    [
      "lists append without doubles",
      "cap_add: [A, B]",
      "cap_add: [B, C]",
      { cap_add: ["A", "B", "C"] },
    ],
    [
      "variables as list and map",
      "environment: [A=1, B=2]",
      "environment: {B: 3, C: }",
      { environment: { A: "1", B: "3", C: null } },
    ],
    ["labels", "labels: {a: 1}", 'labels: ["a=2", "b"]', { labels: { a: "2", b: "" } }],
    [
      "ports by what they are",
      'ports: ["80:80", "90:90"]',
      'ports: ["80:80/tcp"]',
      {
        ports: [
          { target: 80, published: "80", protocol: "tcp", mode: "ingress" },
          { target: 90, published: "90", protocol: "tcp", mode: "ingress" },
        ],
      },
    ],
    [
      "mounts by target",
      "volumes: [v:/d, w:/e]",
      "volumes: [w:/d]",
      {
        volumes: [
          { type: "volume", source: "w", target: "/d" },
          { type: "volume", source: "w", target: "/e" },
        ],
      },
    ],
    [
      "secrets by target",
      "secrets: [s]",
      "secrets: [{source: s, target: t}, s]",
      { secrets: [{ source: "s" }, { source: "s", target: "t" }] },
    ],
    [
      "networks as list and map",
      "networks: [n]",
      "networks: {m: {aliases: [x]}}",
      { networks: { n: {}, m: { aliases: ["x"] } } },
    ],
    ["one text and a list", "dns: 1.1.1.1", "dns: [8.8.8.8]", { dns: ["1.1.1.1", "8.8.8.8"] }],
    [
      "deploy key by key",
      "deploy: {replicas: 2, labels: {a: b}}",
      "deploy: {replicas: 3}",
      { deploy: { replicas: 3, labels: { a: "b" } } },
    ],
    [
      "options of the same log driver",
      "logging: {driver: x, options: {a: 1}}",
      "logging: {options: {b: 2}}",
      { logging: { driver: "x", options: { a: "1", b: "2" } } },
    ],
    [
      "options of another log driver",
      "logging: {driver: x, options: {a: 1}}",
      "logging: {driver: y}",
      { logging: { driver: "y" } },
    ],
    [
      "!reset takes away",
      "command: [a]\nports: ['80:80']",
      "command: !reset null\nports: !reset []",
      {},
    ],
    [
      "!override replaces",
      "cap_add: [A]\nenvironment: {A: 1}",
      "cap_add: !override [B]\nenvironment: !override {B: 2}",
      { cap_add: ["B"], environment: { B: "2" } },
    ],
  ] as const)
    it(name, () => {
      deepEqual(merged(base, over), expected);
    });

  it("leaves a key of a file alone that takes it away itself", () => {
    deepEqual(services({ files: { "c.yaml": "services: {a: {image: i, command: !reset [x]}}" } }), {
      a: {},
    });
  });
});

describe("src/stack/extends", () => {
  it("starts from a service of the same file, through several", () => {
    const text =
      "services:\n  a: {image: i, user: x, environment: {A: 1}}\n  b: {extends: a, environment: {B: 2}}\n  c: {extends: {service: b}, user: z}";
    deepEqual(services({ files: { "c.yaml": text } })["c"], {
      user: "z",
      environment: { A: "1", B: "2" },
    });
  });

  it("starts from a service of another file, with the paths of that file", () => {
    const files = {
      "c.yaml": "services: {a: {extends: {file: sub/base.yaml, service: b}, init: true}}",
      "sub/base.yaml": "services: {b: {image: i, volumes: [./d:/d]}}",
    };
    deepEqual(services({ files })["a"], {
      init: true,
      volumes: [{ type: "bind", source: "/p/sub/d", target: "/d" }],
    });
  });

  for (const [name, files, message] of [
    [
      "a circle",
      { "c.yaml": "services:\n  a: {image: i, extends: b}\n  b: {image: i, extends: a}" },
      /^c\.yaml:3:26: circular reference with extends: c\.yaml#a -> c\.yaml#b -> c\.yaml#a$/,
    ],
    [
      "a circle through files",
      {
        "c.yaml": "services: {a: {extends: {file: d.yaml, service: a}}}",
        "d.yaml": "services: {a: {extends: {file: c.yaml, service: a}}}",
      },
      /circular reference with extends/,
    ],
    [
      "a service that is not there",
      { "c.yaml": "services:\n  a: {image: i, extends: gone}" },
      /^c\.yaml:2:26: cannot extend service "gone": service not found in c\.yaml$/,
    ],
    [
      "a file that is not there",
      { "c.yaml": "services: {a: {extends: {file: gone.yaml, service: a}}}" },
      /^c\.yaml:1:25: open \/p\/gone\.yaml: no such file or directory$/,
    ],
    [
      "unknown keys",
      { "c.yaml": "services: {a: {extends: {services: a}}}" },
      /^c\.yaml:1:26: extends: Additional property services is not allowed$/,
    ],
  ] as const)
    it(`refuses ${name}`, () =>
      match(
        refusalOf(() => projectOf({ files })),
        message,
      ));
});

describe("src/stack/include", () => {
  it("takes what another file has, with its own folder and variables", () => {
    const files = {
      "c.yaml": "include: [sub/d.yaml]\nservices: {a: {image: i, networks: [n]}}",
      "sub/d.yaml": "services: {b: {image: '$IMG', volumes: [./x:/x]}}\nnetworks: {n: {}}",
      "sub/.env": "IMG=from-sub",
      ".env": "OTHER=1",
    };
    deepEqual(services({ files }), {
      a: { networks: { n: {} } },
      b: { image: "from-sub", volumes: [{ type: "bind", source: "/p/sub/x", target: "/x" }] },
    });
  });

  it("puts the files of one entry over each other, from the folder it names", () => {
    const files = {
      "c.yaml":
        "include:\n  - {path: [d.yaml, e.yaml], project_directory: other, env_file: my.env}",
      "d.yaml": "services: {b: {image: i, user: $U, volumes: [./x:/x]}}",
      "e.yaml": "services: {b: {init: true}}",
      "my.env": "U=me",
    };
    deepEqual(services({ files })["b"], {
      user: "me",
      init: true,
      volumes: [{ type: "bind", source: "/p/other/x", target: "/x" }],
    });
  });

  for (const [name, files, message] of [
    [
      "a circle",
      { "c.yaml": "include: [d.yaml]", "d.yaml": "include: [c.yaml]" },
      /^d\.yaml:1:11: include cycle detected: \/p\/c\.yaml includes \/p\/d\.yaml includes \/p\/c\.yaml$/,
    ],
    [
      "a file that is not there",
      { "c.yaml": "include:\n  - gone.yaml" },
      /^c\.yaml:2:5: open \/p\/gone\.yaml: no such file or directory$/,
    ],
    [
      "a name that both have",
      {
        "c.yaml": "include: [d.yaml]\nservices:\n  a: {image: i}",
        "d.yaml": "services: {a: {image: j}}",
      },
      /^c\.yaml:3:3: services\.a conflicts with the one included from d\.yaml:1:12/,
    ],
    ["no list", { "c.yaml": "include: d.yaml" }, /^c\.yaml:1:10: include must be a list$/],
  ] as const)
    it(`refuses ${name}`, () =>
      match(
        refusalOf(() => projectOf({ files })),
        message,
      ));
});

describe("src/stack/project", () => {
  it("takes variables from the environment before .env, and from files named in its place", () => {
    const text = "services: {a: {image: '${A}-${B:-none}'}}";
    const image = (rest: Partial<TestProject>) =>
      projectOf({ files: { "c.yaml": text, ".env": "A=env\nB=file", "o.env": "A=other" }, ...rest })
        .model.services["a"]?.image;
    equal(image({}), "env-file");
    equal(image({ environment: { A: "mine" } }), "mine-file");
    equal(image({ envFiles: ["/p/o.env"] }), "other-none");
  });

  it("warns once of a variable that is not set", () => {
    const { warnings } = projectOfText("services: {a: {image: i, user: $U, hostname: $U}}");
    deepEqual(warnings, [
      {
        place: "compose.yaml:1:32",
        text: 'the "U" variable is not set; it stands for a blank string',
      },
    ]);
  });

  it("takes numbers and truths out of variables", () => {
    const { model } = projectOfText(
      "services: {a: {image: i, init: $T, deploy: {replicas: '$N'}, user: $N}}",
      { environment: { T: "true", N: "3" } },
    );
    deepEqual(model.services["a"], { image: "i", init: true, deploy: { replicas: 3 }, user: "3" });
  });

  it("leaves out services of profiles that are not chosen", () => {
    const text =
      "services: {a: {image: i}, b: {image: i, profiles: [x]}, c: {image: i, profiles: [y]}}";
    const names = (profiles: string[]) =>
      Object.keys(projectOfText(text, { profiles }).model.services);
    deepEqual(names([]), ["a"]);
    deepEqual(names(["x"]), ["a", "b"]);
    deepEqual(names(["*"]), ["a", "b", "c"]);
  });

  it("puts env_file under environment, and takes names without value from the caller", () => {
    const files = {
      "c.yaml":
        "services: {a: {image: i, environment: {A: own, H: , G: }, env_file: [e.env, {path: gone.env, required: false}, {path: r.env, format: raw}]}}",
      "e.env": "A=file\nB=$H",
      "r.env": "C='$x'",
    };
    deepEqual(projectOf({ files, environment: { H: "here" } }).model.services["a"]?.environment, {
      A: "own",
      B: "here",
      C: "'$x'",
      H: "here",
      G: null,
    });
  });

  for (const [text, message] of [
    [
      "services: {a: {image: i, networks: [n]}}",
      /^compose\.yaml:1:\d+: undefined network "n": services\.a refers to it; declare it under networks$/,
    ],
    ["services: {a: {image: i, volumes: ['v:/d']}}", /undefined volume "v"/],
    ["services: {a: {image: i, secrets: [s]}}", /undefined secret "s"/],
    ["services: {a: {image: i, configs: [s]}}", /undefined config "s"/],
    ["services: {a: {build: .}}", /no image specified/],
    [
      "services: {a: {image: 'BUSY box'}}",
      /^\S+:1:16: services\.a\.image: invalid reference format: "BUSY box" is no image name$/,
    ],
    ["services: {a: {image: i, depends_on: [b]}}", /service "a" depends on undefined service "b"/],
    [
      "services: {a: {image: i, depends_on: [b]}, b: {image: i, profiles: [x]}}",
      /depends on a service of a profile that is not chosen: "b"/,
    ],
    [
      "services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [a]}}",
      /dependency cycle detected: a -> b -> a/,
    ],
    [
      "services: {a: {image: i, network_mode: host, networks: [n]}}\nnetworks: {n: }",
      /mutually exclusive network_mode and networks/,
    ],
    ["services: {'a b': {image: i}}", /a name has letters, digits/],
    [
      "services: {a: {image: i}}\nsecrets: {s: {}}",
      /secrets\.s: one of file, environment, content or external has to be given, not none/,
    ],
    [
      "services: {a: {image: i}}\nsecrets: {s: {external: true, file: x}}",
      /conflicting parameters "external" and "file" specified/,
    ],
    [
      "services: {a: {image: i, env_file: gone}}",
      /services\.a\.env_file: open \/p\/gone: no such file/,
    ],
  ] as const)
    it(`refuses ${JSON.stringify(text)}`, () =>
      match(
        refusalOf(() => projectOfText(text)),
        message,
      ));

  it("wants a name that can be one", () => {
    match(
      refusalOf(() => projectOfText("services: {}", { name: "" })),
      /^the stack has no name/,
    );
    match(
      refusalOf(() => projectOfText("services: {}", { name: "a b" })),
      /^invalid stack name "a b"/,
    );
    equal(projectOf({ files: { "c.yaml": "name: own\nservices: {}" }, name: "mine" }).name, "mine");
  });
});
