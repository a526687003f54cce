/** The proof of a run as it can be shown: the file, the log's copy of it, or what the log's events say. Writes nothing. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { Event } from "../format/event.ts";
import { RunProof, type RunStatus } from "../format/proof.ts";
import { instantOf } from "../format/stamp.ts";
import type { Clock, Disk } from "../ports.ts";
import { foldFolder, readDocument } from "../store/journal.ts";
import type { Run } from "./find.ts";
import { isAboutResult, textOf } from "./timeline.ts";

/** The readiness token of each status, and what it means. */
export const READINESS = {
  ready: {
    token: "ready_for_handoff",
    sentence: "Every required gate passed and nothing stands against the result.",
  },
  not_ready: {
    token: "needs_follow_up",
    sentence: "Required gates are missing or incomplete, so nothing is shown yet.",
  },
  failed: {
    token: "blocked",
    sentence: "Something failed that has to be mended before the result can be used.",
  },
} as const satisfies Record<RunStatus, { token: string; sentence: string }>;

/**
 * The proof to show. With `regenerate` the file is not looked at. What cannot be read is a known gap of what is shown
 * instead; without a proof and without a log there is nothing to show (`proof.missing`).
 */
export function proofToShow(
  run: Pick<Run, "id" | "folder">,
  options: { regenerate: boolean },
  ports: { disk: Disk; clock: Pick<Clock, "now"> },
): RunProof {
  const found = options.regenerate ? { state: "missing" as const } : readProof(run.folder, ports);
  if (found.state === "found") return found.proof;
  const facts = new ProofFacts();
  const folded = foldFolder(run.folder, ports, (event) => facts.take(event));
  const gaps = found.state === "unreadable" ? [`proof.json cannot be read: ${found.because}`] : [];
  const logged = RunProof.safeParse(folded.documents.get("proof.json"));
  if (logged.success) return { ...logged.data, known_gaps: [...logged.data.known_gaps, ...gaps] };
  if (facts.count === 0) {
    throw new OmkError(
      "proof.missing",
      `Run ${run.id} has no proof, and no events from which it could be made.`,
      {
        hint: "A run has a proof when it has ended. See what there is with `omk run show`.",
      },
    );
  }
  const malformed = folded.log.damage.length + folded.log.tornLines;
  if (malformed > 0) gaps.push(`event log parse failures: ${malformed} malformed line(s) skipped`);
  return facts.proof(run.id, gaps, ports.clock.now());
}

function readProof(
  folder: string,
  ports: { disk: Disk },
): { state: "missing" } | { state: "unreadable"; because: string } | { state: "found"; proof: RunProof } {
  const found = readDocument(join(folder, "proof.json"), ports);
  if (found.state !== "found") return found;
  const parsed = RunProof.safeParse(found.record);
  if (parsed.success) return { state: "found", proof: parsed.data };
  const issue = parsed.error.issues[0];
  return { state: "unreadable", because: `"${issue?.path.join(".") ?? ""}" is not right` };
}

interface TaskEnd {
  state: "open" | "completed" | "failed";
  worker_id: string | null;
  description: string;
  timestamp: string;
}

/** What events say about a run. Only how things ended counts: a failure that was made good is a retry. */
class ProofFacts {
  count = 0;
  #startedAt: string | undefined;
  #end: { at: string; failure: string | undefined } | undefined;
  readonly #tasks = new Map<string, TaskEnd>();
  readonly #gates = new Map<string, RunProof["gates"][number]>();
  readonly #commands = new Map<string, Record<string, unknown>>();
  readonly #files = new Map<string, string>();
  readonly #retries: RunProof["retries"] = [];
  /** Workers that stalled and were not heard of again, with when. */
  readonly #stalled = new Map<string, string>();
  readonly #wire = new WireFacts();

  take(event: Event): void {
    this.count++;
    const payload = event.payload ?? {};
    switch (event.kind) {
      case "run_started":
        this.#startedAt = event.ts;
        this.#end = undefined;
        break;
      case "run_resumed":
        this.#end = undefined;
        break;
      case "run_completed":
        this.#end = { at: event.ts, failure: undefined };
        break;
      case "run_failed":
        this.#end = { at: event.ts, failure: textOf(payload["reason"]) ?? "run failed" };
        break;
      case "manual_interrupt":
        // After the end it changes nothing: `omk team shutdown` of 0.5.0 wrote it into finished runs.
        this.#end ??= { at: event.ts, failure: "manual interrupt" };
        break;
      case "file_changed":
        this.#takeFile(payload);
        break;
      case "command_started":
      case "command_finished":
        this.#takeCommand(payload);
        break;
      case "gate_passed":
      case "gate_failed":
        this.#takeGate(event.kind === "gate_passed" ? "passed" : "failed", payload);
        break;
      case "worker_stalled":
        // What a look at a finished run added says nothing about the run.
        if (!this.#end && typeof event.actor === "string") this.#stalled.set(event.actor, event.ts);
        break;
      case "worker_recovered":
        this.#stalled.delete(event.actor ?? "");
        break;
      default:
        this.#takeTask(event, payload);
        break;
    }
    if (event.kind === "task_output" || event.kind === "task_completed") this.#wire.take(payload);
  }

  #takeTask(event: Event, payload: Record<string, unknown>): void {
    const id = textOf(payload["task_id"]);
    if (id === undefined || event.actor === "synthesis-agent") return;
    const worker = textOf(payload["worker_id"]) ?? this.#tasks.get(id)?.worker_id ?? null;
    const end = (state: TaskEnd["state"], description = "") =>
      this.#tasks.set(id, { state, worker_id: worker, description, timestamp: event.ts });
    switch (event.kind) {
      case "task_claimed":
      case "task_started":
        end("open");
        break;
      case "task_completed":
        end("completed");
        this.#stalled.delete(event.actor ?? "");
        break;
      case "task_failed": {
        const why = textOf(payload["error"]) ?? textOf(payload["summary"]) ?? "";
        // Worker and scheduler of 0.5.0 both report a failure, and only one of them knows why.
        const before = this.#tasks.get(id);
        end("failed", why.trim() === "" && before?.state === "failed" ? before.description : why);
        break;
      }
      case "retry_scheduled": {
        const attempt = Number(payload["attempt"] ?? 1);
        this.#retries.push({
          task_id: id,
          attempt: Number.isSafeInteger(attempt) && attempt >= 0 ? attempt : 1,
          reason: textOf(payload["reason"]) ?? "retry",
        });
        end("open");
        break;
      }
      default:
        break;
    }
  }

  #takeFile(payload: Record<string, unknown>): void {
    const path = textOf(payload["path"]);
    if (path === undefined) return;
    this.#files.set(path, textOf(payload["operation"]) ?? "modified");
  }

  #takeCommand(payload: Record<string, unknown>): void {
    const gate = textOf(payload["gate_id"]) ?? textOf(payload["name"]);
    if (gate === undefined) return;
    const line = payload["command_line"] ?? payload["command"];
    this.#commands.set(gate, {
      ...this.#commands.get(gate),
      ...evidenceIn(payload),
      ...(line !== undefined && { command_line: line }),
    });
  }

  #takeGate(status: "passed" | "failed", payload: Record<string, unknown>): void {
    const id = textOf(payload["gate_id"]);
    const name = textOf(payload["name"]);
    const { required } = payload;
    if (id === undefined || name === undefined || typeof required !== "boolean") return;
    if (!isAboutResult(payload)) return;
    const own = evidenceIn(payload);
    const evidence = { ...(this.#commands.get(id) ?? this.#commands.get(name)), ...own };
    // The last word of a gate counts, and stands where it was said.
    this.#gates.delete(name);
    this.#gates.set(name, {
      name,
      status,
      required,
      evidence: Object.keys(evidence).length > 0 ? evidence : null,
    });
  }

  proof(run_id: string, moreGaps: readonly string[], now: Date): RunProof {
    const generated_at = instantOf(now);
    const gates = [...this.#gates.values()];
    const failures = [
      ...(this.#end?.failure === undefined
        ? []
        : [{ task_id: null, worker_id: null, description: this.#end.failure, timestamp: this.#end.at }]),
      ...[...this.#tasks].flatMap(([task_id, { state, worker_id, description, timestamp }]) =>
        state === "failed"
          ? [
              {
                task_id,
                worker_id,
                description: description.trim() === "" ? "task failed" : description,
                timestamp,
              },
            ]
          : [],
      ),
      ...[...this.#stalled].map(([worker_id, timestamp]) => ({
        task_id: null,
        worker_id,
        description: "worker stalled",
        timestamp,
      })),
      ...gates
        .filter(({ status, required }) => required && status === "failed")
        .map(({ name }) => ({
          task_id: null,
          worker_id: null,
          description: `gate ${name} failed`,
          timestamp: this.#end?.at ?? generated_at,
        })),
    ];
    const open = [...this.#tasks].filter(([, { state }]) => state === "open").map(([id]) => id);
    const known_gaps = [
      ...gates.filter(({ status }) => status === "failed").map(({ name }) => `gate ${name} failed`),
      ...(this.#end ? [] : ["the run has not ended"]),
      ...open.map((id) => `task ${id} was not finished`),
      ...moreGaps,
    ];
    const isShown = gates.some(({ required }) => required) && this.#end !== undefined && open.length === 0;
    const status = failures.length > 0 ? "failed" : isShown ? "ready" : "not_ready";
    const passed = gates.filter((gate) => gate.status === "passed").length;
    const wire_evidence = this.#wire.evidence();
    return {
      run_id,
      status,
      generated_at,
      changed_files: [...this.#files].map(([path, operation]) => ({ path, operation })),
      gates,
      failures,
      retries: this.#retries,
      known_gaps,
      ...(wire_evidence && { wire_evidence }),
      summary:
        `${run_id} is ${status}: ${this.#files.size} changed files, ${passed} of ${gates.length} gates passed, ` +
        `${failures.length} failures, ${this.#retries.length} retries`,
      elapsed_secs: this.#elapsedSecs(),
    };
  }

  #elapsedSecs(): number {
    const secs = (Date.parse(this.#end?.at ?? "") - Date.parse(this.#startedAt ?? "")) / 1_000;
    return secs > 0 ? Math.floor(secs) : 0;
  }
}

const EVIDENCE_KEYS = [
  "command_line",
  "exit_code",
  "timed_out",
  "stdout_summary",
  "stderr_summary",
  "output_path",
  "timeout_secs",
] as const;

function evidenceIn(payload: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    EVIDENCE_KEYS.flatMap((key) => {
      const value = payload[key];
      return value === undefined || value === null ? [] : [[key, value]];
    }),
  );
}

/** Counts what the engines' messages showed. */
class WireFacts {
  #events = 0;
  #requests = 0;
  #outputs = 0;
  #messages = 0;
  readonly #methods = new Set<string>();
  readonly #eventNames = new Set<string>();
  readonly #requestNames = new Set<string>();

  take(payload: Record<string, unknown>): void {
    const first = (...keys: string[]) =>
      keys.map((key) => scalar(payload[key])).find((one) => one !== undefined);
    const event = first("wire_event", "event_type", "type");
    const request = first("wire_request", "request_type", "raw_request_type");
    const method = first("wire_method", "method");
    if (event !== undefined) {
      this.#events++;
      this.#eventNames.add(event);
    }
    if (request !== undefined) {
      this.#requests++;
      this.#requestNames.add(request);
    }
    if (first("output_summary") !== undefined) this.#outputs++;
    if (first("message") !== undefined) this.#messages++;
    if (method !== undefined) this.#methods.add(method);
  }

  evidence(): RunProof["wire_evidence"] {
    if (this.#events + this.#requests + this.#outputs + this.#messages === 0) return undefined;
    const listed = (key: string, names: ReadonlySet<string>) =>
      names.size > 0 ? { [key]: [...names].sort() } : {};
    return {
      event_count: this.#events,
      request_count: this.#requests,
      output_count: this.#outputs,
      prompt_like_messages: this.#messages,
      ...listed("unique_methods", this.#methods),
      ...listed("unique_events", this.#eventNames),
      ...listed("unique_requests", this.#requestNames),
    };
  }
}

function scalar(value: unknown): string | undefined {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return textOf(value);
}

// ---- Renderings

/** The proof as text. */
export function proofText(proof: RunProof): string {
  const { token, sentence } = READINESS[proof.status];
  const duration = Number(proof.elapsed_secs);
  const label = (name: string, value: string) => `${name.padEnd(12)} ${value}`;
  const verdict = (name: string, value: unknown) => `  ${name.padEnd(16)} ${flat(value)}`;
  const { passed, failed, skipped } = gateCounts(proof);
  const wire = proof.wire_evidence;
  const own = changesByTask(proof);
  const listed = (title: string, rows: readonly string[]) => [
    `${title} (${rows.length}):`,
    ...(rows.length === 0 ? ["  none"] : rows.map((row) => `  ${row}`)),
  ];
  return [
    `Proof Report for ${flat(proof.run_id)}`,
    "=".repeat(60),
    label("Status:", proof.status),
    label("Readiness:", token),
    label("Readiness+:", sentence),
    label("Generated:", flat(proof.generated_at)),
    ...(duration > 0 ? [label("Duration:", `${duration}s`)] : []),
    ...(typeof proof.branch === "string" ? [label("Branch:", flat(proof.branch))] : []),
    "Verdict:",
    verdict("status:", proof.status),
    verdict("readiness:", token),
    verdict("changed_files:", proof.changed_files.length),
    verdict("gates_total:", proof.gates.length),
    verdict("gates:", `passed=${passed}, failed=${failed}, skipped=${skipped}`),
    verdict("failures:", proof.failures.length),
    verdict("retries:", proof.retries.length),
    verdict("known_gaps:", proof.known_gaps.length),
    "Wire evidence:",
    ...(wire
      ? [
          `  events=${wire.event_count}, requests=${wire.request_count}, outputs=${wire.output_count}, ` +
            `prompt_like_messages=${wire.prompt_like_messages}`,
          ...wireLists(wire).map(([name, names]) => `  ${name}: ${names}`),
        ]
      : ["  none"]),
    ...listed(
      "Changed files",
      proof.changed_files.map(({ path, operation }) => `${flat(operation).padEnd(10)} ${flat(path)}`),
    ),
    ...(own.length > 0
      ? listed(
          "Changes by task",
          own.map(({ id, paths }) => `${flat(id)}: ${paths.map(flat).join(", ")}`),
        )
      : []),
    ...listed(
      "Gates",
      proof.gates.map(
        ({ name, status, required }) =>
          `${status.padEnd(8)} ${flat(name).padEnd(20)} ${required ? "required" : "optional"}`,
      ),
    ),
    ...listed(
      "Failures",
      proof.failures.map(({ worker_id, description }) => `- ${flat(worker_id ?? "?")}: ${flat(description)}`),
    ),
    ...listed(
      "Retries",
      proof.retries.map(
        ({ task_id, attempt, reason }) => `- ${flat(task_id)} (attempt ${attempt}): ${flat(reason)}`,
      ),
    ),
    ...listed(
      "Known gaps",
      proof.known_gaps.map((gap) => `- ${flat(gap)}`),
    ),
    `Summary: ${flat(proof.summary)}`,
    "=".repeat(60),
    `Readiness verdict: ${sentence}`,
  ].join("\n");
}

/** The proof as Markdown, as `proof.md` has it. */
export function proofMarkdown(proof: RunProof): string {
  const { token, sentence } = READINESS[proof.status];
  const duration = Number(proof.elapsed_secs);
  const { passed, failed, skipped } = gateCounts(proof);
  const wire = proof.wire_evidence;
  const own = changesByTask(proof);
  const section = (title: string, rows: readonly string[]) => [
    "",
    `## ${title}`,
    "",
    ...(rows.length === 0 ? ["_none_"] : rows),
  ];
  const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
    rows.length === 0
      ? []
      : [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  const bullet = (name: string, value: unknown) => `- ${name}: \`${String(value)}\``;
  return [
    `# Proof Report for ${inline(proof.run_id)}`,
    "",
    `**Status**: ${proof.status}  `,
    `**Readiness**: ${token}  `,
    `**Readiness Detail**: ${sentence}  `,
    `**Generated**: ${inline(proof.generated_at)}  `,
    ...(duration > 0 ? [`**Duration**: ${duration}s  `] : []),
    ...(typeof proof.branch === "string" ? [`**Branch**: ${inline(proof.branch)}  `] : []),
    ...section("Verdict", [
      bullet("status", proof.status),
      bullet("readiness", token),
      bullet("changed_files", proof.changed_files.length),
      bullet("gates_total", proof.gates.length),
      `- gates: passed \`${passed}\`, failed \`${failed}\`, skipped \`${skipped}\``,
      bullet("failures", proof.failures.length),
      bullet("retries", proof.retries.length),
      bullet("known_gaps", proof.known_gaps.length),
    ]),
    ...section(
      "Wire Evidence",
      wire
        ? [
            bullet("events", wire.event_count),
            bullet("requests", wire.request_count),
            bullet("outputs", wire.output_count),
            bullet("prompt_like_messages", wire.prompt_like_messages),
            ...wireLists(wire).map(([name, names]) => `- ${name}: ${inline(names)}`),
          ]
        : [],
    ),
    ...section(
      "Changed Files",
      table(
        ["Operation", "Path"],
        proof.changed_files.map(({ operation, path }) => [inline(operation), inline(path)]),
      ),
    ),
    ...(own.length > 0
      ? section(
          "Changes by Task",
          table(
            ["Task", "Paths"],
            own.map(({ id, paths }) => [inline(id), paths.map(inline).join(", ")]),
          ),
        )
      : []),
    ...section(
      "Gates",
      table(
        ["Gate", "Status", "Required"],
        proof.gates.map(({ name, status, required }) => [inline(name), status, required ? "Yes" : "No"]),
      ),
    ),
    ...section(
      "Failures",
      proof.failures.map(
        ({ worker_id, description }) => `- ${inline(worker_id ?? "?")}: ${inline(description)}`,
      ),
    ),
    ...section(
      "Retries",
      proof.retries.map(
        ({ task_id, attempt, reason }) => `- ${inline(task_id)} (attempt ${attempt}): ${inline(reason)}`,
      ),
    ),
    ...section(
      "Known Gaps",
      proof.known_gaps.map((gap) => `- ${inline(gap)}`),
    ),
    ...section("Summary", [inline(proof.summary)]),
    "",
    "---",
    "",
    `Readiness verdict: \`${token}\`.`,
    "",
    sentence,
    "",
  ].join("\n");
}

/** What each task changed, where that can be told. */
function changesByTask({ tasks = [] }: RunProof): { id: string; paths: string[] }[] {
  return tasks.flatMap(({ id, changed_files: changed = [] }) =>
    changed.length === 0 ? [] : [{ id, paths: changed.map(({ path }) => path) }],
  );
}

function gateCounts({ gates }: RunProof): { passed: number; failed: number; skipped: number } {
  const count = (wanted: string) => gates.filter(({ status }) => status === wanted).length;
  return { passed: count("passed"), failed: count("failed"), skipped: count("skipped") };
}

function wireLists(wire: NonNullable<RunProof["wire_evidence"]>): [name: string, names: string][] {
  return [
    ["methods", listOf(wire.unique_methods)],
    ["wire_events", listOf(wire.unique_events)],
    ["wire_requests", listOf(wire.unique_requests)],
  ];
}

function listOf(names: readonly string[] | undefined): string {
  return names === undefined || names.length === 0 ? "none" : names.map(flat).join(", ");
}

/** On one line: text from outside must not look like lines of ours. */
function flat(value: unknown): string {
  return String(value).replaceAll(/\s+/g, " ").trim();
}

/** On one line, and without the characters that would make links, pictures, HTML or columns of it. */
function inline(value: unknown): string {
  return flat(value).replaceAll(/[\\`*_[\]<>|!#]/g, (character) => `\\${character}`);
}
