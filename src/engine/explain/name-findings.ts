/**
 * What the name servers of containers said against what the managers know. Pure.
 */
import { type Finding, fault } from "./finding.ts";
import { type Known, lookOf } from "./known.ts";
import type { PlannedName } from "./names.ts";

/** Names that led elsewhere, or had no answer. */
export function nameFindings(known: Known): Finding[] {
  return known.picture.nodes.flatMap(({ id, name: node }) => {
    const answers = lookOf(known, id)?.names ?? [];
    const planned = known.names.get(id) ?? [];
    const silent: string[] = [];
    const found: Finding[] = [];
    for (const one of planned) {
      const answer = answers.find(
        ({ from, networkId, name }) =>
          from === one.from && networkId === one.networkId && name === one.name,
      );
      if (answer === undefined) continue;
      if (answer.error !== "") silent.push(`${one.name} (${answer.error})`);
      else if (!isExpected(answer.addresses, one, planned))
        found.push(wrongName(one, node, answer));
    }
    const [first] = planned;
    if (first === undefined || silent.length === 0) return found;
    const what = `container ${first.fromName} on ${node} has no answer from its name server for ${silent.join(", ")}`;
    const remedy = `on ${node}: restart "skep daemon"; containers run on`;
    return [{ ...fault(node, what, remedy), mayPass: true }, ...found];
  });
}

/** A container that is in several networks of the service is led to it in one of them. */
function isExpected(
  addresses: readonly string[],
  { name, from }: PlannedName,
  planned: readonly PlannedName[],
): boolean {
  const text = addresses.join(" ");
  const asked = planned.filter((one) => one.name === name);
  const own = asked.filter((one) => one.from === from);
  return [...own, ...asked].some(({ expected }) => expected.join(" ") === text);
}

function wrongName(
  { name, fromName, network, expected }: PlannedName,
  node: string,
  { addresses }: { readonly addresses: readonly string[] },
): Finding {
  const led = addresses.join(", ") || "nowhere";
  const what = `name ${name} leads to ${led} in container ${fromName} on ${node} (network ${network}) instead of ${expected.join(", ") || "nowhere"}`;
  const remedy = `on ${node}: restart "skep daemon"; containers run on`;
  return { ...fault(node, what, remedy), mayPass: true };
}
