/**
 * Open connections of a container as a drain counts them: from the kernel's own tables, in a namespace of the test's.
 */
import { equal } from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const counting = new URL("../../../../agent/network/drain/connections.js", import.meta.url).href;

/** Calls a server of its own at each address, and says how many connections are counted then. */
const script = `
import { once } from "node:events";
import { connect, createServer } from "node:net";
const { openConnections } = await import(${JSON.stringify(counting)});
const server = createServer(() => {}).listen(0);
await once(server, "listening");
const counts = [];
for (const host of ["10.9.9.1", "10.9.9.1", "fd09::1", "127.0.0.1", "::1"]) {
  await once(connect(server.address().port, host), "connect");
  counts.push(await openConnections(process.pid));
}
console.log(counts.join(" "));
process.exit();
`;

const devices = [
  "ip link set lo up",
  "ip link add d0 type veth peer name d1",
  "ip address add 10.9.9.1/24 dev d0",
  "ip address add fd09::1/64 dev d0 nodad",
  "ip link set d0 up",
  "ip link set d1 up",
];

describe("agent/network/drain (connections)", () => {
  it("counts those of others over IPv4 and IPv6, and not those of the container to itself", async () => {
    const { stdout } = await promisify(execFile)("unshare", [
      "--net",
      "sh",
      "-ec",
      `${devices.join("\n")}\nexec "$0" --input-type=module -e "$1"`,
      process.execPath,
      script,
    ]);
    equal(stdout.trim(), "1 2 3 3 3");
  });
});
