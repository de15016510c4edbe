/**
 * Distinguished names of our profile: one common name, one organisational unit, one organisation, nothing twice.
 */
import {
  childrenOf,
  contentOf,
  type Der,
  malformed,
  oid,
  oidText,
  primitive,
  sequence,
  setOf,
  tag,
} from "./der.ts";

/** The attributes of a name; an absent one is the empty string. */
export interface Name {
  readonly commonName: string;
  readonly organization: string;
  readonly unit: string;
}

const commonNameOid = "2.5.4.3";
const organizationOid = "2.5.4.10";
const unitOid = "2.5.4.11";

/** The DER of a name: organisation, unit, common name, each when not empty. */
export function encodeName(name: Name): Der {
  const parts: Der[] = [];
  const put = (type: string, value: string) => {
    if (value !== "") {
      parts.push(setOf(sequence(oid(type), primitive(tag.utf8, Buffer.from(value, "utf8")))));
    }
  };
  put(organizationOid, name.organization);
  put(unitOid, name.unit);
  put(commonNameOid, name.commonName);
  return sequence(...parts);
}

/** Reads a name. @throws ClusterError invalid-argument when an attribute is given twice or is not text. */
export function decodeName(value: Der | undefined, what: string): Name {
  const found = new Map<string, string>();
  for (const set of childrenOf(value, tag.sequence, what)) {
    for (const attribute of childrenOf(set, tag.set, what)) {
      const [type, text] = childrenOf(attribute, tag.sequence, what);
      const key = oidText(type, what);
      if (found.has(key)) return malformed(`${what}: an attribute is given twice`);
      const kind = text?.type === tag.printable ? tag.printable : tag.utf8;
      found.set(key, contentOf(text, kind, what).toString("utf8"));
    }
  }
  return {
    commonName: found.get(commonNameOid) ?? "",
    organization: found.get(organizationOid) ?? "",
    unit: found.get(unitOid) ?? "",
  };
}
