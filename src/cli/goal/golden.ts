/** `omk goal golden`: what the old program did, recorded before the work and compared with the result. */
import { resolve } from "node:path";

import { OmkError, systemCode } from "../../errors.ts";
import type { GoldenMismatch } from "../../format/work.ts";
import { OBSERVED_BYTES_MAX } from "../../gate/observe.ts";
import {
  acceptDifferenceByHand,
  compareByHand,
  listGolden,
  recordByHand,
  type ComparedGolden,
} from "../../goal/golden-steps.ts";
import type { App } from "../app.ts";
import { goalPorts } from "../runtime.ts";
import { oneLine } from "../text.ts";

/** What commander gives for `record`. */
export interface GoldenRecordFlags {
  name: string;
  cmd: string;
  file: string[];
  stdin?: string;
  timeout?: number;
  env: string[];
  ignore: string[];
  atBase: boolean;
  json: boolean;
}

/** Records one observation. */
export async function goldenRecordCommand(app: App, id: string, flags: GoldenRecordFlags): Promise<void> {
  app.listen();
  const { name, cmd, file, env, ignore, atBase, stdin, timeout } = flags;
  const request = {
    name,
    command: cmd,
    files: file,
    env,
    ignore,
    atBase,
    ...(timeout !== undefined && { timeoutSecs: timeout }),
    ...(stdin !== undefined && { stdin: inputOf(app, stdin) }),
  };
  const {
    id: goal,
    observation,
    voidsReview,
  } = await recordByHand(id, request, await goalPorts(app), app.signal);
  const kept = observation.evidence.map(({ path, bytes }) => `  ${path} (${bytes} bytes)`);
  const lines = [
    `Observation recorded: ${observation.name}`,
    `Goal: ${goal}`,
    `Command: ${oneLine(observation.command)}`,
    ...kept,
    "",
    `Compare: omk goal golden compare ${goal}`,
    // It was made without this observation.
    ...(voidsReview ? [`The review counts no longer. Next: omk goal review ${goal}`] : []),
  ];
  app.output.result({ goal_id: goal, observation }, () => lines.join("\n"), flags.json);
}

function inputOf({ world, io }: App, path: string): Uint8Array {
  try {
    return world.disk.readFile(resolve(io.cwd(), path), OBSERVED_BYTES_MAX);
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    const why = code === "EFBIG" ? `it has more than ${OBSERVED_BYTES_MAX} bytes` : code;
    throw new OmkError("usage.invalid", `--stdin ${path} cannot be read: ${why}.`, { cause: error });
  }
}

/** Compares all observations with the files as they are; ends with 1 when one differs and nobody wants it to. */
export async function goldenCompareCommand(
  app: App,
  id: string,
  flags: { intentional: string[]; json: boolean },
): Promise<void> {
  app.listen();
  const ports = await goalPorts(app);
  const intended = flags.intentional.map(parseIntentional);
  for (const given of intended) await acceptDifferenceByHand(id, given, ports, app.signal);
  const compared = await compareByHand(id, app.io.cwd(), ports, app.signal);
  if (!compared.matches) app.exitStatus = 1;
  const { id: goal, tree, matches, results } = compared;
  for (const { name, field } of intended) {
    const found = results.find((one) => one.name === name)?.mismatches.some((one) => one.field === field);
    if (found !== true) app.output.story(`${name}/${field} does not differ; it may from now on`);
  }
  app.output.result({ goal_id: goal, tree, matches, results }, () => rendered(compared), flags.json);
}

/** `<name>/<field>=<reason>`. */
function parseIntentional(text: string): { name: string; field: string; reason: string } {
  const [, name = "", field = "", reason = ""] = /^([^/=]+)\/([^=]+)=(.*)$/s.exec(text) ?? [];
  if (name !== "" && field !== "" && reason.trim() !== "") return { name, field, reason: reason.trim() };
  throw new OmkError(
    "usage.invalid",
    `--intentional ${JSON.stringify(text)} is not <name>/<field>=<reason>.`,
    {
      hint: "For example: --intentional 'help/stdout=the new program has another name'",
    },
  );
}

function rendered({ id, matches, results }: ComparedGolden): string {
  const lines = results.flatMap(({ name, mismatches }) => [
    `${name}: ${mismatches.some((one) => one.intentional === undefined) ? "differs" : "matches"}`,
    ...mismatches.flatMap(renderMismatch),
  ]);
  const sum = matches
    ? `Compatible: ${results.length} of ${results.length} observations match`
    : `Not compatible. A wanted difference: omk goal golden compare ${id} --intentional '<name>/<field>=<reason>'`;
  return [...lines, "", sum].join("\n");
}

function renderMismatch({ field, expected, actual, intentional }: GoldenMismatch): string[] {
  if (intentional !== undefined) return [`  ${field} differs, as wanted: ${oneLine(intentional)}`];
  const part = (text: string) => text.split("\n").map((line) => `      ${line}`);
  return [`  ${field}`, "    expected:", ...part(expected), "    got:", ...part(actual)];
}

/** Lists what was recorded. */
export async function goldenListCommand(app: App, id: string, flags: { json: boolean }): Promise<void> {
  const { id: goal, observations } = listGolden(id, { root: app.root(), disk: app.world.disk });
  const lines = observations.flatMap(({ name, command, files, ignore, intentional, at, ran_in }) => [
    `${name}: ${oneLine(command)}`,
    `  recorded ${at}`,
    ...(ran_in === "with_ignored" ? ["  runs beside a copy of what git ignores"] : []),
    ...files.map((path) => `  file ${path}`),
    ...ignore.map((pattern) => `  ignores ${oneLine(pattern)}`),
    ...intentional.map(({ field, reason }) => `  ${field} may differ: ${oneLine(reason)}`),
  ]);
  const text = lines.length === 0 ? `Goal ${goal} has no observations.` : lines.join("\n");
  app.output.result({ goal_id: goal, observations }, () => text, flags.json);
}
