/**
 * Takes secrets out of everything omk stores, logs or sends: values it knows from the environment, tokens of known
 * families, private keys, credentials in URLs, and what stands assigned to a secret-looking name. What is taken out
 * becomes `[REDACTED:<kind>]`; doing it again changes nothing. Digests, object ids and UUIDs are left alone unless they
 * are a known secret. Every pattern starts at a place of its own and is bounded or runs over one class of characters, so
 * the time is linear in the text.
 */
import { NumberText } from "../format/json.ts";

/** Takes secrets out. The functions need no `this`. */
export interface Redactor {
  text(text: string): string;
  /** The same for a JSON value; whole values under secret-looking keys go. What holds no secret is returned as it is. */
  value(value: unknown): unknown;
  /** For text that comes in pieces: a secret cut in two is found. What is held back comes with `end`. */
  stream(): RedactingStream;
}

/** Pieces in, redacted pieces out. */
export interface RedactingStream {
  push(chunk: string): string;
  end(): string;
}

/** Makes a redactor that knows the secret-looking variables of an environment, and other secrets by their value. */
export function createRedactor(given: {
  environment: Readonly<Record<string, string | undefined>>;
  registered?: readonly string[];
}): Redactor {
  const known = knownSecrets(given.environment, given.registered ?? []);
  const text = (source: string) => (known.mayHold(source) ? redactText(source, known) : source);
  const keys = new KeyRule(text);
  return {
    text,
    value: (value) => redactValue(value, text, keys),
    stream: () => new TextStream(text, known),
  };
}

// ---- JSON values

function redactValue(value: unknown, text: (source: string) => string, keys: KeyRule): unknown {
  if (typeof value === "string") return text(value);
  if (typeof value !== "object" || value === null || value instanceof NumberText) return value;
  if (Array.isArray(value)) {
    let copy: unknown[] | undefined;
    for (const [at, item] of value.entries()) {
      const clean = redactValue(item, text, keys);
      if (clean !== item) (copy ??= [...value])[at] = clean;
    }
    return copy ?? value;
  }
  let changed = false;
  const entries: [string, unknown][] = [];
  for (const key of Object.keys(value)) {
    const item = (value as Record<string, unknown>)[key];
    const rule = keys.of(key);
    const clean = rule.secret ? redactWhole(item) : redactValue(item, text, keys);
    entries.push([rule.name, clean]);
    changed ||= clean !== item || rule.name !== key;
  }
  return changed ? Object.fromEntries(entries) : value;
}

/** A value under a secret-looking key; one that was redacted before stays as it is. */
function redactWhole(value: unknown): unknown {
  if (value === null || value === undefined) return value;
  return typeof value === "string" && /^\[REDACTED(?::[a-z-]+)?\]$/.test(value) ? value : mark("key");
}

const KEYS_REMEMBERED_MAX = 4_096;

/** What 0.5.0 takes for the name of a secret, remembered: keys repeat in every event. */
class KeyRule {
  readonly #text: (source: string) => string;
  readonly #seen = new Map<string, { secret: boolean; name: string }>();

  constructor(text: (source: string) => string) {
    this.#text = text;
  }

  of(key: string): { secret: boolean; name: string } {
    let rule = this.#seen.get(key);
    if (!rule) {
      rule = { secret: SECRET_KEY.test(key), name: this.#text(key) };
      if (this.#seen.size >= KEYS_REMEMBERED_MAX) this.#seen.clear();
      this.#seen.set(key, rule);
    }
    return rule;
  }
}

const SECRET_KEY = /^(?:api_key|apikey|token|password|secret)$|[_-](?:token|secret)$|authorization/i;

// ---- Text

/** What a mark may name. */
const KINDS = [
  "environment",
  "registered",
  "key",
  "assignment",
  "authorization",
  "bearer",
  "url-credentials",
  "private-key",
  "age-key",
  "atlassian-token",
  "aws-key-id",
  "azure-key",
  "databricks-token",
  "digitalocean-token",
  "docker-token",
  "github-token",
  "gitlab-token",
  "google-key",
  "huggingface-token",
  "jwt",
  "model-provider-key",
  "npm-token",
  "pypi-token",
  "sendgrid-key",
  "shopify-token",
  "slack-token",
  "stripe-key",
  "vault-token",
] as const;
type Kind = (typeof KINDS)[number];

function mark(kind: Kind): string {
  return `[REDACTED:${kind}]`;
}

/**
 * Tokens with a form of their own. The lookbehind keeps a match from starting inside a longer run, which is both what a
 * token is and what keeps the time linear.
 */
const FAMILIES: readonly { kind: Kind; pattern: RegExp; holds?: (match: string) => boolean }[] = [
  { kind: "github-token", pattern: /(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{22,})/g },
  {
    kind: "gitlab-token",
    pattern: /(?<![A-Za-z0-9])gl(?:pat|dt|rt|ptt|cbt|soat|ft|imt|agent|oas)-[\w-]{20,}/g,
  },
  { kind: "aws-key-id", pattern: /(?<![A-Za-z0-9])A(?:KIA|SIA|BIA|CCA)[0-9A-Z]{16}(?![A-Za-z0-9])/g },
  {
    kind: "slack-token",
    pattern: /(?<![A-Za-z0-9])(?:xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,})/g,
  },
  { kind: "slack-token", pattern: /(?<=hooks\.slack\.com\/services\/)[\w/]{20,200}/g },
  { kind: "stripe-key", pattern: /(?<![A-Za-z0-9])(?:[rs]k_(?:live|test)_|whsec_)[A-Za-z0-9]{16,}/g },
  { kind: "google-key", pattern: /(?<![A-Za-z0-9_-])(?:AIza[\w-]{35}|GOCSPX-[\w-]{20,}|ya29\.[\w-]{20,})/g },
  { kind: "npm-token", pattern: /(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36,}/g },
  { kind: "pypi-token", pattern: /(?<![A-Za-z0-9])pypi-AgE[\w-]{40,}/g },
  { kind: "jwt", pattern: /(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}/g },
  {
    kind: "model-provider-key",
    pattern: /(?<![\w-])(?:sk-[\w-]{20,}|gsk_\w{20,}|xai-[\w-]{20,}|pplx-[\w-]{20,}|r8_\w{20,})/g,
    // Names in style sheets and branch names begin like that, too; keys are long, or mix digits with capitals.
    holds: (match) => /\d/.test(match) && (/[A-Z]/.test(match) || match.length >= 40),
  },
  { kind: "huggingface-token", pattern: /(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}/g },
  { kind: "digitalocean-token", pattern: /(?<![A-Za-z0-9])do[opr]_v1_[0-9a-f]{64}/g },
  { kind: "databricks-token", pattern: /(?<![A-Za-z0-9])dapi[0-9a-f]{32}/g },
  { kind: "shopify-token", pattern: /(?<![A-Za-z0-9])shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}/g },
  { kind: "sendgrid-key", pattern: /(?<![A-Za-z0-9])SG\.[\w-]{16,}\.[\w-]{16,}/g },
  { kind: "docker-token", pattern: /(?<![A-Za-z0-9])dckr_pat_[\w-]{20,}/g },
  { kind: "atlassian-token", pattern: /(?<![A-Za-z0-9])ATATT3[\w=-]{20,}/g },
  { kind: "vault-token", pattern: /(?<![A-Za-z0-9])hv[sb]\.[\w-]{20,}/g },
  { kind: "age-key", pattern: /AGE-SECRET-KEY-1[0-9A-Z]{50,}/g },
  { kind: "azure-key", pattern: /(?<=AccountKey=)[A-Za-z0-9+/=]{40,}/g },
];

/** The same where the letter before is the end of an escape: `\\n`, `%0A`, `\\u000a` in JSON inside a string, or in a URL. */
const ESCAPED_FAMILIES = FAMILIES.map((family) => ({
  ...family,
  pattern: new RegExp(
    family.pattern.source.replace(
      /^\(\?<!(\[[^\]]+\])\)/,
      "(?:(?<!$1)|(?<=\\\\[bfnrt]|%[0-9A-Fa-f]{2}|\\\\u[0-9A-Fa-f]{4}))",
    ),
    family.pattern.flags,
  ),
}));

/** Where a family, a private key, or a URL with something before an `@` may begin. */
const MAY_HOLD_TOKEN =
  /gh[pousr]_|github_pat_|gl(?:pat|dt|rt|ptt|cbt|soat|ft|imt|agent|oas)-|A(?:KIA|SIA|BIA|CCA)|xox|xapp-|slack\.com|[rs]k_(?:live|test)_|whsec_|AIza|GOCSPX|ya29|npm_|pypi-|eyJ|(?:sk-|gsk_|xai-|pplx-|r8_|hf_)|_v1_|dapi|shp(?:at|ca|pa|ss)_|SG\.|dckr_|ATATT3|hv[sb]\.|AGE-SECRET|AccountKey|-----BEGIN|:\/\//;

const SECRET_WORDS =
  "api[_-]?key|secret(?:[_-]?key)?|token|authorization|passw(?:or)?d|passphrase|pwd|credentials?|(?:private|access|signing|encryption)[_-]?key";

/** A word after which a secret may be assigned, or an authorization header. */
const MAY_HOLD_ASSIGNMENT = new RegExp(`${SECRET_WORDS}|bearer`, "i");

/** More rounds than this never help: a round changes text only where a mark made a new beginning. */
const ROUNDS_MAX = 8;

function redactText(source: string, known: KnownSecrets): string {
  let text = source;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const before = text;
    text = known.redact(text);
    if (MAY_HOLD_TOKEN.test(text)) {
      text = redactPrivateKeys(text);
      for (const { kind, pattern, holds } of ESCAPED_FAMILIES) {
        text = text.replace(pattern, (match) => (holds && !holds(match) ? match : mark(kind)));
      }
      text = redactUrls(text);
    }
    if (MAY_HOLD_ASSIGNMENT.test(text)) text = redactAssignments(text);
    if (text === before) break;
  }
  return text;
}

// ---- Private keys

/** The longest private key that is looked for as one piece. */
const KEY_BLOCK_MAX = 64 * 1024;
const KEY_HEADER = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g;
const KEY_FOOTER = /-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g;
/** A line of a key, also in a diff, a comment or a string with escaped newlines: mostly base64, whatever surrounds it. */
const KEY_LINE = /[^A-Za-z0-9+/=\n]{0,16}[A-Za-z0-9+/=]{16,}[^A-Za-z0-9+/=\n]{0,16}(?:\n|\\[nr]|$)/y;

/** What is left of a key whose text ends within a line. */
const KEY_REST = /[^A-Za-z0-9+/=\n]{0,16}[A-Za-z0-9+/=]{24,}/y;

function redactPrivateKeys(text: string): string {
  if (!text.includes("PRIVATE KEY")) return text;
  const headers = [...text.matchAll(KEY_HEADER)];
  const footers = [...text.matchAll(KEY_FOOTER)];
  const parts: string[] = [];
  let done = 0;
  let nextFooter = 0;
  for (const [at, header] of headers.entries()) {
    const start = header.index + header[0].length;
    while ((footers[nextFooter]?.index ?? start) < start) nextFooter++;
    const footer = footers[nextFooter];
    const limit = Math.min(start + KEY_BLOCK_MAX, headers[at + 1]?.index ?? Infinity);
    const isWhole = footer !== undefined && footer.index < limit;
    parts.push(text.slice(done, header.index), mark("private-key"));
    done = isWhole ? footer.index + footer[0].length : endOfKeyLines(text, start);
  }
  return parts.length === 0 ? text : parts.join("") + text.slice(done);
}

/** Where a key without a footer ends: behind the lines that look like one. */
function endOfKeyLines(text: string, start: number): number {
  let end = start;
  KEY_LINE.lastIndex = text.startsWith("\n", start) ? start + 1 : start;
  while (KEY_LINE.test(text)) end = KEY_LINE.lastIndex;
  KEY_REST.lastIndex = end;
  if (KEY_REST.test(text)) return KEY_REST.lastIndex;
  // The newline behind the last line belongs to the text, not to the key.
  return end > start && text[end - 1] === "\n" ? end - 1 : end;
}

// ---- URLs

const URL_PASSWORD = /(?<=:\/\/[^\s/:@"'<>[]{0,128}:)[^\s/@"'<>]{1,512}(?=@)/g;
const URL_USER = /(?<=:\/\/)[^\s/:@"'<>]{20,512}(?=@)/g;

function redactUrls(text: string): string {
  if (!text.includes("://")) return text;
  const clean = (match: string) => (isPlaceholder(match) ? match : mark("url-credentials"));
  return text.replace(URL_PASSWORD, clean).replace(URL_USER, clean);
}

// ---- Assignments

const SEPARATOR = String.raw`\\?["'\x60]?[ \t]{0,8}(?::=|=>|[:=])[ \t]{0,8}`;
const QUOTED = new RegExp(
  `((?:${SECRET_WORDS})${SEPARATOR}(\\\\?["'\`]))([^"'\`\\s\\\\]{8,512})(?=\\\\?["'\`])`,
  "gi",
);
const BARE = new RegExp(
  `((?:${SECRET_WORDS})(${SEPARATOR}))([^\\s"'\`,;&(){}\\[\\]<>$|\\\\]{8,512})(?![\\w(]|\\[(?!REDACTED:))`,
  "gi",
);
const OPTION =
  /(--(?:[a-z0-9]{1,20}-){0,4}(?:token|password|passwd|secret|api-?key)[ \t]{1,8})([^\s"'`,;(){}[\]<>$|\\-][^\s"'`,;(){}[\]<>$|\\]{7,512})/gi;
const HEADER =
  /(authorization\\?["']?[ \t]{0,8}[:=][ \t]{0,8}\\?["']?(?:(?:basic|bearer|digest|negotiate|token)[ \t]{1,8}))([\w.~+/=-]{8,})/gi;
const BEARER = /(bearer\s{1,8})([\w.~+/=-]{20,})/gi;

function redactAssignments(text: string): string {
  return text
    .replace(HEADER, (_, before: string) => before + mark("authorization"))
    .replace(BEARER, (_, before: string) => before + mark("bearer"))
    .replace(QUOTED, (all, before: string, _quote, value: string) =>
      looksSecret(value) ? before + mark("assignment") : all,
    )
    .replace(BARE, (all, before: string, separator: string, value: string) =>
      looksSecret(value) && !looksLikeCode(value, separator) ? before + mark("assignment") : all,
    )
    .replace(OPTION, (all, before: string, value: string) =>
      looksSecret(value) ? before + mark("assignment") : all,
    );
}

/** Stands for a secret instead of being one. */
function isPlaceholder(value: string): boolean {
  return (
    /^(?:[$%<{[*]|x+$|\.\.\.)|\$[{(]|\{\{/i.test(value) ||
    /^(?:your|my|the|some|example|dummy|fake|test|sample)?[_-]?(?:user(?:name)?|pass(?:word|wd)?|pw|secret|token|key|postgres|root|admin|guest|changeme)$/i.test(
      value,
    )
  );
}

/** Whether a value assigned to a secret-looking name is likely to be one, and no word, digest, path, time or address. */
function looksSecret(value: string): boolean {
  if (isPlaceholder(value) || !/[A-Za-z]/.test(value)) return false;
  if (/^(?:0x)?[0-9a-f]+$/i.test(value) || /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value))
    return false;
  if (/^sha(?:1|256|384|512)[-:]/i.test(value) || /^\d{4}-\d\d-\d\d/.test(value)) return false;
  if (value.includes("://") || /^\.{0,2}\/|\/[\w.-]*\.[a-z]{1,5}$/.test(value)) return false;
  const parts = value.split(/[-_./:@]/);
  const digits = value.replaceAll(/\D/g, "").length;
  const words = parts.every((part) => /^(?:[a-z]*|[A-Z]*|[A-Z][a-z]+|\d{1,4})$/.test(part));
  if (parts.length > 1 && words && digits <= 3) return false;
  if (digits > 0) return true;
  // Without a digit: long, in one piece, and not several words run together with capitals.
  return (
    value.length >= 16 &&
    parts.length === 1 &&
    /^[A-Za-z]+$/.test(value) &&
    !/[a-z]{2}[A-Z][a-z]{2}/.test(value)
  );
}

/** A bare value that is rather a name or an expression of a program. */
function looksLikeCode(value: string, separator: string): boolean {
  if (!/\d/.test(value)) return true;
  if (/^[A-Za-z_][\w]*(?:\??\.[A-Za-z_]\w*)+$/.test(value)) return true;
  const spaced = /\s/.test(separator) || separator.includes(":");
  const short = value.length < 32 && value.replaceAll(/\D/g, "").length < 3;
  return spaced && short && /^[A-Za-z_]\w*$/.test(value);
}

// ---- Known values

/** The secrets of this process, in every form they may be met in. */
interface KnownSecrets {
  /** The cheap question: whether a text needs a closer look at all. */
  mayHold(text: string): boolean;
  redact(text: string): string;
  /** Where a known secret lies across a position, its beginning; else the position itself. */
  startAcross(text: string, position: number): number;
  /** The length of the longest form. */
  longest: number;
}

/** Shorter ones would be found everywhere by chance. */
const SECRET_LENGTH_MIN = 8;
/** Longer ones are files in a variable; a bound keeps streams from holding back without end. */
const SECRET_LENGTH_MAX = 32 * 1024;
const NAME_OF_SECRET =
  /TOKEN|SECRET|PASSW|PASSPHRASE|API_?KEY|CREDENTIAL|PRIVATE_?KEY|ACCESS_?KEY|(?:^|_)(?:KEY|PASS|PWD|PAT|AUTH|COOKIE)$/i;
/** Variables that name a place, a limit or a kind and not a secret; and the working folder. */
const NAME_OF_OTHER = /(?:_|^)(?:FILE|PATH|DIR|SOCK|SOCKET|TTL|TIMEOUT|LIMIT|TYPE|NAME)$|^(?:OLD)?PWD$/i;
const PLACE =
  /^(?:~|\.{1,2})[/\\]|^[A-Za-z]:[/\\]|^\/(?:app|data|dev|etc|home|mnt|nix|opt|private|proc|root|run|srv|tmp|usr|Users|var|work)\//;
const NAME_OF_PLAIN = /^(?:USER|LOGNAME|USERNAME|HOME|HOSTNAME|PWD|OLDPWD|SHELL|LANG|TERM|EDITOR)$/;
const BORING = new Set(
  "password changeme disabled required optional undefined localhost anonymous postgres username development production".split(
    " ",
  ),
);

function knownSecrets(
  environment: Readonly<Record<string, string | undefined>>,
  registered: readonly string[],
): KnownSecrets {
  const kinds = new Map<string, Kind>();
  const plain = new Set(
    Object.keys(environment)
      .filter((name) => NAME_OF_PLAIN.test(name))
      .map((name) => environment[name]),
  );
  const add = (secret: string, kind: Kind) => {
    for (const form of formsOf(secret)) if (!kinds.has(form)) kinds.set(form, kind);
  };
  for (const secret of registered) if (secret.length >= SECRET_LENGTH_MIN) add(secret, "registered");
  for (const [name, value = ""] of Object.entries(environment)) {
    const password = /^[a-z][a-z0-9+.-]{0,30}:\/\/[^\s/:@]{0,128}:([^\s/@]{1,512})@/i.exec(value)?.[1];
    if (password !== undefined && !isBoring(password, plain)) add(password, "environment");
    if (!NAME_OF_SECRET.test(name) || NAME_OF_OTHER.test(name)) continue;
    if (!isBoring(value, plain) && !/^(?:https?|wss?):\/\//.test(value)) add(value, "environment");
  }
  const forms = [...kinds.keys()].sort((a, b) => b.length - a.length);
  const longest = forms[0]?.length ?? 0;
  const pattern = forms.length === 0 ? undefined : new RegExp(forms.map(escapePattern).join("|"), "g");
  const isThere = pattern && new RegExp(pattern.source);
  return {
    longest,
    mayHold: (text) =>
      text.length >= SECRET_LENGTH_MIN &&
      (MAY_HOLD_TOKEN.test(text) || MAY_HOLD_ASSIGNMENT.test(text) || isThere?.test(text) === true),
    redact: (text) =>
      pattern ? text.replace(pattern, (form) => mark(kinds.get(form) ?? "registered")) : text,
    startAcross: (text, position) => {
      const from = Math.max(0, position - longest);
      for (const match of pattern ? text.slice(from, position + longest).matchAll(pattern) : []) {
        const start = from + match.index;
        if (start < position && start + match[0].length > position) return start;
      }
      return position;
    },
  };
}

function isBoring(value: string, plain: ReadonlySet<string | undefined>): boolean {
  const trimmed = value.trim();
  return (
    trimmed.length < SECRET_LENGTH_MIN ||
    trimmed.length > SECRET_LENGTH_MAX ||
    BORING.has(trimmed.toLowerCase()) ||
    plain.has(value) ||
    isPlaceholder(trimmed) ||
    PLACE.test(trimmed) ||
    /^\d{1,11}$|^(.)\1*$/.test(trimmed)
  );
}

/** A secret as it is, and as it looks in base64 (wherever it begins there), in a URL, in JSON, and line by line. */
function formsOf(secret: string): string[] {
  const value = Buffer.from(secret.trim()).toString(); // without halves of characters, which no URL can carry
  const json = JSON.stringify(value).slice(1, -1);
  const percent = encodeURIComponent(value);
  const lower = percent.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());
  const forms = [
    value,
    json,
    JSON.stringify(json).slice(1, -1),
    percent,
    lower,
    percent.replaceAll("%20", "+"),
  ];
  for (const line of value.split("\n")) if (/^[\w+/=-]{20,}$/.test(line.trim())) forms.push(line.trim());
  const bytes = Buffer.from(value);
  for (const offset of [0, 1, 2]) {
    const encoded = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64url");
    // Characters that also depend on what stands before or behind the secret are left out.
    const whole = Math.floor(((offset + bytes.length) * 8) / 6);
    const inner = encoded.slice(Math.ceil((offset * 8) / 6), whole);
    forms.push(inner, inner.replaceAll("-", "+").replaceAll("_", "/"));
  }
  const marks = KINDS.map(mark);
  return forms.filter(
    (form) =>
      form.length >= SECRET_LENGTH_MIN &&
      !form.includes("[REDACTED") &&
      !marks.some((one) => one.includes(form)),
  );
}

function escapePattern(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`);
}

// ---- Streams

/** Held back at least, so that a token whose beginning was seen is seen whole. */
const HOLD_MIN = 512;
/** A line without an end is given out in pieces from this length on. */
const LINE_MAX = 64 * 1024;
/** Each round moves a cut to an earlier line; only text made for it needs more than two. */
const CUT_ROUNDS_MAX = 8;

class TextStream implements RedactingStream {
  readonly #text: (source: string) => string;
  readonly #known: KnownSecrets;
  readonly #hold: number;
  #pending = "";
  /** How long `#pending` must be before it is worth looking at again. */
  #look = 0;

  constructor(text: (source: string) => string, known: KnownSecrets) {
    this.#text = text;
    this.#known = known;
    this.#hold = Math.max(HOLD_MIN, known.longest);
  }

  push(chunk: string): string {
    this.#pending += chunk;
    if (this.#pending.length < this.#look) return "";
    const cut = this.#safeCut();
    const ready = cut > 0 ? this.#text(this.#pending.slice(0, cut)) : "";
    this.#pending = this.#pending.slice(Math.max(0, cut));
    this.#look = this.#pending.length + HOLD_MIN;
    return ready;
  }

  end(): string {
    const rest = this.#text(this.#pending);
    this.#pending = "";
    this.#look = 0;
    return rest;
  }

  /** A place between two lines that no secret lies across, and which enough text follows; 0 when there is none yet. */
  #safeCut(): number {
    const text = this.#pending;
    const limit = text.length - this.#hold;
    if (limit <= 0) return 0;
    let cut = text.lastIndexOf("\n", limit - 1) + 1;
    for (let round = 0, before = -1; round < CUT_ROUNDS_MAX && cut !== before; round++) {
      before = cut;
      cut = lineStart(text, this.#known.startAcross(text, cut));
      // A bearer token may stand on the next line: the whole line waits for it.
      const bearer = /bearer\s*$/i.exec(text.slice(Math.max(0, cut - 64), cut));
      if (bearer) cut = lineStart(text, cut - bearer[0].length);
      const key = openKey(text, cut);
      if (key !== undefined && text.length - key < KEY_BLOCK_MAX) cut = lineStart(text, key);
    }
    if (cut > 0 || text.length < LINE_MAX) return cut;
    const space = Math.max(text.lastIndexOf(" ", limit - 1), text.lastIndexOf("\t", limit - 1)) + 1;
    return this.#known.startAcross(text, space || limit);
  }
}

/** The beginning of the line that a position is in. */
function lineStart(text: string, position: number): number {
  return position === 0 ? 0 : text.lastIndexOf("\n", position - 1) + 1;
}

/** Where a private key begins that has not ended before `cut`. */
function openKey(text: string, cut: number): number | undefined {
  let from = cut;
  while (from > 0) {
    const start = text.lastIndexOf("-----BEGIN ", from - 1);
    if (start === -1 || cut - start > KEY_BLOCK_MAX) return undefined;
    const block = text.slice(start, cut);
    if (/^-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY/.test(block)) {
      return /-----END [A-Z0-9 ]{0,40}PRIVATE KEY/.test(block) ? undefined : start;
    }
    from = start;
  }
  return undefined;
}
