/** What programs that reach the network are told of the caller's environment: where logins, keys and proxies are. */

const NAMES = new Set([
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "TMPDIR",
  "SSH_AUTH_SOCK",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  // Where desktops keep the keyring.
  "DBUS_SESSION_BUS_ADDRESS",
  "XDG_RUNTIME_DIR",
  "XDG_CONFIG_HOME",
  "XDG_CACHE_HOME",
  "XDG_DATA_HOME",
  "XDG_STATE_HOME",
  "GH_CONFIG_DIR",
  "GH_TOKEN",
  "GITHUB_TOKEN",
  "GH_ENTERPRISE_TOKEN",
  "GITHUB_ENTERPRISE_TOKEN",
]);
const PROXY = /^(?:https?|all|no)_proxy$/i;

/** The part of the caller's environment that such a program gets, with messages in English. */
export function outsideEnvironment(
  caller: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(caller)) {
    if (value !== undefined && (NAMES.has(name) || PROXY.test(name))) kept[name] = value;
  }
  return { PATH: "/usr/bin:/bin", ...kept, LC_ALL: "C" };
}
