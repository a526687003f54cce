/** `omk config`: what is configured, whether it can be understood, and one key set without touching the rest. */
import { dirname, join, resolve } from "node:path";

import { setKey } from "../config/edit.ts";
import { parseConfig } from "../config/file.ts";
import {
  configPlaces,
  isUsersOwn,
  leftOut,
  loadSettings,
  userConfig,
  type ConfigPlaces,
} from "../config/settings.ts";
import { projectConfig, readForTrust } from "../config/trust.ts";
import { isEngineName, PRESETS } from "../engine/presets.ts";
import { OmkError } from "../errors.ts";
import { ensureFolder, replaceFile } from "../store/files.ts";
import { createRedactor } from "../store/redact.ts";
import type { App } from "./app.ts";
import { configuredLines, policyName, withoutSecrets } from "./configured.ts";

/** Shows what holds in this directory, and where it comes from. */
export function configShowCommand(app: App, flags: { json: boolean }): void {
  const { world, io } = app;
  const root = app.root();
  const projectDir = io.cwd();
  const places = configPlaces(io.env);
  const { notices, ...settings } = loadSettings({ projectDir, root, places }, world);
  const { path: config } = userConfig(places, world);
  const project = isUsersOwn(projectDir, places, world.disk)
    ? undefined
    : projectConfig({ projectDir, root }, world);
  const redactor = createRedactor({ environment: io.env });
  const answer = {
    paths: {
      config,
      state: root,
      data: xdg(app, "DATA", ".local/share"),
      cache: xdg(app, "CACHE", ".cache"),
    },
    project: project === undefined ? null : { config: project.path, state: project.state },
    settings: redactor.value(withoutSecrets(settings)),
    notices,
  };
  const { engine, approval_policy: policy, approval_timeout_secs, approval_on_timeout, ...others } = settings;
  const lists = [
    ["extra_skill_dirs", settings.extra_skill_dirs ?? []],
    ["registries", settings.registries ?? []],
  ] as const;
  const lines = [
    "omk Configuration",
    "",
    "Paths:",
    `  Config: ${config || "(none: HOME is not set)"}`,
    `  State: ${root}`,
    `  Data: ${answer.paths.data}`,
    `  Cache: ${answer.paths.cache}`,
    ...(project && project.state !== "none" ? [`  Project: ${project.path} (${project.state})`] : []),
    "",
    "Settings:",
    `  default_team_size: ${settings.default_team_size ?? 2}`,
    `  default_yolo: ${settings.default_yolo ?? false}`,
    `  enable_metrics: ${settings.enable_metrics ?? true}`,
    `  kimi_binary: ${settings.kimi_binary ?? "(auto-detect)"}`,
    `  engine: ${engine ?? "auto"}`,
    `  approval.policy: ${policyName(policy ?? "workspace")}`,
    `  approval.timeout: ${Number(approval_timeout_secs ?? 300)}s`,
    `  approval.on_timeout: ${approval_on_timeout ?? "(reject with a terminal, block without)"}`,
    ...lists.flatMap(([name, items]) =>
      items.length === 0 ? [] : [`  ${name}:`, ...items.map((item) => `    - ${item}`)],
    ),
    ...configuredLines({
      ...others,
      engine: undefined,
      approval_policy: undefined,
      approval_timeout_secs: undefined,
      approval_on_timeout: undefined,
    }).map((line) => `  ${line}`),
    ...notices.map((notice) => `\n${notice}`),
  ];
  app.output.result(answer, () => redactor.text(lines.join("\n")), flags.json);
}

/** Checks the user's file and that of the project in this directory, trusted or not; exit status 78 when one is broken. */
export function configValidateCommand(app: App, flags: { json: boolean }): void {
  const { world, io } = app;
  const root = app.root();
  const places = configPlaces(io.env);
  const checks: { file: string; state: "valid" | "absent" | "invalid"; problem?: string; notes: string[] }[] =
    [];
  const check = (file: string, read: () => { unknownKeys: string[]; notes: string[] } | undefined) => {
    try {
      const found = read();
      const unknown = found?.unknownKeys.map((key) => `unknown key, ignored: ${key}`) ?? [];
      checks.push({ file, state: found ? "valid" : "absent", notes: [...unknown, ...(found?.notes ?? [])] });
    } catch (error) {
      if (!(error instanceof OmkError) || error.code !== "config.invalid") throw error;
      checks.push({ file, state: "invalid", problem: error.message, notes: [] });
    }
  };
  check(places?.configFile ?? "(none: HOME is not set)", () => {
    const { file, notices } = userConfig(places, world);
    return file && { unknownKeys: file.unknownKeys, notes: notices };
  });
  const projectDir = io.cwd();
  if (!isUsersOwn(projectDir, places, world.disk)) {
    const path = join(projectDir, ".omk", "config.toml");
    check(path, () => {
      const project = projectConfig({ projectDir, root }, world);
      if (project.state === "none") return undefined;
      if (project.state === "trusted") return { unknownKeys: project.file.unknownKeys, notes: [] };
      const notes = [leftOut(project)];
      // Validating is the one thing that is done with what is not trusted; a link is not even read.
      return world.disk.stat(path)?.kind === "file"
        ? { unknownKeys: readForTrust(projectDir, world).file.unknownKeys, notes }
        : { unknownKeys: [], notes };
    });
  }
  const issues = checks.filter(({ state }) => state === "invalid").length;
  if (issues > 0) app.exitStatus = new OmkError("config.invalid", "").exitStatus;
  app.output.result(
    { valid: issues === 0, files: checks },
    () =>
      [
        "Validating omk configuration",
        ...checks.flatMap(({ file, state, problem, notes }) => [
          state === "invalid" ? `✗ ${problem}` : `${state === "valid" ? "✓" : "-"} ${file}: ${state}`,
          ...notes.map((note) => `  ${note}`),
        ]),
        issues === 0 ? "Configuration is valid" : `Found ${issues} issue(s)`,
      ].join("\n"),
    flags.json,
  );
}

/** Prints the path of the user's configuration file: of the one that is read, or the one to make. */
export function configPathCommand(app: App, flags: { json: boolean }): void {
  const { path, exists } = userFile(app);
  app.output.result({ config: path, exists }, () => path, flags.json);
}

/** Sets one key of the user's file. Throws `usage.invalid` for other keys and values, `config.invalid`. */
export async function configSetCommand(
  app: App,
  key: string,
  value: string,
  flags: { json: boolean },
): Promise<void> {
  const { world } = app;
  const setting = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
  if (!setting) {
    throw new OmkError("usage.invalid", `Unknown config key: ${key}.`, {
      hint: `Keys that can be set: ${Object.keys(KEYS).join(", ")}. The others are edited in the file.`,
    });
  }
  const parsed = setting.parse(value, app);
  const { path, exists } = userFile(app);
  // A link stays one: what it leads to is replaced.
  const real = world.disk.realPath(path) ?? path;
  const text = exists ? parseConfig(world.disk.readFile(real), path).text : "";
  const edited = setKey(text, setting.key, parsed);
  if (edited === undefined) {
    throw new OmkError(
      "config.invalid",
      `${path}: ${setting.key} cannot be set there by changing one line.`,
      {
        hint: `Edit the file: ${setting.key} has a table, or a value of several lines.`,
      },
    );
  }
  checkEdited(edited, path, value);
  await ensureFolder(dirname(real), world);
  await replaceFile(real, edited, world);
  app.output.result({ key, value: parsed, config: path }, () => `✓ Set ${key} = ${value}`, flags.json);
}

/** The file was understood before, so what is wrong now is the value. */
function checkEdited(edited: string, path: string, value: string): void {
  try {
    parseConfig(Buffer.from(edited), path);
  } catch (error) {
    if (!(error instanceof OmkError)) throw error;
    throw new OmkError("usage.invalid", `${JSON.stringify(value)} cannot be set.`, { cause: error });
  }
}

interface Setting {
  /** In the file. */
  key: string;
  parse(text: string, app: App): unknown;
}

const KEYS: Readonly<Partial<Record<string, Setting>>> = {
  default_team_size: { key: "default_team_size", parse: (text) => whole(text, 1, 16) },
  default_yolo: { key: "default_yolo", parse: flag },
  enable_metrics: { key: "enable_metrics", parse: flag },
  kimi_binary: { key: "kimi_binary", parse: existing },
  engine: { key: "engine", parse: engineName },
  "approval.policy": { key: "approval_policy", parse: policy },
  "approval.timeout": { key: "approval_timeout_secs", parse: (text) => whole(text, 1, 30 * 24 * 3_600) },
  "approval.on_timeout": { key: "approval_on_timeout", parse: (text) => oneOf(text, ["reject", "block"]) },
};

function whole(text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new OmkError("usage.invalid", `${JSON.stringify(text)} is no whole number from ${min} to ${max}.`);
}

function flag(text: string): boolean {
  return oneOf(text, ["true", "false"]) === "true";
}

function oneOf(text: string, words: readonly string[]): string {
  if (words.includes(text)) return text;
  throw new OmkError("usage.invalid", `${JSON.stringify(text)} is none of ${words.join(", ")}.`);
}

function engineName(text: string): string {
  if (isEngineName(text)) return text.trim();
  throw new OmkError("usage.invalid", `${JSON.stringify(text)} names no engine.`, {
    hint: `Write auto, one of ${PRESETS.map(({ name }) => name).join(", ")}, or acp:, wire: or command: with a command line.`,
  });
}

function existing(text: string, app: App): string {
  const path = resolve(app.io.cwd(), text);
  if (app.world.disk.stat(path)) return path;
  throw new OmkError("usage.invalid", `There is no file ${path}.`);
}

/** As flags take it: one of the words, or `pattern:<regex>`. */
function policy(text: string): unknown {
  const pattern = /^pattern:(.+)$/s.exec(text)?.[1];
  if (pattern !== undefined) return { pattern: { patterns: [pattern] } };
  return oneOf(text, ["never", "safe", "workspace", "yolo"]);
}

/** The user's file, whether it can be understood or not. */
function userFile(app: App): { path: string; exists: boolean } {
  const places = placesOf(app);
  const exists = (path: string) => app.world.disk.realPath(path) !== undefined;
  const { configFile, legacyConfigFile } = places;
  if (exists(configFile)) return { path: configFile, exists: true };
  // Where only the old file is, that is the one in use: a new one beside it would hide it.
  if (legacyConfigFile !== undefined && exists(legacyConfigFile))
    return { path: legacyConfigFile, exists: true };
  return { path: configFile, exists: false };
}

function placesOf(app: App): ConfigPlaces {
  const places = configPlaces(app.io.env);
  if (places) return places;
  throw new OmkError("usage.invalid", "There is no place for the configuration: HOME is not set.", {
    hint: "Set HOME or XDG_CONFIG_HOME to an absolute path.",
  });
}

/** A folder of the XDG rules; nothing lies there yet. */
function xdg(app: App, kind: "DATA" | "CACHE", below: string): string {
  const named = app.io.env[`XDG_${kind}_HOME`];
  const base = named?.startsWith("/") === true ? named : join(app.io.env["HOME"] ?? "/", below);
  return join(base, "omk");
}
