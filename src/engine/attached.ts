/**
 * Carries bytes between a client and a process: attach and exec.
 */
import type { Attachment } from "../common/container/containers.ts";
import { DetachScanner, frame } from "./frames.ts";
import type { Connection } from "./hijack.ts";

/** How the two are joined. */
export interface Joining {
  /** What the client sends goes to the process. */
  readonly stdin: boolean;
  /** The process's input ends with the client's; otherwise the end of it ends the conversation. */
  readonly closesStdin: boolean;
  /** Keys that end the conversation; only looked for on terminals. */
  readonly keys: Uint8Array;
}

/** Carries until the process's output ends, the client detaches or leaves. Never rejects. */
export async function relay(
  connection: Connection,
  attachment: Attachment,
  joining: Joining,
): Promise<void> {
  const leave = () => attachment.close();
  connection.signal.addEventListener("abort", leave, { once: true });
  if (connection.signal.aborted) leave();
  const incoming = relayInput(connection, attachment, joining);
  try {
    for await (const { stream, data } of attachment.output) {
      await connection.write(attachment.tty ? data : frame(stream, data));
    }
  } catch {
    // The output was cut: with the client gone, or the container, there is nobody to tell.
  } finally {
    connection.signal.removeEventListener("abort", leave);
    attachment.close();
  }
  // Goes on alone to read what the client still sends, until that closes.
  void incoming;
}

async function relayInput(
  connection: Connection,
  attachment: Attachment,
  joining: Joining,
): Promise<void> {
  const scanner = attachment.tty ? new DetachScanner(joining.keys) : undefined;
  let open = joining.stdin;
  for await (const data of connection.input) {
    if (!open) continue;
    const { pass, detached } = scanner?.feed(data) ?? { pass: data, detached: false };
    open = (pass.length === 0 || (await written(attachment, pass))) && !detached;
    if (detached) attachment.close();
  }
  if (!open) return;
  if (joining.closesStdin && !attachment.tty) {
    // The process may have closed it itself, or have ended.
    await attachment.closeStdin().catch(() => {});
  } else attachment.close();
}

/** false when the process takes no more. */
async function written(attachment: Attachment, data: Uint8Array): Promise<boolean> {
  try {
    await attachment.write(data);
    return true;
  } catch {
    // It has closed its input, which is its right; its output goes on.
    return false;
  }
}
