/**
 * How what there is to say becomes one message after the other.
 */
import { deepEqual, equal } from "node:assert/strict";
import { MessageFlow, type Speaker } from "../../../../manager/dispatcher/message-flow.ts";
import { settled } from "../../../support/message-queue.ts";

interface Said {
  readonly number: number;
  readonly text: string;
}

/** Says one word a message; "?" cannot be said but with everything. */
class Words implements Speaker<Said> {
  all = ["all"];
  news: string[] = [];

  hasNews(): boolean {
    return this.news.length > 0;
  }

  full(number: number): Said[] {
    this.news = [];
    return numbered(this.all, number);
  }

  increments(number: number): Said[] | undefined {
    const words = this.news.splice(0);
    return words.includes("?") ? undefined : numbered(words, number);
  }
}

function numbered(words: readonly string[], number: number): Said[] {
  return words.map((text, i) => ({ number: number + i, text }));
}

describe("manager/dispatcher/message-flow", () => {
  let words: Words;
  let heard: string[];
  let release: (() => void)[];
  let failures: unknown[];
  let flow: MessageFlow<Said>;
  let upToDate: Promise<void>;

  beforeEach(() => {
    words = new Words();
    heard = [];
    release = [];
    failures = [];
    upToDate = Promise.resolve();
    flow = new MessageFlow(words, {
      send: ({ number, text }) => {
        if (text === "fails") return Promise.reject(new Error("cut"));
        heard.push(`${number} ${text}`);
        return new Promise((resolve) => release.push(resolve));
      },
      upToDate: () => upToDate,
      failed: (error) => failures.push(error),
    });
  });

  /** The messages on their way arrive, one after the other. */
  async function arrive(): Promise<void> {
    await settled();
    for (let next = release.shift(); next !== undefined; next = release.shift()) {
      next();
      await settled();
    }
  }

  async function say(...news: string[]): Promise<void> {
    words.news.push(...news);
    flow.wake();
    await settled();
  }

  it("says nothing before it is to begin, and everything then", async () => {
    await say("a");
    deepEqual(heard, []);
    flow.restart();
    await arrive();
    deepEqual(heard, ["1 all"]);
  });

  it("says everything only when this manager is up to date", async () => {
    let known = () => {};
    upToDate = new Promise((resolve) => {
      known = resolve;
    });
    flow.restart();
    await settled();
    words.all = ["newer"];
    known();
    await arrive();
    deepEqual(heard, ["1 newer"]);
  });

  it("has one message on its way, and says together what changes meanwhile", async () => {
    flow.restart();
    await settled();
    await say("a");
    await say("b");
    deepEqual(heard, ["1 all"]);
    await arrive();
    deepEqual(heard, ["1 all", "2 a", "3 b"]);
  });

  it("hears what changes in the very turn in which it has said all", async () => {
    flow.restart();
    await arrive();
    let turns = 0;
    const { hasNews } = words;
    words.hasNews = () => {
      const has = hasNews.call(words);
      if (!has && turns++ === 0) queueMicrotask(() => void say("late"));
      return has;
    };
    await say("a");
    await arrive();
    deepEqual(heard, ["1 all", "2 a", "3 late"]);
  });

  it("says everything again when what changed cannot be said", async () => {
    flow.restart();
    await arrive();
    await say("a", "?");
    await arrive();
    deepEqual(heard, ["1 all", "2 all"]);
  });

  it("ends with the session", async () => {
    words.all = ["all", "more"];
    flow.restart();
    await settled();
    flow.close();
    await arrive();
    deepEqual(heard, ["1 all"]);
  });

  it("tells that a message could not be sent, and says no more", async () => {
    words.all = ["fails"];
    flow.restart();
    await arrive();
    await say("a");
    equal(failures.length, 1);
    deepEqual(heard, []);
  });
});
