/**
 * One of our members for the comparison with etcd: a Raft host whose leader answers `KV.Put` once it is committed and
 * applied to a map. A process of its own; `etcd.ts` forks it and talks to it by messages.
 */
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import { type RaftHost, type RaftHostOptions, startRaftHost } from "../manager/raft/host.ts";
import { silentLog } from "../src/common/log/log.ts";
import { decodePut, encodePut, type Put, putMethod } from "./put-service.ts";

/** What a member is asked. */
export type MemberRequest =
  | { readonly type: "start"; readonly options: Omit<RaftHostOptions, "log"> }
  | { readonly type: "join"; readonly member: RaftHostOptions["member"] }
  | { readonly type: "voters" }
  | { readonly type: "serve" };

/** As many bytes as the header of an etcd answer has. */
const answer = Buffer.alloc(26);

/** The member. */
class PutMember {
  readonly #map = new Map<string, Buffer>();
  readonly #waiting = new Map<number, () => void>();
  #applied = 0;
  #term = 0;
  #host: RaftHost | undefined;

  async handle(request: MemberRequest): Promise<unknown> {
    switch (request.type) {
      case "start":
        return this.#start(request.options);
      case "join":
        return this.#host?.addMember(request.member);
      case "voters":
        return this.#host?.members().filter((member) => !member.learner).length;
      case "serve":
        return this.#serve();
    }
  }

  async #start(options: Omit<RaftHostOptions, "log">): Promise<string> {
    const host = await startRaftHost({ ...options, log: silentLog });
    this.#host = host;
    let compacted = 0;
    // A joiner begins with a snapshot; what was put before is not needed here.
    host.onSnapshotWanted(() => {
      return Object.assign((async function* () {})(), { index: this.#applied, term: this.#term });
    });
    host.onSnapshotReceived(async ({ index, term, chunks }) => {
      for await (const chunk of chunks) void chunk;
      this.#applied = index;
      this.#term = term;
    });
    host.onCommitted(({ entries, lastIndex }) => {
      this.#term = entries.at(-1)?.term ?? this.#term;
      for (const { index, data } of entries) {
        if (data.length > 0) this.#apply(index, decodePut(data));
      }
      this.#applied = lastIndex;
      // As a checkpoint would, so that the log does not grow for ever.
      if (lastIndex - compacted < 10_000) return;
      compacted = lastIndex;
      host.compacted(lastIndex);
    });
    if (options.bootstrap === true) {
      await new Promise<void>((resolve) => {
        host.onLeadership(({ isLeader }) => {
          if (isLeader) resolve();
        });
      });
    }
    return `127.0.0.1:${host.address.port}`;
  }

  #apply(index: number, { key, value }: Put): void {
    this.#map.set(key.toString("latin1"), value);
    this.#waiting.get(index)?.();
    this.#waiting.delete(index);
  }

  async #put(put: Put): Promise<void> {
    if (this.#host === undefined) throw new Error("not started");
    const { index } = await this.#host.propose(encodePut(put));
    if (index <= this.#applied) return;
    await new Promise<void>((resolve) => {
      this.#waiting.set(index, resolve);
    });
  }

  async #serve(): Promise<string> {
    const server = new Server({ "grpc.enable_channelz": 0 });
    const put = (call: ServerUnaryCall<Put, Buffer>, reply: sendUnaryData<Buffer>) => {
      this.#put(call.request).then(
        () => reply(null, answer),
        (error: unknown) => reply({ details: String(error) }),
      );
    };
    server.addService({ put: putMethod }, { put });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    return `127.0.0.1:${port}`;
  }
}

const member = new PutMember();
process.on("message", (request: MemberRequest) => {
  member.handle(request).then(
    (value) => process.send?.({ value }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));
