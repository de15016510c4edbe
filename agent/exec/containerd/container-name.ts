/**
 * Names of containers: what may be one, and one made up where the user gives none. Pure.
 */
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { Random } from "../../../src/common/random/random.ts";

const form = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** The name without its slash. @throws ClusterError invalid-argument in Docker's words. */
export function checkName(name: string): string {
  const plain = name.startsWith("/") ? name.slice(1) : name;
  if (form.test(plain)) return plain;
  throw new ClusterError(
    "invalid-argument",
    `Invalid container name (${plain}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
  );
}

const first =
  "amber brave brisk calm clever dapper eager fair fleet gentle glad golden happy hardy jolly keen kind lively lucid merry mild neat nimble noble plucky proud quick quiet ready royal sharp shy silver sleek sly smart snug spry steady sunny swift tidy tough trusty vivid warm wise witty zesty".split(
    " ",
  );
const second =
  "acacia alder apiary aster balsam basswood blossom borage brood bumble catmint clover comb cosmos crocus daisy drone fennel forager foxglove gentian ginger harvest heather hive honey hyssop lavender linden lupin mallow marigold meadow mint nectar orchard pollen poppy propolis queen sage swarm thistle thyme tulip verbena violet waggle wax willow".split(
    " ",
  );

/** A name that is not taken. */
export function makeName(random: Random, isTaken: (name: string) => boolean): string {
  for (let attempt = 0; ; attempt++) {
    const words = `${first[random.int(first.length)]}_${second[random.int(second.length)]}`;
    // Many containers have used up many pairs: then numbers make them differ.
    const name = attempt < 5 ? words : `${words}_${random.int(1_000_000)}`;
    if (!isTaken(name)) return name;
  }
}
