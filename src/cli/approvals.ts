/** `omk approvals list`, `show` and `answer`: what agents ask, of all goals and team runs. */
import { summaryOf } from "../approval/approvals.ts";
import { readApprovals } from "../approval/book.ts";
import { shortened } from "../approval/describe.ts";
import { OmkError } from "../errors.ts";
import type { ApprovalAnswer, ApprovalList, ApprovalView } from "../format/approval.ts";
import { shellQuoted } from "../format/shell.ts";
import { askGoal } from "../goal/ask.ts";
import { findGoal, listGoals } from "../goal/find.ts";
import { untoldFailure } from "../store/files.ts";
import { answerRun } from "../team/answer.ts";
import { findTeam, listTeams } from "../team/find.ts";
import type { App } from "./app.ts";
import { goalPorts } from "./runtime.ts";
import { oneLine, textTime } from "./text.ts";

/** Whose requests are looked at. */
interface Filter {
  goal?: string;
  run?: string;
}

/** Lists the requests that are open; with `all` every one there ever was. */
export function approvalsListCommand(app: App, flags: Filter & { all: boolean; json: boolean }): void {
  const found = findApprovals(app, flags);
  for (const { owner_id, because } of found.unreadable)
    app.output.story(`the requests of ${owner_id} cannot be read: ${because}`);
  const approvals = found.approvals.filter(({ status }) => flags.all || status === "open");
  app.output.result({ ...found, approvals }, () => listText(approvals, flags.all), flags.json);
}

function listText(approvals: readonly ApprovalView[], all: boolean): string {
  if (approvals.length === 0)
    return all ? "No agent has asked anything yet." : "No request waits for a person.";
  const row = (id: string, status: string, task: string, what: string) =>
    `${id.padEnd(12)} ${status.padEnd(10)} ${task.padEnd(22)} ${what}`.trimEnd();
  const lines = [row("ID", "STATUS", "TASK", "WHAT")];
  for (const one of approvals) {
    lines.push(row(one.id, statusOf(one), oneLine(one.task_id), oneLine(summaryOf(one))));
    lines.push(
      `${" ".repeat(13)}of ${one.owner_kind === "goal" ? "goal" : "team run"} ${oneLine(one.owner_id)}, asked ${textTime(one.asked_at)}`,
    );
  }
  const [open] = approvals.filter(({ status }) => status === "open");
  if (open) lines.push("", `Answer one: omk approvals answer ${open.id} approve`);
  return lines.join("\n");
}

function statusOf({ status, used_at }: ApprovalView): string {
  return used_at !== null && status === "approved" ? "used" : status;
}

/** Shows one request with everything that was parsed of it; on a terminal long texts only with `full`. */
export function approvalsShowCommand(app: App, id: string, flags: { full: boolean; json: boolean }): void {
  const approval = theApproval(app, id);
  const isWhole = flags.full || app.io.stdout.columns === undefined;
  const shown = isWhole ? approval.shown : shortened(approval.shown, approval.id);
  app.output.result(approval, () => showText({ ...approval, shown }), flags.json);
}

function showText(one: ApprovalView): string {
  const line = (label: string, text: string) => {
    const [first = "", ...rest] = text.split("\n");
    return [`${`${label}:`.padEnd(20)} ${first}`, ...rest.map((more) => `${" ".repeat(21)}${more}`)].join(
      "\n",
    );
  };
  return [
    line("Request", one.id),
    line("Status", statusOf(one)),
    line(one.owner_kind === "goal" ? "Goal" : "Team run", one.owner_id),
    line("Task", `${one.task_id}, fence ${one.fence}, of ${one.worker_id}`),
    ...one.shown.map(({ label, text }) => line(`${label.slice(0, 1).toUpperCase()}${label.slice(1)}`, text)),
    line("Asked because", one.because),
    line("Asked", textTime(one.asked_at)),
    line(
      "Waits until",
      `${textTime(one.expires_at)}, then ${one.on_timeout === "block" ? "the work stops" : "it is a no"}`,
    ),
    ...(one.decided_at === null
      ? []
      : [
          line(
            "Decided",
            `${textTime(one.decided_at)}${one.decided_by === null ? "" : ` by ${one.decided_by}`}`,
          ),
        ]),
    ...(one.note === null ? [] : [line("Note", one.note)]),
    ...(one.used_at === null ? [] : [line("Used", textTime(one.used_at))]),
    line("Digest", one.digest),
    ...(one.status === "open" ? ["", `Answer it: omk approvals answer ${one.id} approve|reject`] : []),
  ].join("\n");
}

/** Gives an answer: to the agent that waits, or for the next time the same is asked. */
export async function approvalsAnswerCommand(
  app: App,
  id: string,
  decision: "approve" | "reject",
  flags: { note?: string; json: boolean },
): Promise<void> {
  const approval = theApproval(app, id);
  if (approval.status !== "open") {
    throw new OmkError("approval.refused", `Request ${approval.id} is ${statusOf(approval)} already.`, {
      hint: "An answer counts once. See `omk approvals list` for those that wait.",
    });
  }
  app.listen();
  const ports = await goalPorts(app);
  const payload = {
    approval_id: approval.id,
    decision,
    ...(flags.note !== undefined && { note: ports.redactor.text(flags.note) }),
  };
  const { owner_id: owner } = approval;
  const outcome =
    approval.owner_kind === "goal"
      ? await answerGoal(owner, payload, ports, app.signal)
      : await answerRun(owner, payload, ports, app.signal);
  if (outcome === "recorded")
    app.output.story("the answer is recorded; the running omk has not applied it yet");
  const now = findApprovals(app, ownerFilter(approval)).approvals;
  const record: ApprovalAnswer = {
    approval: now.find((one) => one.id === approval.id) ?? approval,
    outcome,
    next: nextCommand(approval, now),
  };
  app.output.result(record, () => answerText(record, decision, now), flags.json);
}

async function answerGoal(
  id: string,
  payload: Record<string, unknown>,
  ports: Awaited<ReturnType<typeof goalPorts>>,
  signal: AbortSignal,
): Promise<"applied" | "recorded"> {
  try {
    return (await askGoal(id, { kind: "approval_answer", payload }, ports, signal)).outcome;
  } catch (error) {
    // What became of the goal is no news to who answers; that the answer counts for nothing is.
    if (!(error instanceof OmkError) || error.code !== "goal.refused") throw error;
    throw new OmkError("approval.refused", error.message, {
      cause: error,
      hint: "See `omk approvals list --all`.",
    });
  }
}

function answerText(
  { approval, outcome, next }: ApprovalAnswer,
  decision: string,
  now: readonly ApprovalView[],
): string {
  const open = now.filter(({ status }) => status === "open").length;
  const said = decision === "approve" ? "Approved" : "Rejected";
  return [
    `${outcome === "applied" ? said : `${said}, not yet applied`}: ${approval.id} (${oneLine(summaryOf(approval))})`,
    ...(approval.used_at !== null ? ["The agent waited for it and goes on."] : []),
    ...(open > 0 ? [`Still open here: ${open}. See: omk approvals list`] : []),
    ...(next === null ? [] : [`Next: ${next}`]),
  ].join("\n");
}

/** The command that goes on with what rests, once nothing is open any more; none where an agent waited for the answer. */
function nextCommand(
  { id, owner_kind, owner_id }: ApprovalView,
  now: readonly ApprovalView[],
): string | null {
  const isLive = now.some((one) => one.id === id && one.used_at !== null);
  if (isLive || now.some(({ status }) => status === "open")) return null;
  return owner_kind === "goal"
    ? `omk goal resume ${owner_id}`
    : `omk team run --resume --name ${shellQuoted(owner_id)}`;
}

function ownerFilter({ owner_kind, owner_id }: ApprovalView): Filter {
  return owner_kind === "goal" ? { goal: owner_id } : { run: owner_id };
}

/** `ap-` and three more. */
const BEGINNING_CHARACTERS_MIN = 6;

/** The request with this id, or the only one whose id begins so. Throws `approval.not_found`. */
function theApproval(app: App, wanted: string): ApprovalView {
  const { approvals } = findApprovals(app, {});
  const exact = approvals.find(({ id }) => id === wanted);
  if (exact) return exact;
  // `ap-` alone names nothing, even where there is only one.
  const beginning =
    wanted.length < BEGINNING_CHARACTERS_MIN ? [] : approvals.filter(({ id }) => id.startsWith(wanted));
  const [only] = beginning;
  if (only && beginning.length === 1) return only;
  throw new OmkError(
    "approval.not_found",
    only
      ? `${beginning.length} requests begin with ${wanted}: ${beginning
          .slice(0, 10)
          .map(({ id }) => id)
          .join(", ")}.`
      : `There is no request called ${wanted}.`,
    { hint: only ? "Write more of its id." : "See `omk approvals list --all`." },
  );
}

/** Requests of goals and team runs, in the order they were asked in. */
function findApprovals(app: App, filter: Filter): ApprovalList {
  const found: ApprovalList = { approvals: [], unreadable: [] };
  const take = (kind: ApprovalView["owner_kind"], id: string, folder: string) => {
    try {
      for (const record of readApprovals(folder, app.world))
        found.approvals.push({ ...record, owner_kind: kind, owner_id: id });
    } catch (error) {
      const told = error instanceof OmkError ? error : untoldFailure(error);
      if (!told) throw error;
      found.unreadable.push({ owner_id: id, because: told.message });
    }
  };
  const root = app.root();
  const { goal, run } = filter;
  if (goal !== undefined) {
    const { id, folder } = findGoal(root, goal, app.world);
    take("goal", id, folder);
  }
  if (run !== undefined) {
    const { name, folder } = findTeam(root, run, app.world);
    take("team", name, folder);
  }
  if (goal === undefined && run === undefined) {
    for (const { id, folder } of listGoals(root, app.world).goals) take("goal", id, folder);
    for (const { name, folder } of listTeams(root, app.world).teams) take("team", name, folder);
  }
  found.approvals.sort((a, b) => (a.asked_at < b.asked_at ? -1 : a.asked_at > b.asked_at ? 1 : 0));
  return found;
}
