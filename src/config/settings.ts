/** The configuration that holds in a project: the user's own, and what the project adds once it is trusted. */
import { dirname, join, resolve } from "node:path";

import { Config } from "../format/config.ts";
import type { Disk } from "../ports.ts";
import { parseConfig, readConfigBytes, type ConfigFile } from "./file.ts";
import { digestOfCommand, projectConfig, type ProjectConfig, type TrustedHook } from "./trust.ts";

export type { TrustedHook } from "./trust.ts";

/** The keys of a type that have names: a looseObject's type allows any. */
type Named<T> = { [Key in keyof T as string extends Key ? never : Key]: T[Key] };

/** What holds in one project. */
export interface Settings extends Omit<Named<Config>, "hooks"> {
  hooks: TrustedHook[];
  /** What the user should hear about it, e.g. that the project's configuration is not trusted and was left out. */
  notices: string[];
  /** Why no agent may work here: hooks that the user had trusted are not what they were. */
  guardGone?: string;
}

/** Where configuration lies. */
export interface ConfigPlaces {
  /** The user's own file. */
  configFile: string;
  /** Where old versions had it: read when the other is not there. */
  legacyConfigFile?: string;
}

/** What holds where nobody has configured anything. */
export function defaultSettings(): Settings {
  return { ...Config.parse({}), hooks: [], notices: [] };
}

/** Where the variables put the user's configuration. Relative ones count as unset, as the XDG base directory rules say. */
export function configPlaces(
  environment: Readonly<Record<string, string | undefined>>,
): ConfigPlaces | undefined {
  const absolute = (name: string) => {
    const value = environment[name];
    return value?.startsWith("/") === true ? value : undefined;
  };
  const home = absolute("HOME");
  const xdg = absolute("XDG_CONFIG_HOME") ?? (home && join(home, ".config"));
  if (xdg === undefined) return undefined;
  const configFile = join(xdg, "omk", "config.toml");
  return { configFile, ...(home && { legacyConfigFile: join(home, ".omk", "config.toml") }) };
}

/**
 * What holds in a project: defaults, over them the user's file, over that the project's if it is trusted. Hooks of both
 * run, and the names of variables add up. Throws `config.invalid`.
 */
export function loadSettings(
  request: { projectDir: string; root: string; places: ConfigPlaces | undefined },
  ports: { disk: Disk },
): Settings {
  const { disk } = ports;
  const user = userConfig(request.places, ports);
  const notices = [...user.notices];
  const project = isUsersOwn(request.projectDir, request.places, disk)
    ? undefined
    : projectConfig(request, ports);
  if (project?.state === "untrusted" || project?.state === "changed") notices.push(leftOut(project));
  const own = user.file?.config ?? Config.parse({});
  const userHooks = own.hooks.map((hook) => ownHook(hook, dirname(user.path), disk));
  if (project?.state === "changed" && project.hadHooks) {
    return { ...own, hooks: userHooks, notices, guardGone: leftOut(project) };
  }
  if (project?.state !== "trusted") return { ...own, hooks: userHooks, notices };
  const added = project.file.config;
  return {
    ...own,
    ...added,
    ...((own.review ?? added.review) && { review: joinedReview(own.review, added.review) }),
    roles: { ...own.roles, ...added.roles },
    prices: { ...own.prices, ...added.prices },
    mcp_servers: { ...own.mcp_servers, ...added.mcp_servers },
    env: [...new Set([...own.env, ...added.env])],
    hooks: [...userHooks, ...project.hooks],
    notices,
  };
}

/** Lists of what is allowed add up: the project's says nothing against the user's. */
function joinedReview(own: Config["review"], added: Config["review"]): NonNullable<Config["review"]> {
  const allowed = [...(own?.allowed_secrets ?? []), ...(added?.allowed_secrets ?? [])];
  return { ...own, ...added, ...(allowed.length > 0 && { allowed_secrets: allowed }) };
}

/** The user's file, or the old one with a notice; `file` is undefined where there is neither. */
export function userConfig(
  places: ConfigPlaces | undefined,
  ports: { disk: Disk },
): { path: string; file: ConfigFile | undefined; notices: string[] } {
  if (!places) return { path: "", file: undefined, notices: [] };
  const { configFile, legacyConfigFile } = places;
  const read = (path: string) => {
    // The user's own file may be a link: many keep such files in a repository elsewhere.
    const real = ports.disk.realPath(path);
    const bytes = real === undefined ? undefined : readConfigBytes(real, ports.disk);
    return bytes && parseConfig(bytes, path);
  };
  const file = read(configFile);
  if (file || legacyConfigFile === undefined) return { path: configFile, file, notices: [] };
  const legacy = read(legacyConfigFile);
  if (!legacy) return { path: configFile, file: undefined, notices: [] };
  const notice = `the configuration was read from ${legacyConfigFile}: move it to ${configFile}`;
  return { path: legacyConfigFile, file: legacy, notices: [notice] };
}

/** In the home directory the old place of the user's file is that of a project's. */
export function isUsersOwn(projectDir: string, places: ConfigPlaces | undefined, disk: Disk): boolean {
  const path = resolve(projectDir, ".omk", "config.toml");
  const real = disk.realPath(path) ?? path;
  return [places?.configFile, places?.legacyConfigFile].some(
    (own) => own !== undefined && (disk.realPath(own) ?? own) === real,
  );
}

/** The notice about a project's configuration that is not used. */
export function leftOut(project: Extract<ProjectConfig, { because: string }>): string {
  return `${project.path} is left out: ${project.because}. Read it, then run \`omk trust\` in the project.`;
}

/** A hook of the user's own. The file as it was at the start is the one that runs: agents could write to it. */
function ownHook(hook: Config["hooks"][number], folder: string, disk: Disk): TrustedHook {
  const named = resolve(folder, hook.command);
  const path = disk.realPath(named) ?? named;
  const digest = digestOfCommand(path, disk);
  return { ...hook, folder, path, sha256: typeof digest === "string" ? digest : null };
}
