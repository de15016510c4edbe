/** Records of the log: laid out by hand, read by the generated code. */
import assert from "node:assert/strict";
import type { Entry } from "../../../../manager/raft/core/types.ts";
import {
  chainStart,
  decodeLogRecord,
  encodeLogRecord,
} from "../../../../manager/raft/log-record.ts";
import { Scratch } from "../../../../manager/raft/scratch.ts";
import { RaftLogBody, RaftLogRecord } from "../../../../src/common/api/generated/api.ts";
import { systemRandom } from "../../../../src/common/random/random.ts";
import { newSealer } from "../../../../src/common/seal/sealer.ts";
import { testKeys } from "../../../support/raft-members.ts";

const sealer = newSealer({ keys: testKeys, label: "raft log", random: systemRandom });
const context = { clusterId: "c1", chain: chainStart, sealer };
const entry = (index: number, bytes: number, type: Entry["type"] = "normal"): Entry => ({
  index,
  term: index < 9 ? 2 : 3,
  type,
  data: Buffer.alloc(bytes, index),
});
const entries = [
  entry(7, 0),
  entry(8, 5, "conf-change"),
  entry(9, 127),
  entry(10, 128),
  entry(11, 70_000, "conf-change"),
];

describe("manager/raft/log-record", () => {
  it("is the message of the schema, with all entries in the body", () => {
    const { value } = encodeLogRecord(entries, context);
    const record = RaftLogRecord.decode(value);
    assert.deepEqual(Buffer.from(value), Buffer.from(RaftLogRecord.encode(record)));
    const plain = sealer.open(record.body, record.header);
    const body = { data: entries.map(({ data }) => data), confChanges: [1, 4] };
    assert.deepEqual(Buffer.from(plain), Buffer.from(RaftLogBody.encode(body)));
  });

  it("is read back as it was written, whatever was written since", () => {
    const { value, chain } = encodeLogRecord(entries, context);
    encodeLogRecord([entry(12, 90_000)], { ...context, chain });
    const read = decodeLogRecord(value, { ...context, firstIndex: 7 });
    assert.deepEqual(read.chain, chain);
    const flat = (list: readonly Entry[]) =>
      list.map(({ data, ...rest }) => ({ ...rest, data: Buffer.from(data) }));
    assert.deepEqual(flat(read.entries), flat(entries));
  });
});

describe("manager/raft/scratch", () => {
  it("gives the same memory again, and memory of its own beyond the limit", () => {
    const scratch = new Scratch(100);
    const first = scratch.take(60);
    assert.equal(first.length, 60);
    assert.equal(scratch.take(40).buffer, first.buffer);
    const grown = scratch.take(61);
    assert.notEqual(grown.buffer, first.buffer);
    assert.equal(scratch.take(100).buffer, grown.buffer);
    const large = scratch.take(101);
    assert.equal(large.length, 101);
    assert.notEqual(scratch.take(101).buffer, large.buffer);
  });
});
