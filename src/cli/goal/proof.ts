/** `omk goal proof`: the proof, for a reader or for a script. */
import { findGoal } from "../../goal/find.ts";
import type { DeliveryWork } from "../../format/delivery.ts";
import type { ProvenSlice } from "../../format/proof.ts";
import { proofToShow } from "../../goal/show-proof.ts";
import { deliverySteps, sliceText } from "../../goal/slice-view.ts";
import type { App } from "../app.ts";
import { printFormatted, type FormatFlags } from "../formatted.ts";
import { oneLine } from "../text.ts";

/** Prints a goal's proof as text, Markdown or its record. */
export async function proofCommand(app: App, id: string, flags: FormatFlags): Promise<void> {
  const goal = findGoal(app.root(), id, app.world);
  // Only Markdown needs the schemas: the others are to answer at once.
  const whole = flags.format === "md" ? await import("../../goal/proof-markdown.ts") : undefined;
  const schema = flags.format === "md" ? (await import("../../format/proof.ts")).Proof : undefined;
  const render = {
    text: (proof: Record<string, unknown>) => text(goal.id, proof),
    md: (proof: Record<string, unknown>) => {
      const parsed = schema?.safeParse(proof);
      return whole && parsed?.success ? whole.proofMarkdown(parsed.data) : markdown(goal.id, proof);
    },
  };
  printFormatted(app, proofToShow(goal, app.world), render, flags);
}

interface Gate {
  name: string;
  verdict?: string;
  base?: string | null;
  passed: boolean;
}

/** A record read without its schema may hold anything; a reader is shown one line of text. */
function stringOf(value: unknown): string {
  return oneLine(typeof value === "string" ? value : JSON.stringify(value ?? null));
}

function strings(proof: Record<string, unknown>, key: string): string[] {
  const value = proof[key];
  return Array.isArray(value) ? value.map(stringOf) : [];
}

function gateLines(proof: Record<string, unknown>): string[] {
  const gates = Array.isArray(proof["gates"]) ? (proof["gates"] as Gate[]) : [];
  return gates.map((gate) => {
    const verdict = gate.verdict ?? (gate.passed ? "passed" : "failed");
    return `${oneLine(gate.name)}: ${verdict}${gate.base ? ` (base: ${gate.base})` : ""}`;
  });
}

/** The records of a list in a proof that was read without its schema. */
function records(value: unknown): Record<string, unknown>[] {
  const all: unknown[] = Array.isArray(value) ? value : [];
  return all.filter((one): one is Record<string, unknown> => typeof one === "object" && one !== null);
}

function oracleLines(proof: Record<string, unknown>): string[] {
  const evidence = proof["oracle_evidence"] as { checks?: unknown } | null | undefined;
  return records(evidence?.checks).map((one) => {
    const why = one["reason"] ?? one["gate"];
    return `${stringOf(one["name"])}: ${stringOf(one["status"])}${why === undefined ? "" : ` (${stringOf(why)})`}`;
  });
}

function attemptLines(proof: Record<string, unknown>): string[] {
  return records(proof["attempts"]).map((one) => {
    const task = one["task_id"] === undefined ? "" : ` of ${stringOf(one["task_id"])}`;
    return `${stringOf(one["number"])}${task}: ${stringOf(one["outcome"] ?? one["status"])}`;
  });
}

/** Slices, their delivery and what was set aside, of goals that have these. */
function slicedLists(proof: Record<string, unknown>): [string, string[]][] {
  const slices = records(proof["slices"]) as unknown as ProvenSlice[];
  const delivery = proof["delivery"] as Partial<DeliveryWork> | undefined;
  const present = {
    ...(proof["result"] as { tree?: string; commit?: string } | undefined),
    isRejected: proof["readiness_code"] === "rejected",
  };
  return [
    ["Slices", slices.map((slice) => oneLine(`${slice.id}: ${sliceText(slice)}`))],
    ["Delivery", deliverySteps(delivery, present).map((step) => oneLine(step))],
    [
      "Folders set aside",
      records(proof["set_aside"]).map((one) => `${stringOf(one["path"])}: ${stringOf(one["because"])}`),
    ],
  ];
}

function total(proof: Record<string, unknown>): number {
  return (proof["task_graph_summary"] as { total_tasks?: number } | undefined)?.total_tasks ?? 0;
}

function text(id: string, proof: Record<string, unknown>): string {
  const listed = (title: string, rows: readonly string[]) =>
    rows.length === 0 ? [] : [`${title}:`, ...rows.map((row) => `  - ${row}`)];
  return [
    `Goal proof ${id}`,
    `Status: ${stringOf(proof["status"])}`,
    `Readiness: ${stringOf(proof["readiness"])}`,
    `Tasks: ${total(proof)}`,
    ...listed("Gates", gateLines(proof)),
    ...listed("Changed files", strings(proof, "changed_files")),
    ...listed("Oracle", oracleLines(proof)),
    ...listed("Attempts", attemptLines(proof)),
    ...slicedLists(proof).flatMap(([title, rows]) => listed(title, rows)),
    ...listed("Known gaps", strings(proof, "known_gaps")),
    ...listed("Decisions needed", strings(proof, "human_decisions_required")),
    ...(proof["recovery_status"] === undefined ? [] : [`Recovery: ${stringOf(proof["recovery_status"])}`]),
  ].join("\n");
}

function markdown(id: string, proof: Record<string, unknown>): string {
  const listed = (title: string, rows: readonly string[]) =>
    rows.length === 0 ? [] : ["", `## ${title}`, "", ...rows.map((row) => `- ${row}`)];
  return [
    `# Goal Proof ${id}`,
    "",
    `- Status: \`${stringOf(proof["status"])}\``,
    `- Readiness: ${stringOf(proof["readiness"])}`,
    `- Tasks: ${total(proof)}`,
    ...listed("Gates", gateLines(proof)),
    ...listed("Changed Files", strings(proof, "changed_files")),
    ...slicedLists(proof).flatMap(([title, rows]) => listed(title, rows)),
    ...listed("Known Gaps", strings(proof, "known_gaps")),
  ].join("\n");
}
