/**
 * `security_opt`, `cap_add` and `cap_drop` → privileges and capabilities of the API. Pure.
 */
import type { ComposeService } from "../model.ts";
import { type Body, byText, present, type ServiceContext } from "./context.ts";

/** `Privileges`; always there, as the stock client sends it. @throws ClusterError for options that cannot be. */
export function privileges(
  service: ComposeService,
  context: ServiceContext & { readonly readBase64: (path: string, from: string) => string },
): Body {
  const path = `${context.path}.security_opt`;
  let noNewPrivileges = false;
  let seccomp: Body | undefined;
  let apparmor: Body | undefined;
  let selinux: Record<string, unknown> | undefined;
  for (const option of service.security_opt ?? []) {
    const [, name = option, value = ""] = /^([^=:]+)[=:](.*)$/s.exec(option) ?? [];
    if (name === "no-new-privileges" && ["", "true", "false"].includes(value))
      noNewPrivileges = value !== "false";
    else if (name === "seccomp" && value === "unconfined") seccomp = { Mode: "unconfined" };
    else if (name === "seccomp" && value === "builtin") seccomp = { Mode: "default" };
    else if (name === "seccomp" && value !== "")
      seccomp = { Mode: "custom", Profile: context.readBase64(path, value) };
    else if (name === "apparmor" && value === "unconfined") apparmor = { Mode: "disabled" };
    else if (name === "label") selinux = { ...selinux, ...selinuxField(value, path, context) };
    else
      throw context.fail(
        path,
        `${path}: ${JSON.stringify(option)} is not supported: no-new-privileges, seccomp, apparmor=unconfined and label are`,
      );
  }
  return present({
    CredentialSpec: null,
    SELinuxContext: selinux === undefined ? null : selinux,
    Seccomp: seccomp,
    AppArmor: apparmor,
    NoNewPrivileges: noNewPrivileges,
  });
}

function selinuxField(
  value: string,
  path: string,
  context: ServiceContext,
): Record<string, unknown> {
  if (value === "disable") return { Disable: true };
  const [, name = "", text = ""] = /^(user|role|type|level):(.+)$/.exec(value) ?? [];
  if (name === "")
    throw context.fail(
      path,
      `${path}: label ${JSON.stringify(value)} is not known: disable, user:, role:, type: and level: are`,
    );
  return { [`${name.charAt(0).toUpperCase()}${name.slice(1)}`]: text };
}

/** Both lists as the stock client writes them; what is added is not dropped. */
export function capabilities(service: ComposeService): {
  readonly add: readonly string[];
  readonly drop: readonly string[];
} {
  const add = new Set((service.cap_add ?? []).map(capabilityName));
  const drop = new Set((service.cap_drop ?? []).map(capabilityName));
  return {
    add: [...add].sort(byText),
    drop: [...drop].filter((name) => !add.has(name)).sort(byText),
  };
}

function capabilityName(text: string): string {
  const name = text.trim().toUpperCase();
  return name === "ALL" || name === "RESET" || name.startsWith("CAP_") ? name : `CAP_${name}`;
}
