/**
 * Looks for secrets in what a change adds: the redactor's families and assignments, plain passwords in configuration
 * files, names of files that hold keys, and links that lead out of the project. No value is kept or told.
 */
import { createHash } from "node:crypto";
import { posix } from "node:path";

import type { ReviewFinding } from "../format/proof.ts";
import type { TreeChange, WorkTree } from "../git/work-tree.ts";
import type { Redactor } from "../store/redact.ts";
import { NONE_ALLOWED, type IsAllowed } from "./allowed-secrets.ts";
import { addedLines, shownFiles, type AddedLine } from "./patch.ts";
import { findingId, MORE_FOUND } from "./review-findings.ts";

const FINDINGS_MAX = 100;
/** A file that the patch does not show is searched up to this size, */
const FILE_BYTES_MAX = 4 * 1024 * 1024;
/** and all of them together up to this. */
const FILES_BYTES_MAX = 128 * 1024 * 1024;

type TextRedactor = Pick<Redactor, "text">;
type Patch = { text: string; truncated: boolean };

/** What a change adds, and where the rest of it can be read. */
interface ScannedChange {
  tree: Pick<WorkTree, "readAll">;
  base: string;
  result: string;
  changes: readonly TreeChange[];
  patch: Patch;
}

/** Scans a change wherever it is: shown lines, binary files, what the patch was cut off before, names and links. */
export async function scanChange(
  change: ScannedChange,
  redactor: TextRedactor,
  isAllowed: IsAllowed,
  signal: AbortSignal,
): Promise<ReviewFinding[]> {
  const { changes, patch } = change;
  const there = changes.filter(({ kind }) => kind !== "deleted");
  const links = new Set(there.filter(({ new_mode }) => new_mode === "120000").map(({ path }) => path));
  const findings = scanNames(there, redactor, isAllowed);
  const shown = shownFiles(patch.text);
  // The last file that a cut patch shows was not seen whole.
  const last = patch.truncated ? [...shown].at(-1) : undefined;
  const shownWhole = function* (): Iterable<AddedLine> {
    for (const added of addedLines(patch.text)) if (added.path !== last) yield added;
  };
  findings.push(...scanLines(shownWhole(), redactor, isAllowed), ...scanLinks(shownWhole(), links));
  const unseen = there.filter(
    ({ path, new_mode }) => (!shown.has(path) || path === last) && new_mode?.startsWith("100") === true,
  );
  findings.push(...(await scanUnseen(unseen, change, redactor, isAllowed, signal)));
  return limited(unique(findings));
}

/** As many as are listed. Where there are more, nobody has seen those, so one that nobody can let pass says so. */
function limited(findings: readonly ReviewFinding[]): ReviewFinding[] {
  if (findings.length <= FINDINGS_MAX) return [...findings];
  const more: ReviewFinding = {
    id: findingId(MORE_FOUND, "", ""),
    path: "",
    line: null,
    kind: MORE_FOUND,
    severity: "critical",
    confidence: 1,
    text: `there are more than these ${FINDINGS_MAX}, and they cannot be let pass unseen: take secrets out first`,
  };
  return [...findings.slice(0, FINDINGS_MAX), more];
}

/** Scans the added lines of a unified diff; one that was cut off is a finding itself: the rest was not seen. */
export function scanChanges(
  patch: Patch,
  redactor: TextRedactor,
  isAllowed: IsAllowed = NONE_ALLOWED,
): ReviewFinding[] {
  const findings = limited(scanLines(addedLines(patch.text), redactor, isAllowed));
  return patch.truncated ? [...findings, oversized("(the rest of the change)")] : findings;
}

/** One finding at most for each line, and one more than are listed. */
function scanLines(
  lines: Iterable<AddedLine>,
  redactor: TextRedactor,
  isAllowed: IsAllowed,
): ReviewFinding[] {
  const findings: ReviewFinding[] = [];
  for (const { path, line, text } of lines) {
    const found = secretIn(text, path, redactor);
    if (!found || passes(found, path, text, isAllowed)) continue;
    findings.push(secretFinding(path, line, found, redactor));
    if (findings.length > FINDINGS_MAX) break;
  }
  return findings;
}

/**
 * Scans a whole file that is no text: neither zero bytes nor two bytes for each letter hide a secret from the scan. It has
 * no lines, so all secrets of one kind in it are one finding.
 */
export function scanBinary(
  path: string,
  bytes: Buffer,
  redactor: TextRedactor,
  isAllowed: IsAllowed = NONE_ALLOWED,
): ReviewFinding[] {
  const plain = bytes.toString("latin1");
  const digest = createHash("sha256").update(bytes).digest("hex");
  // Without the zeros, UTF-16 reads as plain text does.
  const views = [plain.replaceAll("\0", "\n"), ...(plain.includes("\0") ? [plain.replaceAll("\0", "")] : [])];
  const findings = new Map<string, ReviewFinding>();
  for (const text of views) {
    for (const one of text.split("\n")) {
      const found = secretIn(one, path, redactor);
      if (!found || passes(found, path, one, isAllowed)) continue;
      // Its lines are none, so the whole file tells what was found from what is found when it is another.
      const finding = secretFinding(path, null, { ...found, rest: digest }, redactor);
      findings.set(finding.id, finding);
    }
  }
  return [...findings.values()];
}

/** Files that the patch does not show: binary ones, and those behind its end. */
async function scanUnseen(
  unseen: readonly TreeChange[],
  { tree, base, result }: ScannedChange,
  redactor: TextRedactor,
  isAllowed: IsAllowed,
  signal: AbortSignal,
): Promise<ReviewFinding[]> {
  const findings: ReviewFinding[] = [];
  let left = FILES_BYTES_MAX;
  const changed = unseen.filter(({ kind }) => kind !== "added");
  const afters = tree.readAll(result, pathsOf(unseen), FILE_BYTES_MAX, signal);
  const befores = tree.readAll(base, pathsOf(changed), FILE_BYTES_MAX, signal);
  for (const { path, kind } of unseen) {
    if (findings.length > FINDINGS_MAX) break;
    const read = left > 0 ? (await afters.next()).value?.bytes : undefined;
    const before = left > 0 && kind !== "added" ? (await befores.next()).value?.bytes : undefined;
    if (!read) {
      findings.push(oversized(path));
      continue;
    }
    left -= read.length;
    const bytes = Buffer.from(read);
    if (bytes.includes(0)) findings.push(...scanBinary(path, bytes, redactor, isAllowed));
    else findings.push(...scanLines(newLines(path, before, bytes), redactor, isAllowed));
  }
  return findings;
}

function pathsOf(changes: readonly TreeChange[]): string[] {
  return changes.map(({ path }) => path);
}

/** The lines that were not in the file before, wherever they stood. */
function* newLines(path: string, before: Uint8Array | undefined, after: Buffer): Iterable<AddedLine> {
  const old = new Set(before ? Buffer.from(before).toString("utf8").split("\n") : []);
  for (const [at, text] of after.toString("utf8").split("\n").entries()) {
    if (!old.has(text)) yield { path, line: at + 1, text };
  }
}

// ---- What a line holds

/** A secret in a line: its kind, the values as they stand there, and the line without them. */
interface Found {
  kind: string;
  values: string[];
  rest: string;
}

function secretIn(text: string, path: string, redactor: TextRedactor): Found | undefined {
  // A mark that was there before is no finding.
  const plain = text.replaceAll("[REDACTED:", "[redacted:");
  const redacted = redactor.text(plain);
  const kind = /\[REDACTED:([^\]]+)\]/.exec(redacted)?.[1];
  if (kind !== undefined) return { kind, values: valuesOf(plain, redacted), rest: redacted };
  const value = CONFIGURATION.test(path) ? plainPassword(plain, path) : undefined;
  if (value === undefined) return undefined;
  return { kind: "assignment", values: [value], rest: plain.replace(value, "[REDACTED:assignment]") };
}

/** The first line is all that is seen of a private key, and that of all others: only its path tells it from them. */
function passes({ kind, values }: Found, path: string, text: string, isAllowed: IsAllowed): boolean {
  return isAllowed(path, kind === "private-key" ? undefined : text, values);
}

/** What stood where the marks are: between the pieces that both have. */
function valuesOf(plain: string, redacted: string): string[] {
  const pieces = redacted.split(/\[REDACTED:[^\]]+\]/);
  const values: string[] = [];
  let at = pieces[0]?.length ?? 0;
  for (const [index, piece] of pieces.slice(1).entries()) {
    const isLast = index === pieces.length - 2;
    const end = isLast ? plain.length - piece.length : piece === "" ? at : plain.indexOf(piece, at);
    if (end < at) return values;
    values.push(plain.slice(at, end));
    at = end + piece.length;
  }
  return values;
}

/** Files that hold settings, where a password is no expression of a program. */
const CONFIGURATION =
  /(?:^|\/)(?:\.env(?:\.[\w.-]+)?|[^/]+\.(?:env|ini|cfg|conf|properties|toml|ya?ml|tfvars)|\.npmrc|\.pypirc|\.netrc|credentials)$/i;
/** In translations a password is a word. */
const TRANSLATIONS = /(?:^|\/)(?:locales?|i18n|l10n|lang|languages|translations?)\//i;
const SETTING =
  /^[\s"'-]{0,64}(?:export[ \t]{1,8})?([A-Za-z][\w.-]{0,127})["']?[ \t]{0,8}[:=][ \t]{0,8}(\S.*)$/;
const PASSWORD_NAME = /(?:^|[_.-]|[a-z](?=P))(?:password|passwd|passphrase|pwd|Password|Passphrase)$/i;
const STANDS_FOR_ONE =
  /^(?:[$%<{[*!@&|>]|x+$|\.\.\.|your|change.?me|example|dummy|placeholder|redacted|todo|null$|none$|true$|false$|required$|optional$|disabled$|string$|password$|postgres$|secret$)|\$[{(]|\{\{|^ENC\[|:\/\/|^\.{0,2}\//i;

/** An unquoted or plain password that the redactor leaves alone, since in a program it would be a name. */
function plainPassword(text: string, path: string): string | undefined {
  const [, name = "", rest = ""] = SETTING.exec(text.slice(0, 1_024)) ?? [];
  if (!PASSWORD_NAME.test(name) || TRANSLATIONS.test(path)) return undefined;
  const quoted = /^(["'])([^"']{8,512})\1/.exec(rest)?.[2];
  const value = quoted ?? /^[^\s#,;"']{8,512}(?=\s*(?:[#;,].*)?$)/.exec(rest)?.[0];
  if (value === undefined || STANDS_FOR_ONE.test(value) || /^\d{1,7}$/.test(value)) return undefined;
  // In YAML, words also describe a field.
  const isWord = /^[A-Za-z]+$/.test(value);
  if (isWord && /\.ya?ml$/i.test(path) && value.length < 12) return undefined;
  return quoted !== undefined && /\s/.test(value) && !/\d/.test(value) ? undefined : value;
}

const CRITICAL: ReadonlySet<string> = new Set(["private-key", "environment", "registered"]);

function secretFinding(
  path: string,
  line: number | null,
  { kind, rest }: Found,
  redactor: TextRedactor,
): ReviewFinding {
  const shownPath = redactor.text(path);
  return {
    // The line without the value tells secrets of one kind apart, and nobody can guess a value from it.
    id: findingId(kind, shownPath, rest.trim()),
    path: shownPath,
    line,
    kind,
    severity: CRITICAL.has(kind) ? "critical" : "high",
    confidence: kind === "assignment" ? 0.8 : 0.95,
    text: TEXTS[kind] ?? "what looks like a secret",
  };
}

const TEXTS: Readonly<Record<string, string>> = {
  environment: "the value of a secret variable of this machine's environment",
  assignment: "a secret is assigned to a name",
  "private-key": "a private key",
  "url-credentials": "a password in an address",
  bearer: "a bearer token",
  authorization: "the value of an authorization header",
};

// ---- Names and links

/** Files that are a secret as a whole. */
const KEY_FILE =
  /(?:^|\/)(?:id_(?:rsa|dsa|ecdsa|ed25519)|[^/]+\.(?:p12|pfx|jks|keystore|kdbx)|\.netrc|\.pgpass)$/i;

function scanNames(
  changes: readonly TreeChange[],
  redactor: TextRedactor,
  isAllowed: IsAllowed,
): ReviewFinding[] {
  const findings: ReviewFinding[] = [];
  for (const { path, kind } of changes) {
    const found = secretIn(path, "", redactor);
    if (found && !passes(found, path, path, isAllowed)) {
      const finding = secretFinding(path, null, found, redactor);
      findings.push({ ...finding, text: `the name of the file: ${finding.text}` });
    }
    if (kind !== "added" || !KEY_FILE.test(path) || isAllowed(path, undefined, [])) continue;
    findings.push({
      id: findingId("key_file", redactor.text(path), ""),
      path: redactor.text(path),
      line: null,
      kind: "key_file",
      severity: "medium",
      confidence: 0.7,
      text: "a file of this name usually holds keys or passwords",
    });
  }
  return findings;
}

/** The content of a link is where it leads to. */
function scanLinks(lines: Iterable<AddedLine>, links: ReadonlySet<string>): ReviewFinding[] {
  const findings: ReviewFinding[] = [];
  if (links.size === 0) return findings;
  for (const { path, text } of lines) {
    if (!links.has(path)) continue;
    const target = posix.normalize(posix.join(posix.dirname(path), text));
    const leaves = text.startsWith("/") || target === ".." || target.startsWith("../");
    if (!leaves) continue;
    findings.push({
      id: findingId("symlink_escape", path, ""),
      path,
      line: null,
      kind: "symlink_escape",
      severity: "high",
      confidence: 1,
      text: "a link that leads out of the project",
    });
  }
  return findings;
}

function oversized(path: string): ReviewFinding {
  return {
    id: findingId("oversized_file", path, ""),
    path,
    line: null,
    kind: "oversized_file",
    severity: "medium",
    confidence: 0,
    text: "too large to be searched for secrets: a person has to look at it",
  };
}

function unique(findings: readonly ReviewFinding[]): ReviewFinding[] {
  const seen = new Set<string>();
  return findings.filter(({ id, line }) => {
    const key = `${id} ${line}`;
    return !seen.has(key) && seen.add(key);
  });
}
