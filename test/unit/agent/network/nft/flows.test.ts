/**
 * Which flows of the kernel's answers are deleted, on answers as the kernel makes them.
 */
import { strict as assert } from "node:assert";
import { messagesIn } from "../../../../../agent/network/netlink/message.ts";
import { deletionsIn, flowAddresses, listFlows } from "../../../../../agent/network/nft/flows.ts";

const backend = "10.0.1.12";

describe("agent/network/nft/flows.ts", () => {
  it("asks for all flows of all families", () => {
    assert.equal(
      listFlows().toString("hex"),
      "14000000010101030000000000000000".concat("00000000"),
    );
  });

  it("names a UDP flow whose answers come from the address by its first direction and id", () => {
    const flow = [tuple(1, "0a000102", 17), tuple(2, "0a00010c", 17), attribute(12, "00000007")];
    const flows = messagesIn(message(0x100, flow));
    assert.deepEqual(deletionsIn(flows, flowAddresses([backend])), [
      message(0x102, [flow[0], flow[2]], { flags: 5, family: 2 }),
    ]);
  });

  it("leaves flows to others, and those over TCP", () => {
    const answer = Buffer.concat([
      message(0x100, [tuple(1, "0a00010c", 17), tuple(2, "0a00010d", 17)]),
      message(0x100, [tuple(1, "0a000102", 6), tuple(2, "0a00010c", 6)]),
    ]);
    assert.deepEqual(deletionsIn(messagesIn(answer), flowAddresses([backend])), []);
  });

  it("finds flows over IPv6", () => {
    const address = "fd550000000000000000000000000003";
    const flow = [tuple(1, address, 17), tuple(2, address, 17)];
    const flows = messagesIn(message(0x100, flow));
    assert.deepEqual(deletionsIn(flows, flowAddresses(["fd55::3"])), [
      message(0x102, [flow[0]], { flags: 5, family: 10 }),
    ]);
  });
});

/** CTA_TUPLE_…: source and destination, and the protocol. */
function tuple(type: number, address: string, protocol: number): Buffer {
  const [from, to] = address.length === 8 ? [1, 2] : [3, 4];
  const ip = Buffer.concat([attribute(from, address), attribute(to, address)]);
  const number = attribute(1, protocol.toString(16).padStart(2, "0"));
  const parts = [nested(1, ip), nested(2, number)];
  return nested(type, Buffer.concat(parts));
}

function nested(type: number, value: Buffer): Buffer {
  return attribute(type | 0x8000, value.toString("hex"));
}

function attribute(type: number, hex: string): Buffer {
  const value = Buffer.from(hex, "hex");
  const whole = Buffer.alloc((4 + value.length + 3) & ~3);
  whole.writeUInt16LE(4 + value.length, 0);
  whole.writeUInt16LE(type, 2);
  value.copy(whole, 4);
  return whole;
}

function message(
  type: number,
  attributes: readonly (Buffer | undefined)[],
  o: { flags: number; family: number } = { flags: 2, family: 2 },
): Buffer {
  const body = Buffer.concat(attributes.filter((one) => one !== undefined));
  const header = Buffer.alloc(20);
  header.writeUInt32LE(20 + body.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(o.flags, 6);
  header.writeUInt8(o.family, 16);
  return Buffer.concat([header, body]);
}
