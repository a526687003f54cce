import { clip } from "./agent-process.ts";
import type { Failure } from "./engine.ts";

const MESSAGE_MAX = 4096;

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
 * ours.
 */
export function providerFailure({ message: text, status: given, resetsAt }: ProviderFailure): Failure {
  const message = clip(text, MESSAGE_MAX);
  const found = Number(/\b(?:40[0-9]|429|5[0-9]{2})\b/.exec(text)?.[0] ?? Number.NaN);
  const status = given ?? found;
  const resets = resetsAt === undefined ? {} : { resets_at: resetsAt };
  // Providers say with 403 and with 429 that an account is used up, so the word counts more than the number.
  if (QUOTA.test(text)) return { class: "quota", message, retryable: false, ...resets };
  if (status === 401 || status === 403) return { class: "auth", message, retryable: false };
  if (status === 402) return { class: "quota", message, retryable: false, ...resets };
  if (status === 429 || RATE_LIMIT.test(text))
    return { class: "rate_limit", message, retryable: true, ...resets };
  return { class: "provider", message, retryable: status >= 500 || status === 408, ...resets };
}

const QUOTA =
  /insufficient[_ ]?(?:quota|balance|funds)|quota|billing|credit balance|usage[_ ]limit|payment required/i;
const RATE_LIMIT = /rate.?limit|too many requests/i;
