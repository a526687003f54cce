/** Everything in a repository that makes git run something: planted, each leaving a mark of its own when it runs. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

/** A program that leaves its name and arguments behind when it is run. Gone when the test ends. */
export class Trap implements Disposable {
  readonly folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "trap-"));
  readonly script = path.join(this.folder, "evil.sh");
  /** A folder of hooks, one of each name. */
  readonly hooks = path.join(this.folder, "hooks");
  readonly #mark = path.join(this.folder, "ran");

  constructor() {
    // It passes on what it is given, as a filter would, so that nothing fails and hides what comes after.
    const text = `#!/bin/sh\necho "$0 $*" >>'${this.#mark}'\ncat\n`;
    fs.writeFileSync(this.script, text, { mode: 0o755 });
    fs.mkdirSync(this.hooks);
    this.plantHooks(this.hooks);
  }

  plantHooks(folder: string): void {
    fs.mkdirSync(folder, { recursive: true });
    for (const name of HOOKS) fs.copyFileSync(this.script, path.join(folder, name));
  }

  /** A setting's value with the program and the folder of hooks in their places. */
  in(value: string): string {
    return value.replaceAll("EVIL", this.script).replaceAll("HOOKS", this.hooks);
  }

  /** What ran so far, a line each. */
  marks(): string[] {
    return fs.existsSync(this.#mark) ? fs.readFileSync(this.#mark, "utf8").trimEnd().split("\n") : [];
  }

  /** Forgets what ran. */
  reset(): void {
    fs.rmSync(this.#mark, { force: true });
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

const HOOKS =
  "applypatch-msg commit-msg fsmonitor-watchman p4-changelist p4-post-changelist p4-pre-submit p4-prepare-changelist post-applypatch post-checkout post-commit post-index-change post-merge post-receive post-rewrite post-update pre-applypatch pre-auto-gc pre-commit pre-merge-commit pre-push pre-rebase pre-receive prepare-commit-msg proc-receive push-to-checkout reference-transaction sendemail-validate update".split(
    " ",
  );

/** What each setting is taken for, its key, and its value: EVIL stands for the program, HOOKS for a folder of them. */
export const EVIL_SETTINGS: readonly (readonly [kind: string, key: string, value: string])[] = [
  ["hook_path", "core.hooksPath", "HOOKS"],
  ["fsmonitor", "core.fsmonitor", "EVIL"],
  ["filter", "filter.evil.clean", "EVIL"],
  ["filter", "filter.evil.smudge", "EVIL"],
  ["filter", "filter.evil.process", "EVIL"],
  ["filter", "filter.evil.required", "true"],
  ["filter", "filter.lfs.clean", "EVIL"],
  ["filter", "filter.lfs.smudge", "EVIL"],
  ["merge_driver", "merge.evil.driver", "EVIL %O %A %B"],
  ["merge_driver", "merge.default", "evil"],
  ["diff_driver", "diff.evil.textconv", "EVIL"],
  ["diff_driver", "diff.evil.command", "EVIL"],
  ["diff_driver", "diff.external", "EVIL"],
  ["alias", "alias.status", "!EVIL"],
  ["alias", "alias.merge-tree", "!EVIL"],
  ["credential_helper", "credential.helper", "!EVIL"],
  ["credential_helper", "credential.https://example.org.helper", "EVIL"],
  ["ssh_command", "core.sshCommand", "EVIL"],
  ["program", "core.editor", "EVIL"],
  ["program", "core.pager", "EVIL"],
  ["program", "core.askPass", "EVIL"],
  ["program", "core.gitProxy", "EVIL"],
  ["program", "core.alternateRefsCommand", "EVIL"],
  ["program", "sequence.editor", "EVIL"],
  ["program", "interactive.diffFilter", "EVIL"],
  ["program", "pager.diff", "EVIL"],
  ["program", "gpg.program", "EVIL"],
  ["program", "gpg.ssh.defaultKeyCommand", "EVIL"],
  ["program", "uploadpack.packObjectsHook", "EVIL"],
  ["program", "init.templateDir", "HOOKS"],
  ["program", "remote.origin.uploadpack", "EVIL"],
  ["program", "remote.origin.receivepack", "EVIL"],
  ["program", "remote.evil.url", "ext::EVIL"],
  ["program", "remote.evil.vcs", "evil"],
  ["program", "url.ext::EVIL .insteadOf", "https://"],
  ["program", "protocol.ext.allow", "always"],
  ["program", "submodule.lib.update", "!EVIL"],
  ["program", "difftool.evil.cmd", "EVIL"],
  ["program", "mergetool.evil.path", "EVIL"],
  ["program", "browser.evil.cmd", "EVIL"],
  ["program", "trailer.evil.command", "EVIL"],
  ["program", "lfs.customtransfer.evil.path", "EVIL"],
  ["hook", "hook.evil.command", "EVIL"],
  ["include", "include.path", "/nowhere"],
  ["include", "includeIf.gitdir:/.path", "/nowhere"],
];

/** What makes git use them. */
const SWITCHES: readonly (readonly [key: string, value: string])[] = [
  ["commit.gpgSign", "true"],
  ["tag.gpgSign", "true"],
  ["push.gpgSign", "if-asked"],
  ["log.showSignature", "true"],
  ["gc.auto", "1"],
  ["maintenance.auto", "true"],
  ["submodule.recurse", "true"],
  ["core.autocrlf", "true"],
  ["diff.submodule", "diff"],
  ["core.worktree", "HOOKS"],
  ["remote.origin.url", "https://github.com/acme/widget.git"],
  ["hook.evil.event", "post-index-change"],
];

/** Attributes that ask for the planted filters and drivers. */
export const EVIL_ATTRIBUTES = "* filter=evil diff=evil merge=evil ident text eol=crlf\n";

/** Files of a work tree that lead git, or what works beside it, to the planted settings. */
export const EVIL_FILES: Readonly<Record<string, string>> = {
  ".gitattributes": EVIL_ATTRIBUTES,
  "deep/.gitattributes": EVIL_ATTRIBUTES,
  ".lfsconfig": '[lfs]\n\turl = "ext::evil"\n[lfs "customtransfer.evil"]\n\tpath = ./evil.sh\n',
};

/** A shell script that an agent may run to plant all of it once more: in its own folder, and in a repository it can reach. */
export function plantingScript(trap: Trap, project: string): string {
  const script = path.join(trap.folder, "plant.sh");
  const included = path.join(trap.folder, "included");
  const lines = [
    "#!/bin/sh",
    `for own in "$PWD/.git" '${project}/.git'; do`,
    '  test -d "$own" || continue',
    `  cat '${included}' >>"$own/config"`,
    `  mkdir -p "$own/hooks" "$own/info"; cp '${trap.hooks}'/* "$own/hooks/"`,
    `  printf '%s' '${EVIL_ATTRIBUTES}' >"$own/info/attributes"`,
    "done",
    "mkdir -p planted; printf '%s' '* filter=evil diff=evil merge=evil' >planted/.gitattributes",
    "echo planted >planted/a.txt",
    "",
  ];
  fs.writeFileSync(script, lines.join("\n"), { mode: 0o755 });
  return script;
}

/** Adds all settings to a configuration file, and once more to one that it includes. */
export function plantSettings(file: string, trap: Trap): void {
  const sections = [...EVIL_SETTINGS.map(([, key, value]) => [key, value] as const), ...SWITCHES].map(
    ([key, value]) => settingText(trap.in(key), trap.in(value)),
  );
  const included = path.join(trap.folder, "included");
  fs.writeFileSync(included, sections.join(""));
  const attributes = path.join(trap.folder, "attributes");
  fs.writeFileSync(attributes, EVIL_ATTRIBUTES);
  sections.push(settingText("core.attributesFile", attributes), settingText("include.path", included));
  sections.push(settingText("includeIf.gitdir:/.path", included));
  fs.appendFileSync(file, sections.join(""));
}

/** A setting as configuration files have it. */
export function settingText(key: string, value: string): string {
  const first = key.indexOf(".");
  const last = key.lastIndexOf(".");
  const sub = first === last ? "" : ` "${key.slice(first + 1, last)}"`;
  return `[${key.slice(0, first)}${sub}]\n\t${key.slice(last + 1)} = ${JSON.stringify(value)}\n`;
}

/** Hooks of every name and attributes, in a git directory; settings are not touched. */
export function plantInGitDir(gitDir: string, trap: Trap): void {
  trap.plantHooks(path.join(gitDir, "hooks"));
  fs.mkdirSync(path.join(gitDir, "info"), { recursive: true });
  fs.writeFileSync(path.join(gitDir, "info", "attributes"), EVIL_ATTRIBUTES);
}
