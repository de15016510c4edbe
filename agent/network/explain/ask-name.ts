/**
 * Asks the name server of a container as its programs do: at 127.0.0.11, from its network namespace.
 */
import { createSocket } from "node:dgram";
import type { NameAnswer, NameQuestion } from "../../../src/common/container/data-path.ts";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import { probeMs } from "../../../src/common/limits/network.ts";
import { decode, encode, type Packet } from "../dns/codec.ts";
import { within } from "../namespace.ts";
import { containerNameServer } from "../node-names.ts";

/** @param file Keeps the namespace of the container. Never rejects. */
export function askName(file: string, question: NameQuestion): Promise<NameAnswer> {
  return new Promise((resolve) => {
    const socket = createSocket({
      type: "udp4",
      // Found at once: the socket has to be open before the namespace is left.
      lookup: (host, _options, found) => found(null, host, 4),
    });
    let isOver = false;
    const end = (addresses: readonly string[], error: string) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      socket.close();
      resolve({ ...question, addresses, error });
    };
    const timer = setTimeout(() => end([], `no answer within ${probeMs} ms`), probeMs);
    socket.on("error", (error) => end([], errorText(error)));
    socket.on("message", (bytes) => {
      try {
        const { rcode, answers } = decode(bytes);
        const isKnown = rcode === "NOERROR" || rcode === "NXDOMAIN";
        end(addressesIn(answers), isKnown ? "" : `the name server says ${rcode}`);
      } catch (error) {
        end([], errorText(error));
      }
    });
    try {
      within(file, () => socket.bind(0, "0.0.0.0"));
    } catch (error) {
      end([], errorText(error));
      return;
    }
    socket.send(query(question.name), namePort, containerNameServer, (error) => {
      if (error !== null) end([], errorText(error));
    });
  });
}

const namePort = 53;
/** Each question has a socket of its own. */
const queryId = 1;
/** Flag of a message that asks for the whole answer (RFC 1035, 4.1.1). */
const recursionDesired = 0x100;

function query(name: string): Buffer {
  const questions = [{ name, type: "A", class: "IN" }];
  return encode({ id: queryId, type: "query", flags: recursionDesired, questions });
}

function addressesIn(answers: Packet["answers"]): string[] {
  return answers.flatMap(({ type, data }) => (type === "A" ? [String(data)] : [])).sort();
}
