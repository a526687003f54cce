/**
 * Which repository on GitHub a remote's URL names. The URL comes from the configuration of the user's repository, which
 * nobody vouches for: only known hosts are believed, so that no login is ever shown to another one, and what is handed
 * to git is put together anew from parts that were looked at.
 */
import { OmkError } from "../errors.ts";

/** A repository on GitHub, and how git reaches it. */
export interface GitHubRemote {
  /** The host of the web pages and the API, e.g. `github.com`. */
  host: string;
  owner: string;
  name: string;
  /** What git is given: without credentials, in the form it had, so that the user's own `url.*` settings apply. */
  url: string;
}

const USER = "[A-Za-z0-9_][A-Za-z0-9_.-]*";
const HOST = "[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?";
const HTTPS = new RegExp(`^(?:https?|git)://(?:[^/@]*@)?(${HOST})(:\\d{1,5})?/(.*)$`, "i");
const SSH = new RegExp(`^(?:git\\+)?ssh://(?:(${USER})@)?(${HOST})(:\\d{1,5})?/(.*)$`, "i");
/** `git@github.com:owner/name.git`; git takes a slash before the colon for a local path. */
const SCP = new RegExp(`^(?:(${USER})@)?(${HOST}):(?!/)(.*)$`);
const OWNER = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98})$/;
const NAME = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}$/;
const URL_CHARACTERS_MAX = 2_048;

/**
 * The repository that a URL names: https, ssh and scp-like forms of github.com, of `*.ghe.com`, and of the host that the
 * user named in `GH_HOST`. Undefined for everything else.
 */
export function parseRemote(url: string, enterpriseHost?: string): GitHubRemote | undefined {
  if (url.length > URL_CHARACTERS_MAX) return undefined;
  const https = HTTPS.exec(url);
  const [, user = "git", sshHost = "", sshPort = "", sshPath = ""] = (!https && SSH.exec(url)) || [];
  if (https) {
    const [, host = "", port = "", path = ""] = https;
    // A port is another server's; the plain protocols would show a login to everybody on the way.
    return port === "" || port === ":443"
      ? remoteOf(host, path, enterpriseHost, (where) => `https://${host.toLowerCase()}/${where}`)
      : undefined;
  }
  if (sshHost !== "") {
    const ssh = `ssh://${user}@${sshHost}${sshPort}/`;
    return remoteOf(sshHost, sshPath, enterpriseHost, (where) => `${ssh}${where}`);
  }
  const [, scpUser = "git", scpHost = "", path = ""] = SCP.exec(url) ?? [];
  return remoteOf(scpHost, path, enterpriseHost, (where) => `${scpUser}@${scpHost}:${where}`);
}

function remoteOf(
  given: string,
  path: string,
  enterpriseHost: string | undefined,
  urlOf: (where: string) => string,
): GitHubRemote | undefined {
  const host = apiHost(given.toLowerCase());
  const isKnown =
    host === "github.com" || host.endsWith(".ghe.com") || host === enterpriseHost?.trim().toLowerCase();
  const [owner = "", last = "", ...more] = path.replace(/\/$/, "").split("/");
  const name = last.replace(/\.git$/i, "");
  if (!isKnown || more.length > 0 || !OWNER.test(owner) || !NAME.test(name)) return undefined;
  return { host, owner, name, url: urlOf(`${owner}/${last}`) };
}

/** GitHub takes ssh over port 443 under a name of its own. */
function apiHost(host: string): string {
  return host === "ssh.github.com" || host === "www.github.com" ? "github.com" : host;
}

/** As `parseRemote`, for a remote that must be one on GitHub. `shown` is what the user calls it, e.g. `origin`. */
export function githubRemote(url: string, shown: string, enterpriseHost?: string): GitHubRemote {
  const remote = parseRemote(url, enterpriseHost);
  if (remote) return remote;
  throw new OmkError(
    "delivery.refused",
    `The remote ${shown} is no repository on GitHub: ${withoutCredentials(url)}`,
    {
      hint: "Pull requests need one on github.com; for GitHub Enterprise, set GH_HOST to its host. `--policy local` needs none.",
    },
  );
}

/** A URL as it may be shown. */
function withoutCredentials(url: string): string {
  return url.slice(0, 200).replace(/\/\/[^/@]*@/, "//");
}
