/**
 * The daemon's flags: every form of dockerd's, the configuration file, and what is refused.
 */
import assert from "node:assert/strict";
import {
  flagsHelp,
  type ParsedFlags,
  parseFlags,
  withConfigFile,
} from "../../../../src/node/flags.ts";

function plain({ values, ignored }: ParsedFlags): Record<string, unknown> {
  return { ...Object.fromEntries(values), ...(ignored.length > 0 ? { ignored } : {}) };
}

function refuses(run: () => unknown, message: string | RegExp): void {
  assert.throws(run, { name: "ClusterError", code: "invalid-argument", message });
}

describe("src/node/flags", () => {
  const accepted: readonly (readonly [string, readonly string[], Record<string, unknown>])[] = [
    ["nothing", [], {}],
    ["a value in the next word", ["--data-root", "/d"], { "data-root": ["/d"] }],
    ["a value behind an equals sign", ["--data-root=/d"], { "data-root": ["/d"] }],
    ["an equals sign within the value", ["--label=a=b=c"], { label: ["a=b=c"] }],
    ["a value over several lines", ["--label=a=1\n2"], { label: ["a=1\n2"] }],
    ["a value that looks like a flag", ["--group", "--debug"], { group: ["--debug"] }],
    ["an empty value", ["--group="], { group: [""] }],
    ["one dash", ["-data-root", "/d"], { "data-root": ["/d"] }],
    ["a boolean without a value", ["--debug"], { debug: ["true"] }],
    ["a boolean that is switched off", ["--debug=false"], { debug: ["false"] }],
    [
      "short forms",
      ["-D", "-H", "unix:///a", "-l", "warn", "-G=g", "-p", "/p"],
      {
        debug: ["true"],
        host: ["unix:///a"],
        "log-level": ["warn"],
        group: ["g"],
        pidfile: ["/p"],
      },
    ],
    ["every value of a list, in order", ["-H", "a", "--host=b"], { host: ["a", "b"] }],
    ["the last of a text that is given twice", ["--group=a", "--group=b"], { group: ["b"] }],
    [
      "flags without a meaning here, with a note",
      ["--iptables=false", "--bip", "10.0.0.1/24", "--iptables"],
      { iptables: ["true"], bip: ["10.0.0.1/24"], ignored: ["iptables", "bip"] },
    ],
  ];
  for (const [fact, argv, expected] of accepted) {
    it(`takes ${fact}`, () => assert.deepEqual(plain(parseFlags(argv)), expected));
  }

  const refused: readonly (readonly [string, readonly string[], string])[] = [
    ["an unknown flag", ["--swarm"], "unknown flag: --swarm"],
    ["a key that only the file knows", ["--hosts=a"], "unknown flag: --hosts"],
    ["a name every object has", ["--constructor"], "unknown flag: --constructor"],
    ["a word that is no flag", ["debug"], 'unexpected argument "debug"'],
    ["a value behind a boolean", ["--debug", "false"], 'unexpected argument "false"'],
    ["an empty word", [""], 'unexpected argument ""'],
    ["dashes alone", ["--"], "unknown flag: ---"],
    ["a flag that misses its value", ["--group"], "flag --group needs a value"],
    ["another word for a boolean", ["--debug=yes"], 'flag --debug takes true or false, not "yes"'],
  ];
  for (const [fact, argv, message] of refused) {
    it(`refuses ${fact}`, () => refuses(() => parseFlags(argv), message));
  }

  it("explains every flag that has an effect, and no other", () => {
    const lines = flagsHelp().split("\n");
    assert.ok(lines.some((line) => /^ {2}--data-root +folder of all persistent state$/.test(line)));
    assert.ok(!lines.some((line) => line.includes("--iptables")));
  });

  const fromFile: readonly (readonly [string, string, Record<string, unknown>])[] = [
    ["an empty object", "{}", {}],
    ["plural keys", '{"hosts":["a","b"],"labels":["k=v"]}', { host: ["a", "b"], label: ["k=v"] }],
    ["a boolean", '{"debug":true}', { debug: ["true"] }],
    ["a number as text", '{"mtu":1400}', { mtu: ["1400"], ignored: ["mtu"] }],
    ["one item without its list", '{"label":"k=v"}', { label: ["k=v"] }],
    [
      "objects in a list",
      '{"default-address-pools":[{"base":"10.0.0.0/8","size":24}]}',
      { "default-address-pool": ["base=10.0.0.0/8,size=24"] },
    ],
  ];
  for (const [fact, json, expected] of fromFile) {
    it(`takes ${fact} from the file`, () => {
      assert.deepEqual(plain(withConfigFile(parseFlags([]), JSON.parse(json))), expected);
    });
  }

  const refusedOfFile: readonly (readonly [string, string, string])[] = [
    ["an array", "[]", "the configuration file must hold one JSON object"],
    ["null", "null", "the configuration file must hold one JSON object"],
    ["an unknown key", '{"swarm":1}', "unknown flag: --swarm"],
    ["a short form", '{"D":true}', "unknown flag: --D"],
    ["a key every object has", '{"__proto__":1}', "unknown flag: --__proto__"],
    ["null for a text", '{"group":null}', "the configuration file: group takes a text, not null"],
    [
      "a list for a text",
      '{"group":["a"]}',
      'the configuration file: group takes a text, not ["a"]',
    ],
    [
      "a text for a boolean",
      '{"debug":"true"}',
      'the configuration file: debug takes true or false, not "true"',
    ],
    [
      "an object of objects in a list",
      '{"labels":[{"a":{}}]}',
      'the configuration file: labels takes a list, not {"a":{}}',
    ],
  ];
  for (const [fact, json, message] of refusedOfFile) {
    it(`refuses ${fact} of the file`, () => {
      refuses(() => withConfigFile(parseFlags([]), JSON.parse(json)), message);
    });
  }

  it("refuses what stands in both places, as Docker does", () => {
    refuses(
      () => withConfigFile(parseFlags(["-H", "a"]), { hosts: ["b"] }),
      /^the following directives are specified both as a flag and in the configuration file: host$/,
    );
  });

  it("leaves the flags of the command line as they were", () => {
    const flags = parseFlags(["--label=a=1"]);
    withConfigFile(flags, { debug: true });
    assert.deepEqual(plain(flags), { label: ["a=1"] });
  });
});
