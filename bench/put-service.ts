/**
 * The part of etcd's `KV` service the comparison speaks: `Put` of a key and a value, plaintext, over grpc-js.
 *
 * Shared by the load generator (`etcd.ts`), which calls etcd and our members alike, and by our members
 * (`put-member.ts`). Fields as in etcd's `rpc.proto`: PutRequest { bytes key = 1; bytes value = 2 }, PutResponse
 * { ResponseHeader header = 1 }, StatusResponse { header = 1 { uint64 member_id = 2 }, uint64 leader = 4 }.
 */
import type { MethodDefinition } from "@grpc/grpc-js";
import protobuf from "protobufjs/minimal.js";

/** What is put. */
export interface Put {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Bytes of a put; also what our members propose. */
export function encodePut({ key, value }: Put): Buffer {
  const writer = new protobuf.Writer();
  const bytes = writer.uint32(10).bytes(key).uint32(18).bytes(value).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The put in `bytes`. */
export function decodePut(bytes: Uint8Array): Put {
  const reader = protobuf.Reader.create(bytes);
  let key: Uint8Array = Buffer.alloc(0);
  let value: Uint8Array = key;
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === 10) key = reader.bytes();
    else if (tag === 18) value = reader.bytes();
    else reader.skipType(tag & 7);
  }
  return { key: Buffer.from(key), value: Buffer.from(value) };
}

/** Whether the member whose `StatusResponse` this is leads. */
export function decodeLeads(bytes: Uint8Array): boolean {
  const reader = protobuf.Reader.create(bytes);
  let member = "";
  let leader = "";
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === 10) {
      const end = reader.uint32() + reader.pos;
      while (reader.pos < end) {
        const inner = reader.uint32();
        if (inner === 16) member = String(reader.uint64());
        else reader.skipType(inner & 7);
      }
    } else if (tag === 32) leader = String(reader.uint64());
    else reader.skipType(tag & 7);
  }
  return leader !== "" && leader === member;
}

/** `KV.Put`; an answer carries a small header, which nobody reads here. */
export const putMethod: MethodDefinition<Put, Buffer> = {
  path: "/etcdserverpb.KV/Put",
  requestStream: false,
  responseStream: false,
  requestSerialize: encodePut,
  requestDeserialize: decodePut,
  responseSerialize: (bytes) => bytes,
  responseDeserialize: (bytes) => bytes,
};

/** `Maintenance.Status`, by which the leader is found. */
export const statusPath = "/etcdserverpb.Maintenance/Status";
