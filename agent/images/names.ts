/**
 * Giving and taking names: what loses its last name to another image is kept as a dangling one, as in Docker.
 */
import type { ContainerdClient } from "../../src/common/containerd/client.ts";
import type { Catalog } from "./catalog.ts";
import { danglingName, deleteRecord, kindOfName, putRecord, type Target } from "./records.ts";

/** Makes a name stand for a target; "" for an image that is to have none. */
export async function assignName(
  client: ContainerdClient,
  catalog: Catalog,
  o: { readonly name: string; readonly target: Target },
): Promise<void> {
  catalog.changed();
  const { names } = await catalog.view();
  const before = names.find(({ record }) => record.name === o.name);
  const isMoved = before !== undefined && before.record.target.digest !== o.target.digest;
  if (isMoved) {
    const old = before.record.target;
    const others = names.filter(
      ({ record }) => record.target.digest === old.digest && record.name !== o.name,
    );
    if (others.length === 0 && before.images.length > 0)
      await putRecord(client, danglingName(old.digest), old);
  }
  await putRecord(client, o.name === "" ? danglingName(o.target.digest) : o.name, o.target);
  const dangling = danglingName(o.target.digest);
  const isKnown = names.some(({ record }) => record.name === dangling);
  if (o.name !== "" && kindOfName(o.name) !== "dangling" && isKnown)
    await deleteRecord(client, dangling, { sync: false });
  catalog.changed();
}
