/**
 * What `skep explain` prints, and how it ends.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { runExplain } from "../../../../src/cli/explain.ts";
import { type Explanation, explanationText } from "../../../../src/cli/explain-text.ts";

const explanation: Explanation = {
  Verdict: "service web: 1 fault: node w2 does not answer",
  Faults: 1,
  Findings: [{ Severity: "fault", What: "node w2 does not answer", Remedy: "switch it on" }],
  Service: { Name: "web", Mode: "replicated", EndpointMode: "vip", Wanted: 2, Ready: 1 },
  Networks: [
    {
      Name: "back",
      Encrypted: true,
      VirtualIPs: ["10.0.1.2"],
      Names: [
        { Name: "web", Addresses: ["10.0.1.2"] },
        { Name: "tasks.web", Addresses: ["10.0.1.3"] },
      ],
    },
  ],
  Ports: [
    { Protocol: "tcp", PublishedPort: 8080, TargetPort: 80, PublishMode: "ingress", BoundTo: "" },
  ],
  Tasks: [
    {
      ID: "t1",
      Name: "web.1",
      Node: "w1",
      State: "running",
      Ready: true,
      Message: "started",
      Err: "",
      Addresses: [{ Network: "back", Address: "10.0.1.3" }],
      MeshAddresses: ["10.255.0.3"],
    },
    {
      ID: "t2",
      Name: "web.2",
      Node: "",
      State: "pending",
      Ready: false,
      Message: "pending task scheduling",
      Err: "no suitable node",
      Addresses: [],
      MeshAddresses: [],
    },
  ],
  Nodes: [
    {
      Name: "w1",
      Address: "10.77.0.14",
      State: "ready",
      Entry: true,
      Answered: true,
      Err: "",
      Compared: 120,
      Differences: [],
      Listens: ["8080/tcp"],
      LeadsTo: [{ Where: "mesh", What: "8080/tcp", Addresses: ["10.255.0.3"] }],
      Probes: [
        { Outcome: "open", Lost: false },
        { Outcome: "silent", Lost: true },
      ],
    },
    {
      Name: "w2",
      Address: "10.77.0.15",
      State: "ready",
      Entry: true,
      Answered: false,
      Err: "it has no session with any manager",
      Compared: 0,
      Differences: [],
      Listens: [],
      LeadsTo: [],
      Probes: [],
    },
  ],
  NodesLeftOut: 3,
};

async function run(...words: string[]) {
  let [out, failure] = ["", ""];
  const code = await runExplain(words, {
    environment: { DOCKER_HOST: "unix:///nowhere/docker.sock" },
    out: (text) => {
      out += text;
    },
    fail: (text) => {
      failure += text;
    },
  });
  return { code, out, failure };
}

describe("src/cli/explain", () => {
  it("prints the verdict first, then faults with what helps, the way, tasks and nodes", () => {
    deepEqual(explanationText(explanation).split("\n"), [
      "service web: 1 fault: node w2 does not answer",
      "",
      "1. FAULT: node w2 does not answer",
      "   what helps: switch it on",
      "",
      "The way:",
      "  service web (replicated): 1 of 2 tasks ready",
      "  network back (encrypted): web -> 10.0.1.2 -> 10.0.1.3 (web.1)",
      "  network back (encrypted): tasks.web -> 10.0.1.3",
      "  port 8080/tcp: every address of w1 -> 10.255.0.3:80 (web.1)",
      "",
      "Tasks:",
      "  web.1  w1       running  ready",
      "  web.2  no node  pending  not ready: no suitable node",
      "",
      "Nodes:",
      "  w1  10.77.0.14  kernel as planned (120 compared)  1 OF 2 PROBES LOST",
      "      mesh: 8080/tcp -> 10.255.0.3",
      "  w2  10.77.0.15  NOT ANSWERING: it has no session with any manager",
      "  and 3 more, which were not asked",
      "",
    ]);
  });

  it("says what it takes", async () => {
    for (const words of [[], ["service"], ["node", "w1"], ["service", "a", "b"]]) {
      const { code, out, failure } = await run(...words);
      deepEqual([code, out], [2, ""]);
      match(failure, /^Usage: skep explain \[flags\] service NAME/);
    }
    const { code, out } = await run("--help");
    equal(code, 0);
    match(out, /Exit code: 0 no fault was found/);
  });

  it("says where nobody answers, and refuses hosts and flags it does not know", async () => {
    const nobody = await run("service", "web");
    equal(nobody.code, 2);
    match(nobody.failure, /cannot reach the daemon at unix:\/\/\/nowhere\/docker\.sock \(.*ENOENT/);
    match(
      (await run("-H", "ssh://a", "service", "web")).failure,
      /invalid host ssh:\/\/a: it must/,
    );
    match((await run("--jsn", "service", "web")).failure, /^skep explain: Unknown option '--jsn'/);
  });
});
