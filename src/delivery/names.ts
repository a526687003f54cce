/**
 * What slices are called: their branches and the folders they are worked on in. Ids may hold anything; names hold only
 * what git, shells and file systems agree on, and a fingerprint of the ids as they are keeps apart what looks alike.
 */
import { OmkError } from "../errors.ts";

/** The names of one slice. */
export interface WorktreePlan {
  goal_id: string;
  task_id: string;
  goal_component: string;
  task_component: string;
  branch_name: string;
  worktree_name: string;
  worktree_path: string;
}

/** The longest component of a name, in characters. */
const COMPONENT_MAX = 48;

/** The names of several slices of one goal below one folder. Throws `tasks.invalid` for ids that give none, or the same. */
export function planWorktrees(root: string, goalId: string, taskIds: readonly string[]): WorktreePlan[] {
  const goal = nameComponent(goalId, "goal id");
  const seed = seedOf(goalId);
  const folder = root === "" || root.endsWith("/") ? root : `${root}/`;
  const taken = new Map<string, string>();
  return taskIds.map((taskId) => {
    const task = nameComponent(taskId, "task id");
    const name = `${task}-${hexOf(withBytes(seed, Buffer.from(taskId)))}`;
    const other = taken.get(name);
    // Branch and folder are made of the same parts: where one is taken, so is the other.
    if (other !== undefined) {
      throw new OmkError(
        "tasks.invalid",
        `worktree plan collision: the tasks ${shown(other)} and ${shown(taskId)} would share a branch and a folder.`,
        { hint: "Give one of the tasks another id." },
      );
    }
    taken.set(name, taskId);
    const worktree = `goal-${goal}-${name}`;
    return {
      goal_id: goalId,
      task_id: taskId,
      goal_component: goal,
      task_component: task,
      branch_name: `omk/goal/${goal}/${name}`,
      worktree_name: worktree,
      worktree_path: folder + worktree,
    };
  });
}

/** The branch on which all slices of a goal come together. */
export function integratorBranch(goalId: string): string {
  return `integrator/${goalId}`;
}

/** An id as a part of a name: lower-case letters, digits and single dashes. `label` says whose id it is. */
export function nameComponent(id: string, label: "goal id" | "task id"): string {
  if (id.length <= COMPONENT_MAX && /^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(id)) return id;
  const text = trimmed(id);
  if (text === "") throw noName(id, label, "it is empty");
  if (/\p{Cc}/u.test(text)) throw noName(id, label, "it holds a control character");
  const dashed = withoutDashesAround(text.replaceAll(/[^A-Za-z0-9]+/g, "-").toLowerCase());
  if (dashed === "") throw noName(id, label, "it holds no letter a-z and no digit");
  return withoutDashesAround(dashed.slice(0, COMPONENT_MAX));
}

/** Sixteen hex digits that tell the slices of all goals apart, made of the ids as they are. */
export function fingerprintOf(goalId: string, taskId: string): string {
  return hexOf(withBytes(seedOf(goalId), Buffer.from(taskId)));
}

/** Why a worktree's folder cannot be called this, or undefined when it can. */
export function whyNoWorktreeName(name: string): string | undefined {
  if (name === "") return "it is empty";
  if (/[/\\]/.test(name)) return "it holds a slash or a backslash";
  if (name.startsWith(".") || name.endsWith(".")) return "it starts or ends with a dot";
  if (/\p{Cc}|\p{Cs}/u.test(name)) return "it holds a control character or half of one";
  return undefined;
}

/**
 * A text without the white space around it. `String.trim` differs from what 0.5.0 does in two characters: it leaves
 * U+0085 and takes U+FEFF.
 */
export function trimmed(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isSpace(text.charCodeAt(start))) start++;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return end - start === text.length ? text : text.slice(start, end);
}

function isSpace(code: number): boolean {
  if (code <= 0x20) return code === 0x20 || (code >= 0x09 && code <= 0x0d);
  return code >= 0x85 && /\p{White_Space}/u.test(String.fromCharCode(code));
}

function noName(id: string, label: string, because: string): OmkError {
  return new OmkError("tasks.invalid", `The ${label} ${shown(id)} gives no name for a branch: ${because}.`, {
    hint: "An id needs a letter a-z or a digit, and no control characters.",
  });
}

function shown(id: string): string {
  return JSON.stringify(id.length > 80 ? `${id.slice(0, 80)}…` : id);
}

/** Runs of other characters have become one dash each, so there is at most one on either side. */
function withoutDashesAround(text: string): string {
  return text.slice(text.startsWith("-") ? 1 : 0, text.endsWith("-") ? -1 : undefined);
}

// ---- FNV-1a with 64 bits, in two halves of 32 bits: bigints take many times as long.

interface Hash {
  high: number;
  low: number;
}

/** The prime is 2^40 + this. */
const PRIME_LOW = 0x1b3;
const TWO_32 = 0x1_0000_0000;

function seedOf(goalId: string): Hash {
  const start = { high: 0xcbf29ce4, low: 0x84222325 };
  const texts = [Buffer.from("omk-goal-worktree"), Buffer.from(goalId), Uint8Array.of(0xff)];
  return texts.reduce(withBytes, start);
}

function withBytes({ high, low }: Hash, bytes: Uint8Array): Hash {
  for (const byte of bytes) {
    low = (low ^ byte) >>> 0;
    const product = low * PRIME_LOW; // fits the 53 bits of a number
    high = (Math.imul(high, PRIME_LOW) + Math.floor(product / TWO_32) + (low << 8)) >>> 0;
    low = product >>> 0;
  }
  return { high, low };
}

function hexOf({ high, low }: Hash): string {
  return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
}
