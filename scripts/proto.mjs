/**
 * Generates `src/common/api/generated/api.ts` from `proto/*.proto`, and `src/common/containerd/generated/protocol.ts` from
 * `proto/containerd/*.proto`.
 *
 * Runs at build time, before the compiler. Reads the schema with protobufjs' parser and writes static modules that
 * encode and decode with protobufjs' `Writer` and `Reader`. What it adds over the stock static generator are exact
 * types: every message is a readonly interface whose absent fields have their proto3 default, enums are unions of
 * string literals, sub-messages are `T | undefined`, 64-bit integers are numbers, objects have one hidden class, and
 * maps are written in key order so that equal messages give equal bytes.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";

const top = join(dirname(fileURLToPath(import.meta.url)), "..");
const modules = [
  {
    protoDir: join(top, "proto"),
    outFile: join(top, "src/common/api/generated/api.ts"),
    sources: "proto/*.proto",
    // Decoded objects of these are kept: their `bytes` are copied out of the buffer, their lists have no room to grow.
    copiedFiles: new Set(["types.proto", "specs.proto", "objects.proto"]),
  },
  {
    protoDir: join(top, "proto/containerd"),
    outFile: join(top, "src/common/containerd/generated/protocol.ts"),
    sources: "proto/containerd/*.proto",
    copiedFiles: new Set(),
  },
];

const scalars = {
  string: { ts: "string", zero: '""' },
  bool: { ts: "boolean", zero: "false" },
  bytes: { ts: "Uint8Array", zero: "emptyBytes" },
  double: { ts: "number", zero: "0" },
  float: { ts: "number", zero: "0" },
  int32: { ts: "number", zero: "0" },
  uint32: { ts: "number", zero: "0" },
  sint32: { ts: "number", zero: "0" },
  fixed32: { ts: "number", zero: "0" },
  int64: { ts: "number", zero: "0" },
  uint64: { ts: "number", zero: "0" },
  fixed64: { ts: "number", zero: "0" },
};
const wireTypes = { ...protobuf.types.basic };

const copyHelpers = `function copyOf(bytes: Uint8Array): Uint8Array {
  return bytes.length === 0 ? emptyBytes : new Uint8Array(bytes);
}
/** A list without the room an array keeps to grow: that is 120 bytes for each short one. */
function exact<T>(list: T[] | undefined): readonly T[] {
  return list === undefined ? emptyList : list.slice();
}
`;

let out = [];
let messages = [];
let enums = [];
let services = [];
let fileOfType = new Map();
let copiedFiles = new Set();
for (const module of modules) generate(module);

function generate(module) {
  out = [];
  messages = [];
  enums = [];
  services = [];
  fileOfType = new Map();
  copiedFiles = module.copiedFiles;
  const { protoDir, outFile } = module;
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) =>
    target.startsWith(protoDir) ? target : join(protoDir, target);
  const files = readdirSync(protoDir)
    .filter((f) => f.endsWith(".proto"))
    .sort();
  for (const file of files) {
    root.loadSync(join(protoDir, file), { keepCase: false, alternateCommentMode: false });
  }
  root.resolveAll();
  collect(root);
  emitHead(module.sources);
  for (const e of enums) emitEnum(e);
  for (const m of messages) emitMessage(m);
  for (const s of services) emitService(s);
  const text = `${out.join("\n")}\n`;
  mkdirSync(dirname(outFile), { recursive: true });
  if (!existsSync(outFile) || readFileSync(outFile, "utf8") !== text) writeFileSync(outFile, text);
}

function emitHead(sources) {
  out.push(`/** Generated from ${sources} by scripts/proto.mjs at build time; do not edit. */`);
  out.push('import protobuf from "protobufjs/minimal.js";');
  out.push("");
  out.push(
    "// 64-bit integers are numbers here: every index, term and duration of ours is below 2^53.",
  );
  out.push("(protobuf.util as { Long: unknown }).Long = null;");
  out.push("protobuf.configure();");
  out.push("type Writer = protobuf.Writer;");
  out.push("type Reader = protobuf.Reader;");
  out.push("const { Writer, Reader } = protobuf;");
  out.push("const emptyBytes = new Uint8Array(0);");
  out.push("const emptyList: readonly never[] = Object.freeze([]);");
  out.push("const emptyMap: Readonly<Record<string, never>> = Object.freeze(Object.create(null));");
  out.push(`
/** Encodes and decodes one message type. */
export interface Codec<T> {
  /** Full name of the message, for errors. */
  readonly name: string;
  /** Field names and their numbers in the schema, ascending by number. */
  readonly fields: Readonly<Record<string, number>>;
  /** Fills absent fields with their defaults. */
  create(fields?: Partial<T>): T;
  /** Bytes of the message; equal messages give equal bytes. */
  encode(message: T): Uint8Array;
  /** @throws Error on malformed bytes or an enum value this version does not know. */
  decode(bytes: Uint8Array): T;
  write(writer: Writer, message: T): void;
  read(reader: Reader, end: number): T;
}

/** One RPC method of a service. */
export interface MethodDescriptor<Q, R> {
  readonly path: string;
  readonly request: Codec<Q>;
  readonly response: Codec<R>;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

function unknownEnum(name: string, value: number): never {
  throw new Error("unknown value " + value + " of " + name + ": written by a newer version");
}
${copiedFiles.size > 0 ? copyHelpers : ""}function sortedKeys(map: Readonly<Record<string, unknown>>): string[] {
  const keys = Object.keys(map);
  return keys.length > 1 ? keys.sort() : keys;
}
/**
 * The writer of all messages, which keeps its buffer: one that starts small and doubles leaves behind, for each message,
 * several times its bytes as garbage.
 */
let shared: Writer | undefined;
/** A message beyond this takes the buffer along that it made grow, at most twice as long. */
const sharedBytesMax = 512 * 1024;
function encodeWith<T>(codec: Codec<T>, message: T): Uint8Array {
  const writer = shared ?? Writer.create();
  // Taken away meanwhile: after a failure nobody knows what is in it.
  shared = undefined;
  codec.write(writer, message);
  const bytes = writer.finish();
  if (bytes.length <= sharedBytesMax) shared = writer.reset();
  return bytes;
}
function decodeWith<T>(codec: Codec<T>, bytes: Uint8Array): T {
  const reader = Reader.create(bytes);
  return codec.read(reader, reader.len);
}
`);
}

function collect(ns) {
  for (const o of ns.nestedArray) {
    if (o instanceof protobuf.Type) {
      messages.push(o);
      fileOfType.set(o, (o.filename ?? "").split("/").pop());
    } else if (o instanceof protobuf.Enum) enums.push(o);
    else if (o instanceof protobuf.Service) services.push(o);
    if (o.nestedArray) collect(o);
  }
}

/** Names of nested types are joined: `Outer.Inner` becomes `OuterInner`. */
function typeName(o) {
  const parts = [];
  for (let p = o; p && (p instanceof protobuf.Type || p instanceof protobuf.Enum); p = p.parent)
    parts.unshift(p.name);
  return parts.join("");
}

function enumLiterals(e) {
  const prefix = `${e.name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase()}_`;
  return Object.entries(e.values).map(([key, value]) => {
    if (!key.startsWith(prefix))
      throw new Error(`enum ${e.name}: ${key} must start with ${prefix}`);
    return { text: key.slice(prefix.length).toLowerCase().replaceAll("_", "-"), value };
  });
}

function emitEnum(e) {
  const name = typeName(e);
  const literals = enumLiterals(e);
  out.push(`export type ${name} = ${literals.map((l) => JSON.stringify(l.text)).join(" | ")};`);
  out.push(`/** All values of ${name}, in the order of their numbers. */`);
  out.push(
    `export const ${name}Values: readonly ${name}[] = ${JSON.stringify(literals.map((l) => l.text))};`,
  );
  out.push(
    `const ${name}ToNumber: Readonly<Record<${name}, number>> = {${literals.map((l) => `${JSON.stringify(l.text)}: ${l.value}`).join(", ")}};`,
  );
  out.push(
    `/** The value of a number on the wire. @throws Error when this version does not know it. */\nexport function ${name}FromNumber(value: number): ${name} {\n  switch (value) {`,
  );
  for (const l of literals) out.push(`    case ${l.value}: return ${JSON.stringify(l.text)};`);
  out.push(`    default: return unknownEnum(${JSON.stringify(name)}, value);\n  }\n}`);
  out.push(
    `/** The number of a value on the wire. */\nexport function ${name}Number(value: ${name}): number {\n  return ${name}ToNumber[value];\n}`,
  );
}

function elementOf(field) {
  const t = field.resolvedType;
  if (t instanceof protobuf.Enum)
    return {
      kind: "enum",
      ts: typeName(t),
      wire: 0,
      zero: JSON.stringify(enumLiterals(t).find((l) => l.value === 0).text),
    };
  if (t instanceof protobuf.Type)
    return { kind: "message", ts: typeName(t), wire: 2, zero: "undefined" };
  const s = scalars[field.type];
  if (!s) throw new Error(`unsupported type ${field.type}`);
  return { kind: "scalar", ts: s.ts, wire: wireTypes[field.type], zero: s.zero, type: field.type };
}

function describe(field) {
  const e = elementOf(field);
  if (field instanceof protobuf.MapField)
    return { ...e, shape: "map", type: `Readonly<Record<string, ${e.ts}>>`, zero: "emptyMap" };
  if (field.repeated) return { ...e, shape: "list", type: `readonly ${e.ts}[]`, zero: "emptyList" };
  const optional = e.kind === "message" || field.options?.proto3_optional || field.partOf;
  return {
    ...e,
    shape: "one",
    optional,
    type: optional ? `${e.ts} | undefined` : e.ts,
    zero: optional ? "undefined" : e.zero,
  };
}

function writeOne(field, e, id, value) {
  const tag = (id << 3) | e.wire;
  if (e.kind === "message")
    return `writer.uint32(${tag}).fork(); ${e.ts}.write(writer, ${value}); writer.ldelim();`;
  if (e.kind === "enum") return `writer.uint32(${tag}).int32(${e.ts}ToNumber[${value}]);`;
  return `writer.uint32(${tag}).${field.type}(${value});`;
}

function readOne(field, e, copied) {
  if (e.kind === "message") return `${e.ts}.read(reader, reader.uint32() + reader.pos)`;
  if (e.kind === "enum") return `${e.ts}FromNumber(reader.int32())`;
  if (field.type === "bytes" && copied) return "copyOf(reader.bytes())";
  if (field.type.endsWith("64")) return `reader.${field.type}() as unknown as number`;
  return `reader.${field.type}()`;
}

function emitMessage(m) {
  const name = typeName(m);
  const copied = copiedFiles.has(fileOfType.get(m));
  const fields = m.fieldsArray
    .slice()
    .sort((a, b) => a.id - b.id)
    .map((field) => ({ field, d: describe(field) }));
  if (m.comment) out.push(`/** ${m.comment.replaceAll("\n", " ")} */`);
  out.push(`export interface ${name} {`);
  for (const { field, d } of fields) {
    if (field.comment) out.push(`  /** ${field.comment.replaceAll("\n", " ")} */`);
    out.push(`  readonly ${field.name}: ${d.type};`);
  }
  out.push("}");
  out.push(`export const ${name}: Codec<${name}> = {`);
  out.push(`  name: ${JSON.stringify(name)},`);
  out.push(`  fields: { ${fields.map(({ field }) => `${field.name}: ${field.id}`).join(", ")} },`);
  out.push(
    fields.length === 0
      ? `  create(): ${name} { return {}; },`
      : `  create(fields: Partial<${name}> = {}): ${name} {\n    return {`,
  );
  for (const { field, d } of fields) {
    out.push(
      d.zero === "undefined"
        ? `      ${field.name}: fields.${field.name},`
        : `      ${field.name}: fields.${field.name} ?? ${d.zero},`,
    );
  }
  if (fields.length > 0) out.push("    };\n  },");
  out.push(`  encode(message: ${name}): Uint8Array { return encodeWith(${name}, message); },`);
  out.push(`  decode(bytes: Uint8Array): ${name} { return decodeWith(${name}, bytes); },`);
  out.push(
    fields.length === 0
      ? `  write(): void {},`
      : `  write(writer: Writer, message: ${name}): void {`,
  );
  for (const { field, d } of fields) emitWrite(field, d);
  if (fields.length > 0) out.push("  },");
  out.push(`  read(reader: Reader, end: number): ${name} {`);
  for (const { field, d } of fields) {
    const t =
      d.shape === "list"
        ? `${d.ts}[] | undefined`
        : d.shape === "map"
          ? `Record<string, ${d.ts}> | undefined`
          : d.type;
    out.push(`    let ${field.name}$: ${t} = ${d.shape === "one" ? d.zero : "undefined"};`);
  }
  out.push(
    "    while (reader.pos < end) {\n      const tag = reader.uint32();\n      switch (tag >>> 3) {",
  );
  for (const { field, d } of fields) emitRead(field, d, copied);
  out.push("        default: reader.skipType(tag & 7);\n      }\n    }");
  const value = (name, d) => {
    if (d.shape === "one") return `${name}$`;
    return d.shape === "list" && copied ? `exact(${name}$)` : `${name}$ ?? ${d.zero}`;
  };
  out.push(
    `    return { ${fields.map(({ field, d }) => `${field.name}: ${value(field.name, d)}`).join(", ")} };`,
  );
  out.push("  },\n};");
}

function emitWrite(field, d) {
  const v = `message.${field.name}`;
  if (d.shape === "map") {
    const keyTag = (1 << 3) | 2;
    out.push(
      `    for (const key of sortedKeys(${v})) {\n      writer.uint32(${(field.id << 3) | 2}).fork().uint32(${keyTag}).string(key);`,
    );
    out.push(
      `      ${writeOne(field, d, 2, `${v}[key] as ${d.ts}`)}\n      writer.ldelim();\n    }`,
    );
  } else if (
    d.shape === "list" &&
    d.kind !== "message" &&
    !["string", "bytes"].includes(field.type)
  ) {
    const put = d.kind === "enum" ? `int32(${d.ts}ToNumber[item])` : `${field.type}(item)`;
    out.push(
      `    if (${v}.length > 0) {\n      writer.uint32(${(field.id << 3) | 2}).fork();\n      for (const item of ${v}) writer.${put};\n      writer.ldelim();\n    }`,
    );
  } else if (d.shape === "list") {
    out.push(`    for (const item of ${v}) { ${writeOne(field, d, field.id, "item")} }`);
  } else if (d.optional) {
    out.push(`    if (${v} !== undefined) { ${writeOne(field, d, field.id, v)} }`);
  } else {
    const present =
      field.type === "bytes" ? `${v}.length > 0` : field.type === "bool" ? v : `${v} !== ${d.zero}`;
    out.push(`    if (${present}) { ${writeOne(field, d, field.id, v)} }`);
  }
}

function emitRead(field, d, copied) {
  const target = `${field.name}$`;
  if (d.shape === "one") {
    out.push(`        case ${field.id}: ${target} = ${readOne(field, d, copied)}; break;`);
  } else if (d.shape === "map") {
    out.push(
      `        case ${field.id}: {\n          const stop = reader.uint32() + reader.pos;\n          let key = "";`,
    );
    out.push(
      `          let value: ${d.ts} | undefined = ${d.kind === "message" ? "undefined" : d.ts === "string" ? '""' : "undefined"};`,
    );
    out.push(
      "          while (reader.pos < stop) {\n            const inner = reader.uint32();\n            switch (inner >>> 3) {",
    );
    out.push("              case 1: key = reader.string(); break;");
    out.push(`              case 2: value = ${readOne(field, d, copied)}; break;`);
    out.push("              default: reader.skipType(inner & 7);\n            }\n          }");
    const zero =
      d.kind === "message"
        ? `${d.ts}.create()`
        : d.kind === "enum"
          ? JSON.stringify(enumLiterals(field.resolvedType)[0].text)
          : scalars[field.type].zero;
    out.push(
      `          ${target} ??= Object.create(null) as Record<string, ${d.ts}>;\n          ${target}[key] = value ?? ${zero};\n          break;\n        }`,
    );
  } else {
    const packed = d.kind !== "message" && !["string", "bytes"].includes(field.type);
    out.push(`        case ${field.id}:\n          ${target} ??= [];`);
    if (packed) {
      out.push(
        `          if ((tag & 7) === 2) {\n            const stop = reader.uint32() + reader.pos;\n            while (reader.pos < stop) ${target}.push(${readOne(field, d, copied)});\n          } else ${target}.push(${readOne(field, d, copied)});`,
      );
    } else out.push(`          ${target}.push(${readOne(field, d, copied)});`);
    out.push("          break;");
  }
}

function emitService(s) {
  const pkg = s.fullName.slice(1);
  out.push(`/** Methods of ${pkg}. */\nexport const ${s.name}Service = {`);
  for (const method of s.methodsArray) {
    const q = typeName(method.resolvedRequestType);
    const r = typeName(method.resolvedResponseType);
    const key = method.name[0].toLowerCase() + method.name.slice(1);
    out.push(
      `  ${key}: { path: "/${pkg}/${method.name}", request: ${q}, response: ${r}, requestStream: ${Boolean(method.requestStream)}, responseStream: ${Boolean(method.responseStream)} } as MethodDescriptor<${q}, ${r}>,`,
    );
  }
  out.push("} as const;");
}
