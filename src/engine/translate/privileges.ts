/**
 * `ContainerSpec.Privileges`: credential spec, SELinux, seccomp, AppArmor: JSON ↔ `Privileges`. Pure.
 */
import {
  CredentialSpec,
  Privileges,
  Seccomp,
  SeLinuxContext,
} from "../../common/api/generated/api.ts";
import { type Json, textOrNothing, wordFromJson } from "./common.ts";
import type { JsonObject } from "./reader.ts";

/** @throws ClusterError `invalid-argument` for a credential spec of no or several sources, or an unknown mode. */
export function privilegesFromJson(json: JsonObject | undefined): Privileges | undefined {
  if (json === undefined) return undefined;
  const apparmor = json.object("AppArmor");
  return Privileges.create({
    credentialSpec: credentialSpecFromJson(json.object("CredentialSpec")),
    selinux: selinuxFromJson(json.object("SELinuxContext")),
    seccomp: seccompFromJson(json.object("Seccomp")),
    apparmorMode:
      apparmor === undefined
        ? ""
        : wordFromJson(apparmor, "Mode", {
            words: ["default", "disabled"],
            fallback: "default",
            message: "invalid AppArmor mode:",
          }),
    noNewPrivileges: json.bool("NoNewPrivileges"),
  });
}

/** The privileges as the API shows them; CredentialSpec and SELinuxContext are null when not set. */
export function privilegesToJson(privileges: Privileges | undefined): Json | undefined {
  if (privileges === undefined) return undefined;
  const { credentialSpec, selinux, seccomp } = privileges;
  return {
    CredentialSpec:
      credentialSpec === undefined
        ? null
        : {
            Config: credentialSpec.config,
            File: credentialSpec.file,
            Registry: credentialSpec.registry,
          },
    SELinuxContext:
      selinux === undefined
        ? null
        : {
            Disable: selinux.disable,
            User: selinux.user,
            Role: selinux.role,
            Type: selinux.type,
            Level: selinux.level,
          },
    Seccomp: seccomp && {
      Mode: textOrNothing(seccomp.mode),
      Profile:
        seccomp.profile.length === 0 ? undefined : Buffer.from(seccomp.profile).toString("base64"),
    },
    AppArmor: privileges.apparmorMode === "" ? undefined : { Mode: privileges.apparmorMode },
    NoNewPrivileges: privileges.noNewPrivileges,
  };
}

function credentialSpecFromJson(json: JsonObject | undefined): CredentialSpec | undefined {
  if (json === undefined) return undefined;
  const spec = CredentialSpec.create({
    config: json.string("Config"),
    file: json.string("File"),
    registry: json.string("Registry"),
  });
  const sources = [
    spec.config === "" ? [] : ['"config"'],
    spec.file === "" ? [] : ['"file"'],
    spec.registry === "" ? [] : ['"registry"'],
  ].flat();
  if (sources.length === 0)
    throw json.invalid(
      'invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec',
    );
  if (sources.length > 1)
    throw json.invalid(
      `invalid CredentialSpec: cannot specify both ${sources.join(" and ")} credential specs`,
    );
  return spec;
}

function selinuxFromJson(json: JsonObject | undefined): SeLinuxContext | undefined {
  if (json === undefined) return undefined;
  return SeLinuxContext.create({
    disable: json.bool("Disable"),
    user: json.string("User"),
    role: json.string("Role"),
    type: json.string("Type"),
    level: json.string("Level"),
  });
}

function seccompFromJson(json: JsonObject | undefined): Seccomp | undefined {
  if (json === undefined) return undefined;
  return Seccomp.create({
    mode: wordFromJson(json, "Mode", {
      words: ["default", "unconfined", "custom"],
      fallback: "default",
      message: "invalid Seccomp mode:",
    }),
    profile: json.bytes("Profile"),
  });
}
