/**
 * What outlasts a write that is cut, over a containerd that answers when it is told to.
 */
import { deepEqual } from "node:assert/strict";
import { Ingest } from "../../../../agent/images/content.ts";
import type {
  ContentWriteRequest,
  ContentWriteResponse,
} from "../../../../src/common/containerd/generated/protocol.ts";
import type { ClientStream } from "../../../../src/common/rpc/channel.ts";
import { MessageQueue, settled } from "../../../support/message-queue.ts";

describe("agent/images/content", () => {
  it("says that bytes are handed on when containerd has them, not when they are on their way", async () => {
    const answers = new MessageQueue<ContentWriteResponse>();
    const sent: string[] = [];
    const stream = {
      write: async ({ action, data }: ContentWriteRequest) => {
        sent.push(`${action} ${data.length}`);
      },
      end: () => answers.end(),
      cancel: () => answers.end(new Error("cancelled")),
      [Symbol.asyncIterator]: () => answers[Symbol.asyncIterator](),
    } as unknown as ClientStream<ContentWriteRequest, ContentWriteResponse>;
    const signal = new AbortController().signal;
    const wish = { digest: "sha256:0", sizeBytes: 9, lease: "l", signal, ref: "r" };
    const ingest = new Ingest(stream, wish);
    const answer = (action: string) => answers.push({ action, offset: 0 } as ContentWriteResponse);
    answer("stat");
    await ingest.begin();
    await ingest.write(Buffer.from("honey"));
    const told: string[] = [];
    const flushed = ingest.flush().then(() => told.push("flushed"));
    await settled();
    deepEqual([sent, told], [["stat 0", "write 5"], []]);
    answer("write");
    await flushed;
    await ingest.flush();
    ingest.close();
  });
});
