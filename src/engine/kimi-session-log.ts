/**
 * Kimi Code's own log of a session: the only place where it tells what a turn has used, and that a turn failed whose
 * prompt it answered as if it were done.
 */
import { join } from "node:path";
import { z } from "zod";
import type { Failure, TurnUsage } from "./engine.ts";
import { failureDetails, providerFailure } from "./failure.ts";
import { systemCode } from "../errors.ts";
import { instantOf } from "../format/stamp.ts";
import type { Clock, Disk } from "../ports.ts";
import { LineTail } from "../store/line-tail.ts";

/** Folders of projects that are looked through for the session, and agents of one session that are followed. */
const PROJECTS_MAX = 10_000;
const AGENTS_MAX = 100;
/** Records that count are short; long lines hold prompts and files. */
const LINE_CHARACTERS_MAX = 64 * 1024;
const LOOKS_MAX = 8;
/** The agent that was given the prompt; the others are its helpers. */
const MAIN = "main";

const Count = z.int().min(0).max(1e12).catch(0);
const UsageRecord = z.looseObject({
  type: z.literal("usage.record"),
  usage: z.looseObject({
    inputOther: Count,
    output: Count,
    inputCacheRead: Count,
    inputCacheCreation: Count,
  }),
});
const TurnEnded = z.looseObject({
  type: z.literal("turn.ended"),
  reason: z.string(),
  error: z
    .looseObject({
      code: z.string().nullish(),
      message: z.string().nullish(),
      retryable: z.boolean().nullish(),
    })
    .nullish()
    .catch(undefined),
});
const Retrying = z.looseObject({
  type: z.literal("turn.step.retrying"),
  delayMs: z.number().nonnegative(),
  errorMessage: z.string().nullish(),
  statusCode: z.number().nullish(),
});

/** What was read that somebody should hear. */
export interface KimiNews {
  /** The running totals of the turn, when they grew. */
  spent?: TurnUsage;
  /** Why a model call is tried again. */
  retrying: string[];
}

/** The log of one session, followed while a turn runs. */
export class KimiSessionLog {
  readonly #home: string;
  readonly #sessionId: string;
  readonly #ports: { disk: Disk; clock: Clock };
  readonly #tails = new Map<string, LineTail>();
  #folder: string | undefined;
  #spent: TurnUsage | undefined;
  #failure: Failure | undefined;
  #hasEnded = false;
  /** Until when the provider asked to wait, as it told last. */
  #resetsAt: string | undefined;

  constructor(home: string, sessionId: string, ports: { disk: Disk; clock: Clock }) {
    this.#home = home;
    this.#sessionId = sessionId;
    this.#ports = ports;
  }

  /** A turn begins: what was written before is another one's. */
  begin(): void {
    this.read();
    this.#spent = undefined;
    this.#failure = undefined;
    this.#hasEnded = false;
    this.#resetsAt = undefined;
  }

  /** Whether there is a log at all. */
  get isThere(): boolean {
    return this.#tails.size > 0;
  }

  /** Whether the log has told of the turn's end. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** What the turn has used by now, or undefined when nothing was told. */
  get spent(): TurnUsage | undefined {
    return this.#spent;
  }

  /** Why the turn failed, if it did. */
  get failure(): Failure | undefined {
    if (!this.#failure || this.#failure.resets_at !== undefined || this.#resetsAt === undefined)
      return this.#failure;
    return this.#failure.class === "auth" ? this.#failure : { ...this.#failure, resets_at: this.#resetsAt };
  }

  /** Takes in what was written since the last look. A log that cannot be read tells nothing. */
  read(): KimiNews {
    const news: KimiNews = { retrying: [] };
    try {
      for (const [agent, tail] of this.#agents()) {
        for (let looks = 0; looks < LOOKS_MAX; looks++) {
          const { lines, more } = tail.read();
          for (const line of lines) this.#take(line, agent, news);
          if (!more) break;
        }
      }
    } catch (error) {
      // Another program's file: gone meanwhile, or not ours to read. What is not there is not told.
      if (systemCode(error) === undefined) throw error;
    }
    return news;
  }

  #agents(): Iterable<[string, LineTail]> {
    const { disk } = this.#ports;
    this.#folder ??= this.#find();
    if (this.#folder === undefined) return [];
    const agents = join(this.#folder, "agents");
    if (disk.stat(agents)?.kind !== "folder") return [];
    for (const agent of disk.list(agents)) {
      if (this.#tails.size >= AGENTS_MAX) break;
      if (this.#tails.has(agent)) continue;
      this.#tails.set(agent, new LineTail(join(agents, agent, "wire.jsonl"), 0, { disk }));
    }
    return this.#tails;
  }

  /** `sessions/<project>/<session>`, where the project's name is of Kimi's making. */
  #find(): string | undefined {
    const { disk } = this.#ports;
    // It becomes part of a path.
    if (!/^[\w-]{1,200}$/.test(this.#sessionId)) return undefined;
    const sessions = join(this.#home, "sessions");
    if (disk.stat(sessions)?.kind !== "folder") return undefined;
    return disk
      .list(sessions)
      .slice(0, PROJECTS_MAX)
      .map((project) => join(sessions, project, this.#sessionId))
      .find((folder) => disk.stat(folder)?.kind === "folder");
  }

  #take(line: string, agent: string, news: KimiNews): void {
    // What somebody wrote into a conversation has its quotes escaped there, so only records look like this.
    if (
      line.length > LINE_CHARACTERS_MAX ||
      !/"type":"(?:usage\.record|turn\.(?:ended|step\.retrying))"/.test(line)
    )
      return;
    const record = parsed(line);
    const usage = UsageRecord.safeParse(record);
    if (usage.success) {
      this.#spent = added(this.#spent, usage.data.usage);
      news.spent = this.#spent;
    } else if (agent === MAIN) {
      const ended = TurnEnded.safeParse(record);
      const retrying = Retrying.safeParse(record);
      if (ended.success) this.#end(ended.data);
      else if (retrying.success) {
        const { delayMs, errorMessage } = retrying.data;
        news.retrying.push(`tries again in ${delayMs} ms: ${errorMessage ?? "a model call failed"}`);
        const until = this.#ports.clock.now().getTime() + delayMs;
        this.#resetsAt = instantOf(new Date(until));
      }
    }
  }

  #end({ reason, error }: z.infer<typeof TurnEnded>): void {
    this.#hasEnded = true;
    if (reason !== "failed") return;
    const now = this.#ports.clock.now();
    const code = error?.code ?? "";
    const message = `Kimi's log says that the turn failed: ${error?.message ?? "it does not say why"} (${code || "no code"})`;
    const failure = providerFailure({ message, ...failureDetails(error, now) }, now);
    if (failure.class !== "provider") this.#failure = failure;
    else if (code === "provider.auth_error")
      this.#failure = { class: "auth", message: failure.message, retryable: false };
    else if (code === "provider.rate_limit")
      this.#failure = { ...failure, class: "rate_limit", retryable: true };
    else this.#failure = { ...failure, retryable: error?.retryable ?? failure.retryable };
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // Half a record of a process that was killed.
    return undefined;
  }
}

function added(before: TurnUsage | undefined, call: z.infer<typeof UsageRecord>["usage"]): TurnUsage {
  const read = (before?.cache_read_tokens ?? 0) + call.inputCacheRead;
  const written = (before?.cache_write_tokens ?? 0) + call.inputCacheCreation;
  return {
    input_tokens: (before?.input_tokens ?? 0) + call.inputOther,
    output_tokens: (before?.output_tokens ?? 0) + call.output,
    ...(read > 0 && { cache_read_tokens: read }),
    ...(written > 0 && { cache_write_tokens: written }),
    quality: "exact",
  };
}
