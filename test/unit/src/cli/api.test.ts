/**
 * What the own commands make of a daemon's answers.
 */
import { equal, throws } from "node:assert/strict";
import { goodText, messageOf } from "../../../../src/cli/api.ts";

describe("src/cli/api", () => {
  it("tells a refusal in its own words", () => {
    const refusal = JSON.stringify({
      message: "rpc error: code = InvalidArgument desc = label skep.cron: no",
    });
    equal(messageOf(refusal), "label skep.cron: no");
    throws(() => goodText({ status: 400, text: refusal }), {
      message: "Error response from daemon: label skep.cron: no",
    });
    equal(messageOf('{"message":"no such service"}'), "no such service");
    equal(messageOf("gateway error\n"), "gateway error");
  });
});
