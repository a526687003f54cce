/** `omk trust`: what a project's configuration would do, and the user's word that it may. */
import { resolve } from "node:path";

import {
  listTrust,
  projectConfig,
  readForTrust,
  recordTrust,
  revokeTrust,
  type ProjectConfig,
} from "../config/trust.ts";
import { OmkError } from "../errors.ts";
import { createRedactor } from "../store/redact.ts";
import type { App } from "./app.ts";
import { configuredLines, withoutSecrets } from "./configured.ts";

/** Flags of the command. */
export interface TrustFlags {
  show: boolean;
  revoke: boolean;
  list: boolean;
  json: boolean;
}

/** Trusts a project, shows it without trusting, forgets it, or lists what is trusted. */
export async function trustCommand(app: App, dir: string | undefined, flags: TrustFlags): Promise<void> {
  if ([flags.show, flags.revoke, flags.list].filter(Boolean).length > 1 || (flags.list && dir !== undefined))
    throw new OmkError("usage.invalid", "--show, --revoke and --list are asked for one at a time.");
  if (flags.list) return list(app, flags.json);
  const projectDir = resolve(app.io.cwd(), dir ?? ".");
  return flags.revoke ? revoke(app, projectDir, flags.json) : trust(app, projectDir, flags);
}

async function trust(app: App, projectDir: string, flags: TrustFlags): Promise<void> {
  const { world } = app;
  const root = app.root();
  const { project, path, file, bytes } = readForTrust(projectDir, world);
  const before = standing(projectConfig({ projectDir: project, root }, world));
  const redactor = createRedactor({ environment: app.io.env });
  const does = configuredLines(file.config).map((line) => redactor.text(line));
  const kept = flags.show ? undefined : await recordTrust(bytes, { ...world, root, uid: app.uid });
  const answer = {
    project,
    config: path,
    state: flags.show ? before : "trusted",
    trusted_at: kept?.trusted_at ?? null,
    config_sha256: bytes.config_sha256,
    commands: bytes.commands,
    unknown_keys: file.unknownKeys,
    configuration: redactor.value(withoutSecrets(file.config)),
  };
  const unknown = file.unknownKeys.map((key) => `unknown key, ignored: ${key}`);
  const end = flags.show
    ? before === "trusted"
      ? "It is trusted."
      : `It is ${before === "changed" ? "no longer trusted, since it changed" : "not trusted"}: nothing of it is used.`
    : "Trusted, until this file or the file of one of these hooks changes.";
  app.output.result(
    answer,
    () => [path, ...[...does, ...unknown].map((line) => `  ${line}`), end].join("\n"),
    flags.json,
  );
}

async function revoke(app: App, projectDir: string, json: boolean): Promise<void> {
  const { project, wasTrusted } = await revokeTrust(projectDir, { ...app.world, root: app.root() });
  app.output.result(
    { project, state: "untrusted", was_trusted: wasTrusted },
    () => (wasTrusted ? `${project} is no longer trusted.` : `${project} was not trusted.`),
    json,
  );
}

function list(app: App, json: boolean): void {
  const root = app.root();
  const projects = listTrust(root, app.world).map(({ project, trusted_at }) => ({
    project,
    state: standing(projectConfig({ projectDir: project, root }, app.world)),
    trusted_at,
  }));
  app.output.result(
    projects,
    (rows) =>
      rows.length === 0
        ? "No project is trusted."
        : rows.map((row) => `${row.state.padEnd(8)} ${row.trusted_at} ${row.project}`).join("\n"),
    json,
  );
}

/** In one word; `gone` where there is no configuration any more. */
function standing({ state }: ProjectConfig): "gone" | Exclude<ProjectConfig["state"], "none"> {
  return state === "none" ? "gone" : state;
}
