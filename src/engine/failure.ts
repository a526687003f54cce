import { clip } from "./agent-process.ts";
import type { Failure } from "./engine.ts";
import { instantOf } from "../format/stamp.ts";

const MESSAGE_MAX = 4096;
/** No more of a message than this is read. */
const READ_MAX = 16 * 1024;
const DAY_MS = 24 * 60 * 60_000;
/** A provider that names a later moment than this has not named one. */
const RESET_MS_MAX = 400 * DAY_MS;

/** What is known of a failure of the model's provider. */
export interface ProviderFailure {
  message: string;
  /** The HTTP status, where the agent tells it as a number. */
  status?: number | undefined;
  resetsAt?: string | undefined;
}

/**
 * The class of a failure that the provider caused. Numbers decide where there are any. Most agents put the provider's
 * failure only into the message, so that is read as a last resort: the one place where a foreign sentence becomes a code of
 * ours. With `now`, a message that says when to try again is read for that, too.
 */
export function providerFailure(
  { message: text, status: given, resetsAt }: ProviderFailure,
  now?: Date,
): Failure {
  const message = clip(text, MESSAGE_MAX);
  const read = text.slice(0, READ_MAX);
  const found = Number(/\b(?:40[0-9]|429|5[0-9]{2})\b/.exec(read)?.[0] ?? Number.NaN);
  const status = given ?? found;
  const until = resetsAt ?? (now && resetTimeIn(read, now));
  const resets = until === undefined ? {} : { resets_at: until };
  // Providers say with 403 and with 429 that an account is used up, so the word counts more than the number.
  if (QUOTA.test(read)) return { class: "quota", message, retryable: false, ...resets };
  if (status === 401 || status === 403) return { class: "auth", message, retryable: false };
  if (status === 402) return { class: "quota", message, retryable: false, ...resets };
  if (status === 429 || RATE_LIMIT.test(read))
    return { class: "rate_limit", message, retryable: true, ...resets };
  if (Number.isNaN(status) && AUTH.test(read)) return { class: "auth", message, retryable: false };
  return {
    class: "provider",
    message,
    retryable: status >= 500 || status === 408 || (Number.isNaN(status) && OUTAGE.test(read)),
    ...resets,
  };
}

const QUOTA =
  /insufficient[_ ]?(?:quota|balance|funds)|quota|billing|credit balance|usage[_ ]limit|payment required/i;
const RATE_LIMIT = /rate.?limit|too many requests/i;
/** One agent leaves the number out. */
const AUTH =
  /unauthori[sz]ed|authentication|(?:invalid|incorrect|bad|missing|no|expired)[^.]{0,20}\b(?:api[ _-]?)?key\b|not logged in|log ?in (?:required|expired|again)|(?:token|session) (?:has )?expired/i;
/** What tools say when the network is not there, or the service is. */
const OUTAGE =
  /overloaded|ECONNREFUSED|ECONNRESET|ENOTFOUND|ETIMEDOUT|EAI_AGAIN|fetch failed|socket hang up|connection (?:error|refused|reset|closed)|cannot connect|timed out|service unavailable|bad gateway|stream disconnected/i;

/** What the data beside an error says: the HTTP status, and when the provider takes requests again. */
export function failureDetails(data: unknown, now: Date): Pick<ProviderFailure, "status" | "resetsAt"> {
  const found: { status?: number; resetsAt?: string } = {};
  const look = (value: unknown, depth: number): void => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return;
    for (const [key, one] of Object.entries(value).slice(0, 100)) {
      if (STATUS_KEY.test(key) && found.status === undefined) {
        const status = Number(one);
        if (status >= 400 && status <= 599) found.status = status;
      }
      const until = found.resetsAt ?? resetOf(key, one, now);
      if (until !== undefined) found.resetsAt = until;
      if (depth < 3 && NESTED_KEY.test(key)) look(one, depth + 1);
    }
  };
  look(data, 0);
  return found;
}

const STATUS_KEY = /^(?:status|status_?code|http_?status(?:_?code)?|code)$/i;
const NESTED_KEY = /^(?:error|details|data|cause|response|headers|response_?headers|rate_?limits?)$/i;

/** The moment that a field names, where it is one of those that do. */
function resetOf(key: string, value: unknown, now: Date): string | undefined {
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  const name = key.toLowerCase().replaceAll(/[_-]/g, "");
  if (name === "retryafterms") return after(Number(value), now);
  if (name === "retryafter" || name === "retrydelay" || name === "retryafterseconds")
    return retryAfter(value, now);
  if (/^(?:resets?at|resettime|ratelimitreset|xratelimitreset)$/.test(name)) return moment(value, now);
  return undefined;
}

/** As in the header: seconds, a moment, or a duration such as `20s`. */
function retryAfter(value: string | number, now: Date): string | undefined {
  const seconds = Number(value);
  if (value !== "" && !Number.isNaN(seconds)) return after(seconds * 1000, now);
  const ms = durationMs(String(value));
  return ms === undefined ? moment(value, now) : after(ms, now);
}

/** When to try again, where a message says so in one of the ways that providers do. */
export function resetTimeIn(text: string, now: Date): string | undefined {
  const at = RESETS_AT.exec(text)?.[1];
  if (at !== undefined) return moment(at, now);
  const epoch = RESETS_EPOCH.exec(text)?.[1];
  if (epoch !== undefined) return moment(epoch, now);
  const spelled = RETRY_IN.exec(text)?.[1];
  const ms = spelled === undefined ? undefined : durationMs(spelled);
  if (ms !== undefined) return after(ms, now);
  const header = /retry[-_ ]after["':= ]{1,4}(\d{1,7})\b(?!\s*(?:ms|m|h))/i.exec(text)?.[1];
  return header === undefined ? undefined : after(Number(header) * 1000, now);
}

const STAMP = String.raw`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d| ?UTC)`;
const RESETS_AT = new RegExp(
  String.raw`(?:resets?|try again|retry|available again|until)[a-z ]{0,20}[:= ]{0,3}(?:at|on|after|until)?[:=" ]{0,3}(${STAMP})`,
  "i",
);
/** Claude: `usage limit reached|1767225600`. */
const RESETS_EPOCH = /(?:limit reached\||resets?[_ ]?(?:at|on)?["':= ]{1,4})(\d{10}(?:\d{3})?)\b/i;
const SPAN = String.raw`\d+(?:\.\d+)?\s*(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)`;
const RETRY_IN = new RegExp(
  String.raw`(?:try again|retry(?:ing)?|resets?|wait|available(?: again)?)(?:[ _-](?:in|after|for|about))*[: ]{1,3}((?:${SPAN}(?:\s*,?\s*(?:and\s+)?)?){1,5})(?![a-z])`,
  "i",
);

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 60 * 60_000,
  d: DAY_MS,
};

/** `1h30m`, `20s`, `5 days 3 hours`; undefined for anything else. */
function durationMs(text: string): number | undefined {
  let ms: number | undefined;
  for (const [, count = "", unit = ""] of text.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]+)/gi)) {
    const short = /^(?:ms|milli)/i.test(unit) ? "ms" : unit.slice(0, 1).toLowerCase();
    const unitMs = UNIT_MS[short];
    if (unitMs === undefined) return ms;
    ms = (ms ?? 0) + Number(count) * unitMs;
  }
  return ms;
}

function after(ms: number, now: Date): string | undefined {
  if (!(ms >= 0 && ms <= RESET_MS_MAX)) return undefined;
  return instantOf(new Date(now.getTime() + Math.ceil(ms)));
}

/** A moment as text, or in seconds or milliseconds since 1970. */
function moment(value: string | number, now: Date): string | undefined {
  const number = Number(value);
  const ms = Number.isNaN(number)
    ? Date.parse(String(value).replace(/ ?UTC$/, "Z"))
    : number < 1e11
      ? number * 1000
      : number;
  const isNear = Math.abs(ms - now.getTime()) <= RESET_MS_MAX;
  return isNear ? instantOf(new Date(ms)) : undefined;
}
