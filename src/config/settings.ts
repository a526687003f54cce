/** The configuration that holds in a project: the user's own, and what the project adds once it is trusted. */
import { Config, type Hook } from "../format/config.ts";

/** A hook, with the folder its command is relative to. */
export interface TrustedHook extends Hook {
  folder: string;
}

/** What holds in one project. */
export interface Settings extends Omit<Config, "hooks"> {
  hooks: TrustedHook[];
  /** What the user should hear about it, e.g. that the project's configuration is not trusted and was left out. */
  notices: string[];
}

/** What holds where nobody has configured anything. */
export function defaultSettings(): Settings {
  return { ...Config.parse({}), hooks: [], notices: [] };
}
